"""Whatever a tracee does and however the tracer ends: nobody is left stopped or killed, and no signal lost or moved."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.remote import RemoteTracer
from sigtrace.sources.ptrace.source import PtraceSource
from sigtrace.sources.ptrace.wire import Report, Want

REPOSITORY = Path(__file__).parents[2]
ALL = PtraceOptions(follow=(1,))

#: MODE ARGUMENT…; each says "ready" first.
PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <time.h>

static volatile int wanted, wrong, done;
static void numbered(int signo, siginfo_t *info, void *unused)
{
	if (info->si_value.sival_int != wanted)
		wrong++;
	wanted = info->si_value.sival_int + 1;
}
static void last(int signo) { done = 1; }
static void went(int signo) { }

static void handle(int signo, void (*h)(int)) { struct sigaction a = { .sa_handler = h }; sigaction(signo, &a, NULL); }

/* storm N: a child that is sent N numbered signals as fast as it takes them; they wait for a line on stdin. */
static int storm(int n)
{
	struct sigaction a = { .sa_sigaction = numbered, .sa_flags = SA_SIGINFO };
	sigset_t all, none;
	int ends[2], status;
	char c;

	if (pipe(ends))
		return 1;
	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &all, NULL);
	pid_t child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that has seen enough ends its parent */
		sigaddset(&a.sa_mask, SIGTERM);
		sigaction(SIGRTMIN, &a, NULL);
		handle(SIGTERM, last);
		write(ends[1], "x", 1);
		/* SIGTERM's number is lower: it is taken only when the others are through. */
		sigset_t until = none;
		sigaddset(&until, SIGTERM);
		while (wanted < n && !wrong)
			sigsuspend(&until);
		while (!done)
			sigsuspend(&none);
		_exit(wrong || wanted != n);
	}
	read(ends[0], &c, 1);
	printf("ready %d\n", child);
	fflush(stdout);
	read(0, &c, 1);
	for (int i = 0; i < n; i++)
		while (sigqueue(child, SIGRTMIN, (union sigval){ .sival_int = i }))
			if (errno != EAGAIN)
				return 2;
	kill(child, SIGTERM);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

/* forks N: after a line N children, each ends with its number modulo 7, all at once. */
static int forks(int n)
{
	int status, wrong = 0;
	pid_t *pids = calloc(n, sizeof(*pids));
	char c;

	puts("ready");
	fflush(stdout);
	read(0, &c, 1);
	for (int i = 0; i < n; i++)
		if (!(pids[i] = fork()))
			_exit(i % 7);
	for (int i = 0; i < n; i++)
		wrong += waitpid(pids[i], &status, 0) != pids[i] || !WIFEXITED(status) || WEXITSTATUS(status) != i % 7;
	return wrong != 0;
}

/* call NAME: says what became of a call of 2 s that a signal fell into. */
static int call(const char *name)
{
	struct timespec left = { .tv_sec = 2 };
	struct epoll_event event;
	int fd = epoll_create1(0), result;

	puts("ready");
	fflush(stdout);
	if (!strcmp(name, "epoll_wait"))
		result = epoll_wait(fd, &event, 1, 2000);
	else
		result = nanosleep(&left, NULL);
	puts(result < 0 && errno == EINTR ? "EINTR" : "whole");
	return 0;
}

static void *idle(void *unused)
{
	for (;;)
		pause();
}

/* execs N: N threads, and one more that executes the program again, and so on. */
static void *again(void *argv)
{
	usleep(rand() % 300);
	execv("/proc/self/exe", argv);
	_exit(4);
}

static int execs(int n, char **argv)
{
	static char *next[5];
	pthread_t thread;

	if (!argv[3])
		puts("ready");
	memcpy(next, (char *[]){ argv[0], argv[1], argv[2], "again", NULL }, sizeof(next));
	srand(getpid() ^ (unsigned)clock());
	for (int i = 0; i < n; i++)
		pthread_create(&thread, NULL, idle, NULL);
	pthread_create(&thread, NULL, again, next);
	idle(NULL);
}

/* noise N: N threads that signal themselves without end. */
static void *noisy(void *unused)
{
	for (;;)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
}

static int noise(int n)
{
	pthread_t thread;

	handle(SIGUSR1, went);
	for (int i = 0; i < n; i++)
		pthread_create(&thread, NULL, noisy, NULL);
	puts("ready");
	idle(NULL);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(argv[1], "storm"))
		return storm(atoi(argv[2]));
	if (!strcmp(argv[1], "forks"))
		return forks(atoi(argv[2]));
	if (!strcmp(argv[1], "call"))
		return call(argv[2]);
	if (!strcmp(argv[1], "execs"))
		return execs(atoi(argv[2]), argv);
	if (!strcmp(argv[1], "noise"))
		return noise(atoi(argv[2]));
	return 3;
}
"""

