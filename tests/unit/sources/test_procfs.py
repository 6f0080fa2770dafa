"""What /proc adds to a process that was there before us."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sigtrace.model.event import Event, Kind, Task
from sigtrace.sources.cmdlines import Cmdlines
from sigtrace.sources.procfs import Ancestry
from sigtrace.sources.wire import TEXT_LEN

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def with_argv(event):
    return Cmdlines().complete([event])[0]


def start_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return int(f.read().rpartition(")")[2].split()[19]) * TICK + 123


def seen(pid, start_ns, argv_len=4096):
    return Event(0, 0, Kind.TASK, Task(pid, start_ns), argv_len=argv_len)


@pytest.fixture
def child(request, wait_until):
    """A process with these arguments, waiting for its input to end."""
    argv = [sys.executable, "-c", "import sys; sys.stdin.read()", *getattr(request, "param", ())]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={"SECRET": "hunter2" * 100}) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[0] == os.fsencode(argv[0]))
        yield process.pid, argv
        process.stdin.close()


def test_a_process_gets_its_argv(child):
    pid, argv = child
    assert with_argv(seen(pid, start_of(pid))).task.argv == tuple(argv)


@pytest.mark.parametrize("child", [("x" * TEXT_LEN * 2,), ("y" * (TEXT_LEN // 2),) * 3], indirect=True)
def test_a_long_argv_is_cut_says_so_and_never_shows_the_environment(child):
    pid, _ = child
    argv = with_argv(seen(pid, start_of(pid))).task.argv
    assert argv[-1].endswith("…")
    assert len("\0".join(argv)) == TEXT_LEN + 1
    assert "hunter2" not in "".join(argv)


def test_nothing_is_read_past_the_arguments_that_the_kernel_counted(child):
    pid, argv = child
    first = len(argv[0]) + 1
    assert with_argv(seen(pid, start_of(pid), first)).task.argv == (argv[0],)
    assert with_argv(seen(pid, start_of(pid), 0)).task.argv is None


@pytest.mark.parametrize("child", [("\x1b[2J", "a\nb")], indirect=True)
def test_a_hostile_argument_is_made_printable(child):
    pid, _ = child
    assert with_argv(seen(pid, start_of(pid))).task.argv[-2:] == (r"\x1b[2J", r"a\x0ab")


@pytest.mark.parametrize("off", [-3 * TICK, 3 * TICK])
def test_a_pid_that_is_another_process_by_now_tells_nothing(child, off):
    pid, _ = child
    event = seen(pid, start_of(pid) + off)
    assert with_argv(event) is event


def test_a_process_that_is_gone_and_an_event_without_one_stay_as_they_are():
    process = subprocess.Popen(["true"])
    process.wait()
    event = seen(process.pid, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    assert with_argv(event) is event
    none = Event(0, 0, Kind.LOST)
    assert with_argv(none) is none


def test_a_zombie_has_no_argv(wait_until):
    process = subprocess.Popen(["true"])
    wait_until(lambda: Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z")
    assert with_argv(seen(process.pid, start_of(process.pid))).task.argv is None
    process.wait()


def sent_by(sender):
    return Event(0, 0, Kind.SIGNAL_GENERATE, Task(1, 1), sender)


def test_a_senders_ancestors_are_read_nearest_first():
    parent = os.getpid()
    sender = Task(2, 2, "kill", parent_pid=parent, parent_start_ns=start_of(parent))
    ancestry = Ancestry().complete(sent_by(sender)).sender.ancestry
    with open("/proc/self/comm", encoding="utf-8") as f:
        assert ancestry[0] == f.read().strip()
    assert 1 <= len(ancestry) <= 6


def test_a_parent_whose_pid_is_anothers_is_no_ancestor():
    event = sent_by(Task(2, 2, "kill", parent_pid=os.getpid(), parent_start_ns=start_of(os.getpid()) - 5 * TICK))
    assert Ancestry().complete(event) is event


def test_what_is_known_already_is_not_read_again():
    known = sent_by(Task(2, 2, "kill", parent_pid=os.getpid(), ancestry=("bash",)))
    assert Ancestry().complete(known) is known
    for sender in (None, Task(2, 2, "kill")):
        event = sent_by(sender)
        assert Ancestry().complete(event) is event


def test_the_ancestors_of_a_parent_that_has_gone_since_are_remembered():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as parent:
        event = sent_by(Task(2, 2, "kill", parent_pid=parent.pid, parent_start_ns=start_of(parent.pid)))
        ancestry = Ancestry()
        first = ancestry.complete(event)
        parent.stdin.close()
    assert first.sender.ancestry
    assert ancestry.complete(event) == first


def test_no_more_ancestors_are_remembered_than_there_is_room_for():
    ancestry = Ancestry()
    for n in range(5000):
        ancestry.complete(sent_by(Task(2, 2, parent_pid=2**30, parent_start_ns=n)))
        ancestry.complete(sent_by(Task(2, 2, parent_pid=2**30, parent_start_ns=0)))
    last = [(2**30, n) for n in (*range(5000 - 255, 5000), 0)]
    assert list(ancestry._known) == last, "who was not asked for lately gives way"


def test_events_are_not_changed_in_place():
    event = seen(os.getpid(), start_of(os.getpid()))
    copy = dataclasses.replace(event)
    assert with_argv(event) != event
    assert event == copy
