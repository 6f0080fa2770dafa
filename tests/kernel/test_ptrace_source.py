"""The ptrace source as a whole, where it is for: as a sidecar, beside a debugger, within a budget, after a kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.folder import Folder
from sigtrace.lab.needs import unmet
from sigtrace.lab.process import argv_of, descendants_of, until
from sigtrace.model.event import Disposition, Kind, Loss
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.source import PtraceSource

REPOSITORY = Path(__file__).parents[2]

#: In a sidecar: tells what a process gets until it ends.
SIDECAR = """
import json, os, sys
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.source import PtraceSource
source = PtraceSource(PtraceOptions(interval_s=0.02))
source.open()
main = next(e for e in source.snapshot() if e.task.comm == "target")
source.watch(*main.task.key)
while source.ledger()["tracees"] < 2:  # the sandbox, too
    source.read(0.01)
print("ready", flush=True)
told = []
while not any(e.kind == "exit" for e in told):
    told += [e for e in source.read(0.05).events if e.task and e.task.key == main.task.key and e.kind != "task"]
print(json.dumps(source.notices))
print(json.dumps([[e.kind, e.signo, e.outside, e.sender is None, e.wait_status and e.wait_status.raw] for e in told]))
source.close()
"""


class Watched:
    """An open source, asked until a condition holds."""

    def __init__(self, **options):
        self.source = PtraceSource(PtraceOptions(**{"below": os.getpid()} | options))
        self.events = []
        self.source.open()

    def until(self, condition, timeout_s=10):
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, self.source.notices
            self.events += self.source.read(0.01).events
        return found

    def of(self, pid, kind, signo=0):
        return [e for e in self.events if e.task and (e.task.pid, e.kind, e.signo) == (pid, kind, signo)]

    def traces(self, n):
        self.until(lambda: self.source.ledger()["tracees"] >= n)


@pytest.fixture
def watched(request):
    sources = []

    def make(**options):
        sources.append(Watched(**options))
        return sources[-1]

    yield make
    for one in sources:
        one.source.close()


def name(what):
    return f"ptrace-{os.getpid()}-{what}"


def test_as_a_sidecar_with_a_shared_pid_namespace_it_tells_of_the_others(program):
    with Container(name("pause")) as pause, Container(name("app"), sandbox=pause) as app:
        pause.start(["sleep", "infinity"])
        pause.wait_ready()
        app.start([str(program), "handler"])
        app.wait_ready(b"ready\n")
        enter = ["nsenter", f"--target={pause.init_pid}", "--pid", "--mount", "--"]
        with subprocess.Popen(
            [*enter, sys.executable, "-c", SIDECAR],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": REPOSITORY},
        ) as sidecar:
            try:
                assert sidecar.stdout.readline() == b"ready\n"
                app.kill(signal.SIGTERM)
                app.wait_ready(b"took 15\n", asleep=False)
                app.kill(signal.SIGKILL)
                notices, told = json.loads(sidecar.stdout.readline()), json.loads(sidecar.stdout.readline())
            finally:
                sidecar.kill()
    assert [notice for notice in notices if "tracer" in notice] == []
    assert told[:2] == [["signal_generate", 15, True, True, None], ["signal_deliver", 15, False, True, None]]
    assert told[-1] == ["exit", 0, False, True, 9]


def test_who_is_traced_already_is_left_alone_and_named(watched, program):
    with Container(name("debugged")) as box:
        box.start([str(program), "handler"])
        box.wait_ready(b"ready\n")
        with subprocess.Popen([program, "tracer", str(box.init_pid)], stdout=subprocess.PIPE) as debugger:
            assert debugger.stdout.readline() == b"ready\n"
            watch = watched()
            (notice,) = [one for one in watch.source.notices if "traced" in one]
            assert notice == f"pid {box.init_pid} (target) is traced by pid {debugger.pid} (target): left alone"
            assert watch.source.ledger()["tracees"] == 0
            box.kill(signal.SIGTERM)  # still the debugger's to hand on
            box.wait_ready(b"took 15\n", asleep=False)
            debugger.kill()


def test_beyond_the_budget_it_says_how_many_it_does_not_trace(watched):
    with Container(name("one")) as one, Container(name("two")) as two:
        for box in (one, two):
            box.start(["sleep", "infinity"])
            box.wait_ready()
        watch = watched(max_tracees=1)
        watch.until(lambda: watch.events)
        lost = [event for event in watch.events if event.kind is Kind.LOST]
        assert [(event.loss, event.count) for event in lost] == [(Loss.TABLE_FULL, 1)]
        assert watch.source.ledger()["tracees"] == 1


def test_a_pid_1_that_faults_dies_of_it_as_without_a_tracer(watched, program):
    """The kernel spares a PID 1 that is traced, which would fault for ever."""
    watch = watched()
    with Container(name("fault")) as box:
        box.start([str(program), "fault"])
        box.wait_ready(b"ready\n")
        watch.traces(1)
        box.kill(signal.SIGRTMIN + 1)
        assert box.wait().signal == signal.SIGSEGV
        (exit_,) = watch.until(lambda: watch.of(box.init_pid, Kind.EXIT))
    assert exit_.wait_status.signal == signal.SIGSEGV
    assert watch.of(box.init_pid, Kind.SIGNAL_DELIVER, signal.SIGSEGV)


def test_a_tracer_that_is_killed_is_replaced_and_that_is_said(watched, program):
    watch = watched()
    with Container(name("replaced")) as box:
        box.start([str(program), "handler"])
        box.wait_ready(b"ready\n")
        watch.traces(1)
        os.kill(watch.source._tracing.tracer.pid, signal.SIGKILL)
        watch.until(lambda: [e for e in watch.events if e.loss is Loss.KERNEL_MISSED])
        watch.traces(1)
        box.kill(signal.SIGTERM)
        (told,) = watch.until(lambda: watch.of(box.init_pid, Kind.SIGNAL_DELIVER, signal.SIGTERM))
    assert told.disposition is Disposition.HANDLER
    assert "the tracer ended (it was killed): another has taken its place" in watch.source.notices


def test_a_command_and_its_children_are_followed_by_a_plain_trace(watched):
    command = "kill -USR1 $$; exit 0"
    with subprocess.Popen(["sh", "-c", f"read -r _; trap : USR1; (exit 3); {command}"], stdin=subprocess.PIPE) as shell:
        source = PtraceSource(PtraceOptions(follow=(shell.pid,), children=True))
        try:
            source.open()
            shell.stdin.write(b"\n")
            shell.stdin.flush()
            events = []
            deadline = time.monotonic() + 10
            while not any(e.kind is Kind.EXIT and e.task.pid == shell.pid for e in events):
                assert time.monotonic() < deadline
                events += [e for e in source.read(0.01).events if e.task and e.kind is not Kind.TASK]
        finally:
            source.close()
        shell.wait()
    usr1 = [e for e in events if e.signo == signal.SIGUSR1]
    assert [(e.kind, e.sender.pid, e.disposition) for e in usr1] == [
        (Kind.SIGNAL_GENERATE, shell.pid, Disposition.HANDLER),
        (Kind.SIGNAL_DELIVER, shell.pid, Disposition.HANDLER),
    ]
    codes = {e.task.pid == shell.pid: e.wait_status.exit_code for e in events if e.kind is Kind.EXIT}
    assert codes == {True: 0, False: 3}
    assert any(e.signo == signal.SIGCHLD for e in events)  # all of it, as strace tells


@pytest.mark.parametrize("init", ["tini", "dumb-init"])
def test_what_an_init_that_only_passes_signals_on_was_sent_is_inferred_from_what_its_child_gets(watched, init):
    if reason := unmet((init,)):
        pytest.skip(reason)
    watch = watched()
    with Container(name(init)) as box:
        box.start([init, "--", "sleep", "infinity"])
        box.wait_ready()
        watch.traces(2)  # it, and its child, which drops what comes before its exec
        watch.until(lambda: ("sleep", "infinity") in map(argv_of, descendants_of(box.init_pid)))
        box.kill(signal.SIGTERM)
        (exit_,) = watch.until(lambda: watch.of(box.init_pid, Kind.EXIT))
        (sent,) = watch.of(box.init_pid, Kind.SIGNAL_GENERATE, signal.SIGTERM)
    assert (sent.waited, sent.outside, sent.sender, sent.disposition) == (True, True, None, None)
    assert sent.time_ns < exit_.time_ns
    assert exit_.wait_status.exit_code == 128 + signal.SIGTERM


def test_a_supervisor_that_stops_its_child_for_its_own_reasons_was_not_asked_to(watched):
    """It waits for some signals, not for all: what it sends is its own business."""
    program = (
        "import os,signal,time\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK,{10,15})\n"
        "child = os.fork() or (signal.pthread_sigmask(signal.SIG_UNBLOCK,{10,15}), time.sleep(60))\n"
        "print('up',flush=True)\n"
        "signal.sigwait({10,15})\n"
        "os.kill(child, 15); os.waitpid(child, 0); signal.sigwait({15})\n"
    )
    watch = watched(whole=True)
    with Container(name("supervisor")) as box:
        box.start(["python3", "-c", program])
        box.wait_ready(b"up\n")
        watch.traces(2)
        watch.until(lambda: watch.source.read(0.7) is not None)  # so often it is looked at
        box.kill(signal.SIGUSR1)
        watch.until(lambda: [e for e in watch.events if e.kind is Kind.SIGNAL_DELIVER and e.signo == signal.SIGTERM])
        assert watch.of(box.init_pid, Kind.SIGNAL_GENERATE, signal.SIGTERM) == []


def swallow(watch):
    """What the kernel has told up to now, nobody hears."""
    watch.source._changes.read(0)
    watch.source._changes._lost = True


def test_who_began_while_the_kernels_word_was_lost_is_found_by_a_look_and_traced(watched):
    watch = watched()
    with Container(name("missed")) as box:
        box.start(["sleep", "infinity"])
        box.wait_ready()
        swallow(watch)
        watch.traces(1)
        (seen,) = watch.until(lambda: watch.of(box.init_pid, Kind.TASK))
        (lost,) = [e for e in watch.events if e.loss is Loss.KERNEL_MISSED]
    assert (seen.task.argv, seen.container_init, lost.count) == (("sleep", "infinity"), True, 1)


def test_who_executed_while_the_kernels_word_was_lost_is_told_as_what_it_is_now(watched):
    watch = watched(below=1 << 30)  # traces nobody, who would tell
    with Container(name("became")) as box, Folder({}) as folder:
        box.start(["sh", "-c", f"while [ ! -e {folder}/go ]; do sleep 0.01; done; exec sleep infinity"])
        watch.until(lambda: [e for e in watch.of(box.init_pid, Kind.EXEC) if e.task.comm == "sh"])
        (folder / "go").touch()
        box.wait_ready()
        until(lambda: argv_of(box.init_pid) == ("sleep", "infinity"), "the exec")
        swallow(watch)
        watch.until(lambda: [e for e in watch.of(box.init_pid, Kind.EXEC) if e.task.argv == ("sleep", "infinity")])
        assert [e.count for e in watch.events if e.loss is Loss.KERNEL_MISSED] == [1]


@pytest.mark.parametrize("attached", ["before its leader leaves", "after"])
def test_the_end_of_one_whose_leader_left_first_is_told_with_its_status(watched, program, wait_until, attached):
    watch = watched() if attached != "after" else None
    with Container(name("leader")) as box:
        box.start([str(program), "leader-first", "3", "4"])
        box.wait_ready(b"ready\n")
        if watch:
            watch.traces(1)
        box.kill(signal.SIGRTMIN + 1)
        stat = Path(f"/proc/{box.init_pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", what="the leader to leave")
        watch = watch or watched()
        watch.traces(1)
        box.kill(signal.SIGRTMIN + 1)
        status = box.wait()
        (exit_,) = watch.until(lambda: watch.of(box.init_pid, Kind.EXIT))
    assert exit_.wait_status in (status, None)
    assert watch.of(box.init_pid, Kind.EXIT) == [exit_]


def test_a_plain_user_traces_a_command_of_its_own(tmp_path):
    """Without any capability: what it tells, and that it ends as the command did."""
    script = f"""
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
command = ["sh", "-c", "trap 'exit 7' USR1; kill -USR1 $$; sleep 60"]
os.chdir({str(REPOSITORY)!r})
os.execv(sys.executable, [sys.executable, "-m", "sigtrace.cli.main", "trace", "--backend", "ptrace", "-o", "json", "--",
    *command])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 7, done.stderr
    (taken,) = [one for one in told if one.get("kind") == "signal_deliver" and one.get("signal") == "SIGUSR1"]
    assert (taken["disposition"], taken["sender"]["pid"]) == ("handler", taken["target"]["pid"])
    assert [one["exit_code"] for one in told if one.get("kind") == "exit"][-1] == 7


