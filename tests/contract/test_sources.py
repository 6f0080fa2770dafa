"""What every source of events must give. A source joins by its name in SOURCES; what it can know is in facts.py."""

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.process import argv_of, descendants_of, until
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.event import Disposition, Kind, Result
from sigtrace.sources.base import Source
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.source import PtraceSource
from tests.contract import facts
from tests.kernel.watcher import brief
from tests.raw import bcc_source

#: Zombies are told soon, so that a test need not wait for as long as a person would. Other people's containers are not
#: ours to trace.
SOURCES = {
    "bpf": lambda: BpfSource(BpfOptions(zombie_after_s=0.2)),
    "bcc": lambda: bcc_source(BpfOptions(zombie_after_s=0.2)),
    "ptrace": lambda: PtraceSource(PtraceOptions(zombie_after_s=0.2, below=os.getpid())),
    "ptrace, /proc": lambda: PtraceSource(
        PtraceOptions(zombie_after_s=0.2, below=os.getpid(), proc_events=False, interval_s=0.01)
    ),
}
SIGTERM, SIGKILL, SIGUSR1 = 15, 9, 10
#: Other tests run beside these, storms too.
PATIENCE_S = 60


@pytest.fixture(params=SOURCES)
def source(request, bpf_host):
    source: Source = SOURCES[request.param]()
    try:
        source.open()
        yield source
    finally:
        source.close()


def all_of(source, wanted, timeout_s=PATIENCE_S):
    """The events that are wanted, once there is one; what was read is kept for the next question."""
    seen = source.__dict__.setdefault("seen_by_test", [])
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := [event for event in seen if event.task and wanted(event)]:
            return sorted(found, key=lambda event: event.time_ns)
        seen += source.read(0.05).events
    told = "\n".join(brief(event) for event in seen if event.task and event.kind is not Kind.TASK)
    raise AssertionError(f"not within {timeout_s} s of:\n{told}")


def seen_so_far(source, wanted):
    """All that were told up to now; asked once something that came later was seen."""
    return [event for event in source.__dict__.get("seen_by_test", []) if event.task and wanted(event)]


def the(source, pid, kind, signo=0):
    """The first such event."""
    return all_of(source, lambda e: e.kind is kind and e.task.pid == pid and e.signo == signo)[0]


def is_known(source, fact, value, truth):
    """Right, where the source knows it; nothing where it does not. Never wrong."""
    __tracebackhide__ = True
    if source.name == "ptrace" and facts.FACTS[fact].mostly:
        assert value in (truth, None, (), []), fact
    elif facts.knows(source.name, fact):
        assert value == truth, fact
    else:
        assert value in (None, (), []), f"{fact}: {source.name} is said not to know it"


def settled(source, pid):
    """The source knows the process, and may have gone about tracing it: it has told of its exec."""
    event = the(source, pid, Kind.EXEC)
    if source.name == "ptrace":
        all_of_ledger(source)
    return event


def all_of_ledger(source, timeout_s=PATIENCE_S):
    """Once it traces somebody."""
    deadline = time.monotonic() + timeout_s
    seen = source.__dict__.setdefault("seen_by_test", [])
    while not source.ledger()["tracees"]:
        assert time.monotonic() < deadline
        seen += source.read(0.01).events


@contextlib.contextmanager
def started(source, name, argv, output=b"", *, asleep=True):
    """A container of this program, once the source has told of it."""
    with Container(f"contract-{os.getpid()}-{name}") as box:
        box.start(argv)
        box.wait_ready(output, asleep=asleep)
        settled(source, box.init_pid)
        yield box


def is_dropped(event):
    """A fatal signal that comes to nothing: thrown away when it is sent or, under a tracer, when it is delivered."""
    by_kernel = event.kind is Kind.SIGNAL_GENERATE and event.result is Result.IGNORED
    late = event.kind is Kind.SIGNAL_DELIVER
    return (by_kernel or late) and event.ns_init and event.disposition is Disposition.DEFAULT