#: An agent: traces the processes of its arguments, says so, and waits.
AGENT = """
import sys, time
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.remote import RemoteTracer
from sigtrace.sources.ptrace.wire import Report, Want
tracer = RemoteTracer(PtraceOptions(follow=(1,)))
waiting = {int(pid) for pid in sys.argv[1:]}
for pid in waiting:
    tracer.seize(pid, Want(0))
while waiting:
    waiting -= {told.tgid for told in tracer.read() if told.kind == Report.SEIZED and told.value == 0}
    time.sleep(0.001)
print("tracing", tracer.pid, flush=True)
while True:
    tracer.read()
    time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """PROGRAM, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: install the package gcc")
    folder = tmp_path_factory.mktemp("ptrace")
    (folder / "load.c").write_text(PROGRAM)
    subprocess.run([compiler, "-O1", "-w", "-pthread", "-o", folder / "load", folder / "load.c"], check=True)
    return folder / "load"


@contextlib.contextmanager
def started(*argv):
    """A process that has said that it is ready; ended at the end, whatever happens."""
    process = subprocess.Popen([*map(str, argv)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    try:
        process.said = process.stdout.readline().decode().split()
        assert process.said[:1] == ["ready"]
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


class Tracer:
    """A tracer whose reports are kept."""

    def __init__(self, options=ALL):
        self.remote = RemoteTracer(options)
        self.told = []

    def seize(self, pid, want=0):
        self.remote.seize(pid, want)
        return self.await_report(lambda told: told.kind == Report.SEIZED and told.tgid == pid)

    def read(self):
        self.told += self.remote.read() or ()
        return self.told

    def await_report(self, wanted, timeout_s=10):
        deadline = time.monotonic() + timeout_s
        while not (found := [told for told in self.read() if wanted(told)]):
            assert time.monotonic() < deadline, self.told[-10:]
            time.sleep(0.001)
        return found[0]


@contextlib.contextmanager
def tracing(options=ALL):
    tracer = Tracer(options)
    try:
        yield tracer
    finally:
        tracer.remote.close()


def status(pid, name):
    """A field of /proc/PID/status; "" if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    return text.partition(f"\n{name}:\t")[2].partition("\n")[0]


def tracers(pid):
    """Who traces its threads."""
    return {int(status(f"{pid}/task/{tid}", "TracerPid") or 0) for tid in os.listdir(f"/proc/{pid}/task")}


def is_free(pid):
    return tracers(pid) == {0} and status(pid, "State")[0] in "SR"


def go(process):
    process.stdin.write(b"\n")


# ---- nothing is lost, added or moved


def test_a_storm_arrives_whole_and_in_order_under_a_tracer(load):
    with started(load, "storm", 100_000) as process, tracing() as tracer:
        child = int(process.said[1])
        assert tracer.seize(child).value == 0
        go(process)
        while process.poll() is None:  # a full pipe of reports is no reason to stop
            tracer.read()
            time.sleep(0.001)
        assert process.returncode == 0
        last = tracer.await_report(lambda told: told.kind == Report.EXIT and told.tgid == child)
        assert last.value == 0
        signals = [told for told in tracer.told if told.kind == Report.SIGNAL and told.number == signal.SIGRTMIN]
        lost = sum(told.other for told in tracer.told if told.kind == Report.LOST)
        assert len(signals) + lost == 100_000


def test_a_storm_is_limited_and_counted_in_the_default_mode(load):
    with started(load, "storm", 20_000) as process, tracing(PtraceOptions(signals_per_s=50)) as tracer:
        child = int(process.said[1])
        tracer.seize(child)
        go(process)
        assert process.wait(60) == 0
        tracer.await_report(lambda told: told.kind == Report.EXIT and told.tgid == child)
        # sigqueue's siginfo is its caller's own, and so told as any other that a process sent.
        told = [told for told in tracer.told if told.kind == Report.SIGNAL and told.number == signal.SIGRTMIN]
        limited = sum(told.value for told in tracer.told if told.kind == Report.LOST)
        assert len(told) < 20_000
        assert len(told) + limited == 20_000


@pytest.mark.parametrize("ends", ["killed", "closed", "nobody reads"])
def test_a_storm_arrives_whole_and_in_order_however_the_tracer_ends(load, ends):
    with started(load, "storm", 50_000) as process, contextlib.ExitStack() as stack:
        tracer = stack.enter_context(tracing())
        child = int(process.said[1])
        tracer.seize(child)
        go(process)
        tracer.await_report(lambda told: told.kind == Report.SIGNAL)
        if ends == "killed":
            os.kill(tracer.remote.pid, signal.SIGKILL)
        elif ends == "closed":
            tracer.remote.close()
        assert process.wait(60) == 0


def test_a_storm_arrives_whole_and_in_order_while_tracers_come_and_go(load):
    with started(load, "storm", 50_000) as process:
        child = int(process.said[1])
        go(process)
        rounds = 0
        while process.poll() is None:
            with tracing() as tracer:
                tracer.remote.seize(child, Want(0))
                tracer.await_report(lambda told: told.kind == Report.SEIZED)
                rounds += 1
        assert process.returncode == 0
        assert rounds


# ---- what tracees do


def test_a_fork_storm_is_followed_and_each_parent_gets_its_childs_status(load):
    with started(load, "forks", 500) as process, tracing() as tracer:
        tracer.seize(process.pid, Want.CHILDREN)
        go(process)
        assert process.wait(60) == 0
        tracer.await_report(lambda told: told.kind == Report.EXIT and told.tgid == process.pid)
        born = {told.tgid for told in tracer.told if told.kind == Report.BORN}
        ended = [told.value >> 8 for told in tracer.told if told.kind == Report.EXIT and told.tgid in born]
        assert len(born) == 500
        assert sorted(ended) == sorted(i % 7 for i in range(500))


def test_a_thread_that_executes_becomes_the_process(program):
    with started(program, "exec-thread") as process, tracing() as tracer:
        seized = tracer.seize(process.pid)
        assert seized.other == 2
        process.send_signal(signal.SIGRTMIN + 1)
        executed = tracer.await_report(lambda told: told.kind == Report.EXEC)
        assert executed.tgid == process.pid
        assert executed.value != process.pid  # the thread that it was
        assert process.stdout.readline() == b"ready\n"
        assert tracers(process.pid) == {tracer.remote.pid}
        process.terminate()
        tracer.await_report(lambda told: told.kind == Report.SIGNAL and told.number == signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        assert tracer.await_report(lambda told: told.kind == Report.EXIT).value == signal.SIGTERM


def test_two_hundred_threads_are_all_traced_and_all_let_go(program, wait_until):
    with started(program, "threads", 200) as process:
        with tracing() as tracer:
            assert tracer.seize(process.pid).other == 201
            assert tracers(process.pid) == {tracer.remote.pid}
            process.send_signal(signal.SIGSTOP)
            tracer.await_report(lambda told: told.kind == Report.STOPPED)
            process.send_signal(signal.SIGCONT)
            tracer.await_report(lambda told: told.kind == Report.CONTINUED)
        wait_until(lambda: is_free(process.pid), what="all threads to be free")
        process.send_signal(signal.SIGRTMIN + 1)
        assert process.wait(10) == 0


def test_who_is_stopped_stays_stopped_through_attach_and_detach(program, wait_until):
    with started(program, "handler") as process:
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: status(process.pid, "State").startswith("T"), what="it to stop")
        for _ in range(3):
            with tracing() as tracer:
                tracer.seize(process.pid)
                tracer.await_report(lambda told: told.kind == Report.STOPPED)
            wait_until(lambda: status(process.pid, "State").startswith("T (stopped)"), what="it to be stopped again")
        process.terminate()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == b"took 15\n"


def test_sigstop_and_sigcont_work_under_a_tracer(program, wait_until):
    with started(program, "handler") as process, tracing() as tracer:
        tracer.seize(process.pid)
        for _ in range(3):
            process.send_signal(signal.SIGSTOP)
            tracer.await_report(lambda told: told.kind == Report.STOPPED)
            assert status(process.pid, "State").startswith("t")
            process.terminate()  # kept for later
            process.send_signal(signal.SIGCONT)
            tracer.await_report(lambda told: told.kind == Report.CONTINUED)
            assert process.stdout.readline() == b"took 15\n"
            tracer.told.clear()


def test_a_parent_hears_of_its_stopped_child_as_without_a_tracer(program):
    with started(program, "handler") as process, tracing() as tracer:
        tracer.seize(process.pid)
        process.send_signal(signal.SIGSTOP)
        pid, raw = os.waitpid(process.pid, os.WUNTRACED)
        assert (pid, os.WIFSTOPPED(raw), os.WSTOPSIG(raw)) == (process.pid, True, signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
        pid, raw = os.waitpid(process.pid, os.WCONTINUED)
        assert os.WIFCONTINUED(raw)


def test_who_is_killed_dies_of_it_and_leaves_a_zombie_for_its_parent_alone(program):
    with started(program, "handler") as process, tracing() as tracer:
        tracer.seize(process.pid)
        process.kill()
        told = tracer.await_report(lambda told: told.kind == Report.EXIT)
        assert told.value == signal.SIGKILL
        assert status(process.pid, "State").startswith("Z")
        assert process.wait() == -signal.SIGKILL


def test_a_process_that_is_gone_is_no_error():
    gone = subprocess.Popen(["true"])
    gone.wait()
    with tracing() as tracer:
        assert tracer.seize(gone.pid).value != 0


# ---- the end of an agent


@pytest.mark.parametrize("whom", ["agent", "tracer", "both"])
def test_fifty_are_free_and_hear_their_signals_after_a_kill_9(program, wait_until, whom):
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(started(program, "handler")) for _ in range(50)]
        agent = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", AGENT, *(str(t.pid) for t in targets)], cwd=REPOSITORY, stdout=subprocess.PIPE
            )
        )
        stack.callback(agent.kill)
        tracer = int(agent.stdout.readline().split()[1])
        assert {pid for t in targets for pid in tracers(t.pid)} == {tracer}
        targets[0].send_signal(signal.SIGSTOP)
        wait_until(lambda: status(targets[0].pid, "State").startswith("t"), what="a group stop")
        for target in targets[1:]:
            target.terminate()  # some arrive under the tracer, some after it
        for pid in {"agent": [agent.pid], "tracer": [tracer], "both": [agent.pid, tracer]}[whom]:
            os.kill(pid, signal.SIGKILL)
        for target in targets[1:]:
            assert target.stdout.readline() == b"took 15\n"
            wait_until(lambda pid=target.pid: is_free(pid), what="it to be free")
        wait_until(lambda: status(targets[0].pid, "State").startswith("T (stopped)"), what="it to be stopped as before")
        targets[0].terminate()
        targets[0].send_signal(signal.SIGCONT)
        assert targets[0].stdout.readline() == b"took 15\n"


def test_all_signals_of_fifty_arrive_once_while_the_tracer_is_killed(load):
    with contextlib.ExitStack() as stack:
        storms = [stack.enter_context(started(load, "storm", 2_000)) for _ in range(50)]
        tracer = stack.enter_context(tracing())
        for storm in storms:
            tracer.seize(int(storm.said[1]))
        for storm in storms:
            go(storm)
        tracer.await_report(lambda told: told.kind == Report.SIGNAL)
        os.kill(tracer.remote.pid, signal.SIGKILL)
        assert [storm.wait(60) for storm in storms] == [0] * 50


# ---- what a tracee notices


@pytest.mark.parametrize(
    ("name", "signo", "untraced", "traced"),
    [
        ("epoll_wait", signal.SIGURG, "whole", "EINTR"),  # the one difference, which the kernel forces
        ("nanosleep", signal.SIGURG, "whole", "whole"),
    ],
)
def test_a_call_may_return_eintr_for_a_signal_that_would_have_been_ignored(
    load, wait_until, name, signo, untraced, traced
):
    for expected, is_traced in ((untraced, False), (traced, True)):
        with started(load, "call", name) as process, contextlib.ExitStack() as stack:
            if is_traced:
                tracer = stack.enter_context(tracing())
                tracer.seize(process.pid)
            wait_until(lambda p=process: status(p.pid, "State").startswith("S"), what="it to be in the call")
            process.send_signal(signo)
            assert process.stdout.readline().decode().strip() == expected


def test_being_attached_and_let_go_interrupts_no_call(load, wait_until):
    with started(load, "call", "epoll_wait") as process:
        wait_until(lambda: status(process.pid, "State").startswith("S"), what="it to be in the call")
        with tracing() as tracer:
            tracer.seize(process.pid)
        assert process.stdout.readline() == b"whole\n"


def test_a_plain_user_traces_its_own(program, tmp_path):
    """As uid 65534, without a capability: what `trace --backend ptrace -- CMD` needs."""
    copy = tmp_path / "tracee"
    shutil.copy(program, copy)
    script = f"""
import os, subprocess, sys, time, signal
os.setgroups([]); os.setgid(65534); os.setuid(65534)
target = subprocess.Popen(["sleep", "60"])
from sigtrace.sources.ptrace.remote import RemoteTracer
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.wire import Report, Want
tracer = RemoteTracer(PtraceOptions(follow=(target.pid,)))
told = []
def until(kind):
    deadline = time.monotonic() + 10
    while not (found := [t for t in told if t.kind == kind]):
        told.extend(tracer.read() or ())
        assert time.monotonic() < deadline, told
        time.sleep(0.001)
    return found[0]
tracer.seize(target.pid, Want.CHILDREN)
print(until(Report.SEIZED).value)
target.terminate()
print(until(Report.SIGNAL).number, until(Report.EXIT).value, target.wait())
tracer.seize({os.getpid()}, Want(0))
told.clear()
print(until(Report.SEIZED).value)
tracer.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["0", "15", "15", "-15", "1"], done.stderr  # EPERM for root's own


def test_a_zombie_is_no_error_and_stays_its_parents():
    zombie = subprocess.Popen(["sh", "-c", "exit 5"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    with tracing() as tracer:
        assert tracer.seize(zombie.pid).value != 0
    assert zombie.wait() == 5


def test_two_that_signal_without_end_starve_nobody_else(load, program):
    """Whoever stops is looked at in the kernel's order: a third hears its signal all the same, and soon."""
    with contextlib.ExitStack() as stack:
        storms = [stack.enter_context(started(load, "storm", 100_000)) for _ in range(2)]
        third = stack.enter_context(started(program, "handler"))
        tracer = stack.enter_context(tracing(PtraceOptions(signals_per_s=50)))
        for storm in storms:
            tracer.seize(int(storm.said[1]))
        tracer.seize(third.pid)
        for storm in storms:
            go(storm)
        tracer.await_report(lambda told: told.kind == Report.SIGNAL and told.tgid != third.pid)
        third.terminate()
        assert third.stdout.readline() == b"took 15\n"
        assert [storm.poll() for storm in storms] == [None, None]  # they are at it still


def test_two_hundred_threads_that_signal_without_end_starve_nobody_who_was_attached_before(load, program):
    """The kernel shows the newest tracee first. How long it took is counted in signals that others got meanwhile."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(started(program, "handler"))
        noise = stack.enter_context(started(load, "noise", 200))
        tracer = stack.enter_context(tracing(PtraceOptions(signals_per_s=50)))
        tracer.seize(first.pid)
        tracer.seize(noise.pid)
        tracer.await_report(lambda told: told.kind == Report.LOST)
        for _ in range(5):
            tracer.told.clear()
            first.terminate()
            heard = tracer.await_report(lambda told: told.kind == Report.SIGNAL and told.tgid == first.pid)
            meanwhile = tracer.told[: tracer.told.index(heard)]
            assert sum(told.value for told in meanwhile if told.kind == Report.LOST) < 10_000
            assert first.stdout.readline() == b"took 15\n"


# ---- an exec holds up PTRACE_SEIZE


def test_threads_that_execute_while_they_are_attached_hold_up_nobody(load, program, wait_until):
    with tracing() as tracer, started(program, "handler") as other:
        tracer.seize(other.pid)
        for _ in range(8):
            with contextlib.ExitStack() as stack:
                crowd = [stack.enter_context(started(load, "execs", 24)).pid for _ in range(20)]
                for pid in crowd:
                    tracer.remote.seize(pid, Want(0))
                for pid in crowd:
                    seized = tracer.await_report(lambda told, pid=pid: told.kind == Report.SEIZED and told.tgid == pid)
                    assert seized.value == 0
                    wait_until(lambda pid=pid: tracers(pid) == {tracer.remote.pid}, what="all its threads to be traced")
                other.terminate()
                assert other.stdout.readline() == b"took 15\n"


@pytest.fixture
def stuck(tmp_path, wait_until):
    """A process whose exec waits for a file: the interpreter of its script, which somebody holds a lease of."""
    interpreter, script = tmp_path / "interpreter", tmp_path / "script"
    for path, text in ((interpreter, "none"), (script, f"#!{interpreter}\n")):
        path.write_text(text)
        path.chmod(0o755)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # that the lease is asked back
    lease = os.open(interpreter, os.O_RDWR)
    try:
        fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with subprocess.Popen(["sh", "-c", f"exec {script}"]) as process:
            try:
                wait_until(lambda: "lease" in Path(f"/proc/{process.pid}/wchan").read_text(), what="the exec to wait")
                yield process
            finally:
                process.kill()
    finally:
        os.close(lease)
        signal.signal(signal.SIGIO, before)


def test_an_exec_that_does_not_end_keeps_nobody_stopped(program, stuck):
    """The tracer can't be called back from PTRACE_SEIZE: it ends, and says whose fault it was."""
    with started(program, "handler") as other, tracing() as tracer:
        tracer.seize(other.pid)
        tracer.remote.seize(stuck.pid, Want(0))
        other.terminate()
        tracer.await_report(lambda told: told.kind == Report.SEIZED and told.tgid == stuck.pid)
        assert other.stdout.readline() == b"took 15\n"
        assert [told.value for told in tracer.told if told.tgid == stuck.pid] == [errno.ETIMEDOUT]
        assert stuck.poll() is None


def test_a_source_traces_all_others_when_the_exec_of_one_does_not_end(program, stuck, wait_until):
    with started(program, "handler") as other:
        source = PtraceSource(PtraceOptions(follow=(other.pid, stuck.pid)))
        try:
            source.open()
            assert any("an exec of it does not come to its end" in notice for notice in source.notices)
            other.terminate()
            wait_until(
                lambda: [e for e in source.read(0.1).events if e.task and e.task.pid == other.pid and e.signo == 15],
                what="its signal",
            )
            assert other.stdout.readline() == b"took 15\n"
            assert stuck.poll() is None
        finally:
            source.close()


def test_one_that_is_killed_between_a_stop_and_the_wait_for_it_is_told_to_have_ended(program):
    """As if the tracer had lost the CPU between its look and its wait: here each wait first kills, and sees the end."""
    script = """
import os, signal, sys, time
from sigtrace.sources.ptrace import tracer as module
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.wire import Report, Want, split
orders, settings = os.pipe()
reports, out = os.pipe()
os.write(settings, PtraceOptions().settings())
tracer = module.Tracer(orders, out)
child = int(sys.argv[1])
for name in ("waitpid", "waitid"):
    def killed_before(*arguments, real=getattr(os, name)):
        os.kill(child, signal.SIGKILL)
        with open(f"/proc/{child}/stat") as stat:
            while " Z " not in stat.read():
                stat.seek(0)
        return real(*arguments)
    setattr(os, name, killed_before)
tracer._tracees.seize(child, int(Want.MAIN))
os.kill(child, signal.SIGSTOP)
deadline = time.monotonic() + 10
told = []
while not told and time.monotonic() < deadline:
    tracer._take(os.WNOHANG)
    tracer._reports.flush()
    told = [one for one in split(os.read(reports, 1 << 16))[0] if one.kind == Report.EXIT] if tracer else []
    if not told:
        tracer._reports.say(Report.FULL, 0)  # so that the next read does not wait
print([one.value for one in told])
"""
    with started(program, "handler") as process:
        done = subprocess.run(
            [sys.executable, "-c", script, str(process.pid)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == "[9]\n", done.stderr