@pytest.mark.parametrize(
    ("program", "unheard"),
    [
        ("signal.pthread_sigmask(signal.SIG_BLOCK,{15}); print('up',flush=True); signal.sigwait({15})", True),
        (
            (
                "signal.pthread_sigmask(signal.SIG_BLOCK,{15}); print('up',flush=True)\n"
                "while not signal.sigtimedwait({15}, 0): time.sleep(0.001)"
            ),
            True,
        ),
        ("signal.signal(10, lambda *_: sys.exit(0)); print('up',flush=True); signal.pause()", False),
    ],
    ids=["waits for it", "polls for it", "is not asked to"],
)
def test_whether_a_main_process_may_have_been_asked_unseen_is_said_at_its_end(watched, program, unheard):
    watch = watched()
    with Container(name("unheard")) as box:
        box.start(["python3", "-c", f"import signal, sys, time; {program}"])
        box.wait_ready(b"up\n", asleep=False)
        watch.traces(1)
        box.kill(signal.SIGTERM if unheard else signal.SIGUSR1)  # the latter asks nobody to end
        (exit_,) = watch.until(lambda: watch.of(box.init_pid, Kind.EXIT))
    assert exit_.wait_status.raw == 0
    assert exit_.unheard is unheard
    assert watch.of(box.init_pid, Kind.SIGNAL_DELIVER, signal.SIGTERM) == []