def test_a_dropped_stop_signal_and_the_kill_after_it(source):
    with started(source, "dropped", ["sleep", "infinity"]) as box:
        pid = box.init_pid
        box.kill(SIGTERM)
        sent = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)
        dropped = all_of(source, lambda e: e.task.pid == pid and e.signo == SIGTERM and is_dropped(e))
        box.kill(SIGKILL)
        killed = the(source, pid, Kind.SIGNAL_GENERATE, SIGKILL)
        exited = the(source, pid, Kind.EXIT)
    is_known(source, "dropped", len(dropped), 1)
    is_known(source, "outside", sent.outside, True)
    is_known(source, "sender_outside", sent.sender and bool(sent.sender.comm), True)
    is_known(source, "sigkill", (killed.result, exited.wait_status.signal), (Result.DELIVERED, SIGKILL))
    is_known(source, "sigkill_sender", killed.sender and bool(killed.sender.comm), True)
    assert sent.container_init
    assert sent.task.ns_pid == 1
    assert sent.disposition is Disposition.DEFAULT
    assert sent.task.key == killed.task.key == exited.task.key
    assert sent.time_ns < killed.time_ns < exited.time_ns


@pytest.mark.parametrize("name", SOURCES)
def test_what_exists_is_told_at_the_start(bpf_host, name):
    with Container(f"contract-{os.getpid()}-snapshot") as box:
        box.start(["sleep", "infinity"])
        box.wait_ready()
        source = SOURCES[name]()
        try:
            source.open()
            task = the(source, box.init_pid, Kind.TASK)
        finally:
            source.close()
        is_known(source, "snapshot", (task.container_init, task.task.argv), (True, ("sleep", "infinity")))


def test_a_first_exec_has_its_argv(source):
    with started(source, "exec", ["sleep", "infinity"]) as box:
        pid = box.init_pid  # it executed what made it a container before: that was on the host
        event = all_of(source, lambda e: e.kind is Kind.EXEC and e.task.pid == pid and e.cgroup_entered)[0]
        cgroup = Path(box.cgroup_path).stat().st_ino
    is_known(source, "exec", (event.task.argv, event.task.cgroup_id), (("sleep", "infinity"), cgroup))


def test_what_a_handler_takes_and_who_inside_sent_it(source):
    argv = ["sh", "-c", "trap : USR1 TERM; echo up; while :; do sleep 0.05; done"]
    with started(source, "handled", argv, b"up\n", asleep=False) as box:
        pid = box.init_pid
        box.kill(SIGTERM)
        taken = the(source, pid, Kind.SIGNAL_DELIVER, SIGTERM)
        inside = box.exec(["sh", "-c", "kill -USR1 1; sleep 0.3"])  # so long it can be looked at
        sent = the(source, pid, Kind.SIGNAL_GENERATE, SIGUSR1)
        inside.wait()
    is_known(source, "handled", (taken.disposition, taken.si_code), (Disposition.HANDLER, 0))
    assert not sent.outside
    is_known(source, "sender_inside", sent.sender and (sent.sender.comm, sent.sender.pidns), ("sh", sent.task.pidns))


def test_what_is_ignored_by_choice(source):
    with started(source, "ignored", ["env", "--ignore-signal=TERM", "sleep", "infinity"]) as box:
        pid = box.init_pid
        all_of(source, lambda e: e.kind is Kind.EXEC and e.task.pid == pid and e.task.argv == ("sleep", "infinity"))
        box.kill(SIGTERM)
        sent = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)
    is_known(source, "ignored", sent.disposition, Disposition.IGNORE)
    assert not seen_so_far(source, lambda e: e.task.pid == pid and is_dropped(e))


def test_what_stays_blocked_pends_and_is_dropped_when_it_is_unblocked(source):
    program = (
        "import signal,time; signal.pthread_sigmask(signal.SIG_BLOCK,{15}); signal.signal(10, lambda *_: None); "
        "print('up',flush=True); signal.pause(); signal.pthread_sigmask(signal.SIG_UNBLOCK,{15}); time.sleep(60)"
    )
    with started(source, "blocked", ["python3", "-c", program], b"up\n") as box:
        pid = box.init_pid
        box.kill(SIGTERM)
        sent = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)
        box.kill(SIGUSR1)
        dropped = the(source, pid, Kind.SIGNAL_DELIVER, SIGTERM)
    is_known(source, "pending", (sent.result, sent.blocked), (Result.DELIVERED, True))
    is_known(source, "late", (is_dropped(dropped), dropped.ptraced), (True, False))
    assert dropped.task.key == sent.task.key


