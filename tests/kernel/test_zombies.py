"""Zombies that nobody waits for: how many, since when, whose; and gone from the report once they are reaped."""

import contextlib
import os
import textwrap
import time

import pytest

from sigtrace.capture import Capture, run_in_background
from sigtrace.lab.container import Container
from sigtrace.model.event import Kind
from sigtrace.sinks.chosen import Tally
from sigtrace.sources.options import BpfOptions

AFTER_S = 0.3

#: $1 children that it never waits for, until it is told to by SIGUSR1; SIGTERM ends it.
DEBTOR = textwrap.dedent("""\
    import os, signal, sys
    def reap(*_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        print("reaped", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGUSR1, reap)
    for _ in range(int(sys.argv[1])):
        if os.fork() == 0:
            os._exit(0)
    print("ready", flush=True)
    while True:
        signal.pause()
""")


class Zombies(Tally):
    """The zombies of each container as they are told, and the findings."""

    def __init__(self):
        super().__init__(keep=True)
        self.now = {}
        self.first = {}

    def observation(self, observation):
        event = observation.event
        if not event.zombie or observation.workload is None or event.kind not in {Kind.TASK, Kind.REAP}:
            return
        zombies = self.now.setdefault(observation.workload.cgroup_id, {})
        if event.kind is Kind.REAP:
            zombies.pop(event.task.key, None)
        elif event.parent:
            zombies[event.task.key] = event

    def findings(self, box):
        return [v for v in self.verdicts if v.workload and v.workload.cgroup_id == box.cgroup_id and hasattr(v, "code")]

    def of(self, box):
        return dict(self.now.get(box.cgroup_id, {}))


@contextlib.contextmanager
def watching():
    zombies = Zombies()
    with Capture("bpf", BpfOptions(zombie_after_s=AFTER_S), [zombies]) as capture:
        finish = run_in_background(capture)
        try:
            yield zombies
        finally:
            finish()


@pytest.fixture
def seen(bpf_host):
    with watching() as zombies:
        yield zombies


def wait_for(condition, what, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


def debtor(box, count, *front):
    box.start([*front, "python3", "debtor.py", str(count)])
    box.wait_ready(b"ready")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "debtor.py").write_text(DEBTOR)
    return tmp_path


def name(what):
    return f"test-zombies-{os.getpid()}-{what}"


def test_two_thousand_at_once_in_three_containers(bpf_host, folder):
    counts = {"a": 1400, "b": 500, "c": 100}
    with contextlib.ExitStack() as stack:
        boxes = {key: stack.enter_context(Container(name(key), workdir=folder)) for key in counts}
        with watching() as seen:
            for key, box in boxes.items():
                debtor(box, counts[key], *(("tini", "--") if key == "b" else ()))
            for key, box in boxes.items():
                wait_for(lambda box=box, key=key: len(seen.of(box)) == counts[key], f"the zombies of {key}")
        seen_by = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for key, box in boxes.items():
            zombies = seen.of(box).values()
            (parent,) = {z.parent for z in zombies}
            assert parent.argv == ("python3", "debtor.py", str(counts[key]))
            assert parent.ns_pid == (2 if key == "b" else 1)
            assert all(0 < z.exit_ns < seen_by for z in zombies), "each one's own exit"
            cause = "parent-never-waits" if key == "b" else "pid1-does-not-reap"
            findings = seen.findings(box)
            assert {(f.code, f.cause, f.parent) for f in findings} == {("zombie-unreaped", cause, parent)}
            # A listing may fall into the middle of their making: then what was told first is told again with the rest.
            assert findings[-1].count == counts[key]
            assert len(findings) <= 3
            assert all(f.window_s >= AFTER_S for f in findings)


def test_what_is_reaped_is_gone_from_the_report(seen, folder):
    with Container(name("reaped"), workdir=folder) as box:
        debtor(box, 50)
        wait_for(lambda: len(seen.of(box)) == 50, "50 zombies")
        box.kill(10)
        box.wait_ready(b"reaped")
        wait_for(lambda: not seen.of(box), "none")


def test_a_zombie_goes_to_the_parent_that_it_has_now(seen, folder):
    """A parent that never waited has died: its zombie is PID 1's to reap, and that does not either."""
    (folder / "pid1.py").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
        "if os.fork() == 0:\n"
        "    os.execvp('python3', ['python3', 'debtor.py', '1'])\n"
        "while True: signal.pause()\n"
    )
    with Container(name("moved"), workdir=folder) as box:
        box.start(["python3", "pid1.py"])
        box.wait_ready(b"ready")
        wait_for(lambda: seen.of(box), "the zombie")
        (zombie,) = seen.of(box).values()
        assert zombie.parent.ns_pid == 2
        os.kill(zombie.parent.pid, 15)
        wait_for(lambda: {z.parent.ns_pid for z in seen.of(box).values()} == {1}, "PID 1 to owe the wait")
        wait_for(lambda: len(seen.findings(box)) == 2, "a finding each")
        assert [f.cause for f in seen.findings(box)] == ["parent-never-waits", "pid1-does-not-reap"]


def test_a_leader_that_is_dead_while_its_threads_live_is_no_zombie(seen, folder):
    (folder / "leader.py").write_text(
        "import ctypes, os, signal, threading, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
        "if os.fork() == 0:\n"
        "    threading.Thread(target=lambda: (print('ready', flush=True), time.sleep(600))).start()\n"
        "    ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n"
        "if os.fork() == 0:\n"
        "    os._exit(0)\n"
        "while True: signal.pause()\n"
    )
    with Container(name("leader"), workdir=folder) as box:
        box.start(["python3", "leader.py"])
        box.wait_ready(b"ready")
        wait_for(lambda: seen.of(box), "the other one, which is a zombie")
        (zombie,) = seen.of(box).values()
        assert zombie.task.ns_pid > 2, "2 is the one whose leader has left; its thread may have taken 3"


def test_zombies_from_before_are_told_once_they_have_been_watched_for_long_enough(bpf_host, folder):
    with Container(name("before"), workdir=folder) as box:
        debtor(box, 3)
        with watching() as zombies:
            wait_for(lambda: len(zombies.of(box)) == 3, "three zombies")
        assert all(z.exit_ns == 0 for z in zombies.of(box).values())
        (finding,) = zombies.findings(box)
        assert "older than this trace" in finding.message