def test_with_a_command_only_its_own_tree_is_traced_and_told_of(watched):
    with subprocess.Popen(["sh", "-c", "read -r _; exit 3"], stdin=subprocess.PIPE) as shell:
        watch = watched(below=0, follow=(shell.pid,), children=True, tell_all=True, zombie_after_s=0.1)
        with Container(name("another")) as box:
            box.start(["sh", "-c", "sleep 0.01 & exec sleep infinity"])  # it leaves a zombie
            box.wait_ready()
            watch.until(lambda: argv_of(box.init_pid) == ("sleep", "infinity"))
            box.kill(signal.SIGTERM)
            box.kill(signal.SIGKILL)
            box.wait()
            shell.stdin.write(b"\n")
            shell.stdin.flush()
            watch.until(lambda: watch.of(shell.pid, Kind.EXIT))
            assert watch.source.ledger()["tracees"] <= 1
        told = {e.task.pid for e in watch.events if e.task and e.kind is not Kind.TASK}
    assert told == {shell.pid}


@pytest.mark.parametrize("where", ["the proc connector", "the headers"])
def test_what_a_plain_user_may_not_have_is_done_without(where, tmp_path):
    """Before Linux 6.6 the proc connector is refused to it; a hardened node lets it not look into /lib/modules."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = f"""
import errno, os, socket, sys
os.environ["BCC_KERNEL_SOURCE"] = {str(closed / "headers")!r}
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from sigtrace.sources import netlink
if {where!r} == "the proc connector":
    class Refused(socket.socket):
        def bind(self, address):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    netlink.socket.socket = Refused
from sigtrace.cli.main import main
sys.exit(main(["trace", "--backend", "ptrace", "--", "sh", "-c", "exit 5"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 5, done.stderr
    assert "bug" not in done.stderr