def test_what_sigwait_takes(source):
    program = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK,{15}); print('up',flush=True); signal.sigwait({15})"
    )
    with started(source, "sigwait", ["python3", "-c", program], b"up\n") as box:
        pid = box.init_pid
        box.kill(SIGTERM)
        exited = the(source, pid, Kind.EXIT)
    sent = seen_so_far(source, lambda e: e.task.pid == pid and e.signo == SIGTERM)
    is_known(source, "waited", [e.waited for e in sent], [True])
    assert exited.wait_status.exit_code == 0


def test_a_sigkill_from_inside_does_nothing(source):
    with started(source, "inside", ["sleep", "infinity"]) as box:
        pid = box.init_pid
        assert box.kill_from_inside("kill -9 1") == 0
        box.kill(SIGTERM)
        the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)  # came after it
    sent = seen_so_far(source, lambda e: e.task.pid == pid and e.signo == SIGKILL and e.result is Result.IGNORED)
    is_known(source, "from_inside", [e.outside for e in sent], [False])
    assert not seen_so_far(
        source, lambda e: e.task.pid == pid and e.signo == SIGKILL and e.result is not Result.IGNORED
    )


def test_an_exit_names_the_parent_whose_wait_it_awaits(source):
    # That nobody waits for it is for those who can only look: they would come too late.
    with started(source, "parent", ["sh", "-c", "(sleep 0.1; exit 7) & exec sleep 98759"]) as box:
        pid = box.init_pid
        exited = all_of(source, lambda e: e.kind is Kind.EXIT and e.task.parent_pid == pid)[0]
    is_known(source, "exit", exited.wait_status and exited.wait_status.exit_code, 7)
    assert exited.parent.key == exited.task.parent_key
    assert exited.parent.ns_pid == 1


def test_who_lives_in_a_container_that_is_asked_to_stop_is_listed_with_argv(source):
    with started(source, "members", ["sh", "-c", "sleep 98765 & wait"]) as box:
        pid = box.init_pid
        until(lambda: ("sleep", "98765") in map(argv_of, descendants_of(pid)), "sleep")
        box.kill(SIGTERM)
        asked = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)

        def is_listed(event):
            return event.kind is Kind.TASK and event.time_ns > asked.time_ns and event.task.pidns == asked.task.pidns

        listed = all_of(source, is_listed)
    first = [e for e in listed if e.time_ns == listed[0].time_ns]
    argv = {e.task.pid: e.task.argv for e in first}
    assert argv[pid][:2] == ("sh", "-c")
    is_known(source, "members", ("sleep", "98765") in argv.values(), True)
    assert all(e.masks is not None for e in first)


def test_whom_the_main_process_tells(source):
    argv = ["sh", "-c", "trap 'kill -TERM $child; wait' TERM; sleep 98762 & child=$!; wait"]
    with started(source, "forwards", argv) as box:
        pid = box.init_pid
        until(lambda: ("sleep", "98762") in map(argv_of, descendants_of(pid)), "sleep")
        child = next(one for one in descendants_of(pid) if argv_of(one) == ("sleep", "98762"))
        box.kill(SIGTERM)
        told = the(source, child, Kind.SIGNAL_GENERATE, SIGTERM)
        ended = the(source, child, Kind.EXIT)
        the(source, pid, Kind.EXIT)
    is_known(source, "forwarded", (told.sender.pid, ended.wait_status.signal), (pid, SIGTERM))


def test_the_end_of_pid_1_comes_before_the_ends_that_it_brings(source):
    with started(source, "teardown", ["sh", "-c", "sleep 98761 & sleep 98760 & wait"]) as box:
        pid = box.init_pid
        until(lambda: len(descendants_of(pid)) >= 2, "both")
        children = set(descendants_of(pid)) - {pid}
        for child in children:
            assert child
        box.kill(SIGTERM)
        the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)
        box.kill(SIGKILL)
        own = the(source, pid, Kind.EXIT)
        others = [the(source, child, Kind.EXIT) for child in children]
    is_known(source, "order", all(own.time_ns < other.time_ns for other in others), True)


def test_a_command_that_enters_is_told_and_so_is_its_end_though_nothing_failed(source):
    with started(source, "enters", ["sleep", "infinity"]) as box:
        wanted = ("sh", "-c", "sleep 0.3; exit 0", "contract")  # so long it can be looked at
        command = box.exec(list(wanted))
        entered = all_of(source, lambda e: e.kind is Kind.EXEC and e.task.argv == wanted)[0]
        command.wait()
        exited = the(source, entered.task.pid, Kind.EXIT)
        cgroup = box.cgroup_id
    assert entered.cgroup_entered
    assert entered.parent_outside
    assert not entered.container_init
    is_known(source, "entered", entered.task.cgroup_id, cgroup)
    assert exited.wait_status is None or exited.wait_status.exit_code == 0
    assert exited.cgroup_entered


def test_a_zombie_is_told_with_the_parent_that_owes_the_wait(source):
    with started(source, "zombie", ["sh", "-c", "sleep 0.01 & exec sleep 98764"]) as box:
        pid = box.init_pid
        zombie = all_of(source, lambda e: e.kind is Kind.TASK and e.zombie and e.parent and e.parent.pid == pid)[0]
        box.kill(SIGKILL)
        reaped = all_of(source, lambda e: e.kind is Kind.REAP and e.task.key == zombie.task.key)
    is_known(source, "reaped", len(reaped), 1)
    assert zombie.parent.key == zombie.task.parent_key
    is_known(source, "zombie", zombie.parent.argv, ("sleep", "98764"))
    assert zombie.wait_status.exit_code == 0
    assert 0 < zombie.exit_ns < zombie.time_ns


def test_a_main_process_that_is_no_init_is_watched_once_it_is_known(source):
    with Container("contract-host-pid", host_pid=True) as box:
        box.start(["sleep", "98763"])
        box.wait_ready()
        pid = box.init_pid
        source.watch(*the(source, pid, Kind.EXEC).task.key)
        if source.name == "ptrace":
            all_of_ledger(source)
        box.kill(SIGTERM)
        asked = the(source, pid, Kind.SIGNAL_GENERATE, SIGTERM)
        exited = the(source, pid, Kind.EXIT)
    is_known(source, "host_pid", (asked.watched, asked.outside, asked.ns_init), (True, True, False))
    assert asked.result is Result.DELIVERED
    assert exited.watched
    assert exited.wait_status.signal == SIGTERM


def test_whom_the_oom_killer_chose(source):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_scenario, SCENARIOS["oom"], container=f"contract-{os.getpid()}-oom")
        all_of(source, lambda e: running.done())
        result = running.result()
    the(source, result.init_pid, Kind.EXIT)
    marks = seen_so_far(source, lambda e: e.kind is Kind.OOM_KILL and e.task.pid in (0, result.init_pid))
    is_known(source, "oom", [bool(mark) for mark in marks], [True])


def test_how_many_signals_there_were(source):
    with started(source, "counts", ["sleep", "infinity"]) as box:
        for _ in range(5):
            box.kill(SIGTERM)
        the(source, box.init_pid, Kind.SIGNAL_GENERATE, SIGTERM)
        counted = [
            n for (cgroup, signo, _), n in source.counts().signals.items() if (cgroup, signo) == (box.cgroup_id, 15)
        ]
    is_known(source, "counts", counted, [5])
    assert source.counts().known is facts.knows(source.name, "counts")


def test_time_moves_on_without_events(source):
    first = source.read(0.01).until_ns
    deadline = time.monotonic() + 5
    while source.read(0.01).until_ns <= first:
        assert time.monotonic() < deadline


def test_closing_twice_is_harmless(source):
    source.close()
    source.close()


def test_the_table_in_the_documentation_is_what_is_tested_here():
    document = facts.DOCUMENT.read_text()
    assert facts.written(document) == document
    tested = Path(__file__).read_text()
    assert {SOURCES[name]().name for name in SOURCES} == set(facts.NAMES)
    # That it changes nothing is proved beside ptrace itself: tests/kernel/test_ptrace_safety.py.
    assert [fact for fact in facts.FACTS if f'is_known(source, "{fact}"' not in tested] == ["unchanged"]
