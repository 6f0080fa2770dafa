"""Processes that tests send signals to: a container's PID 1, or an ordinary process."""

import contextlib
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

from sigtrace.lab.container import Container
from sigtrace.lab.process import is_asleep, now_ns, read_available

MARK = signal.SIGRTMIN
GO = signal.SIGRTMIN + 1
READY = b"ready\n"

_numbers = itertools.count(1)


class Target:
    """One running `target MODE`; see target.c."""

    def __init__(self, watch, program, argv) -> None:
        self.watch = watch
        self.argv = [str(program), *argv]
        self.key = (0, 0)

    @property
    def pid(self):
        return self.key[0]

    def kill(self, signo):
        os.kill(self.pid, signo)

    def go(self):
        """Let the mode do its second half."""
        self.kill(GO)

    def mark(self):
        """A signal that is delivered after all that were sent before it; returns its delivery, which proves life."""
        before = len(self.watch.delivered(self.key, MARK))
        self.kill(MARK)
        return self.watch.until(lambda: self.watch.delivered(self.key, MARK)[before:], "the mark")[0]

    def state(self):
        """The letter in /proc."""
        return Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()

    def await_state(self, letter):
        self.watch.until(lambda: self.state() == letter, f"state {letter} of {self.pid}")

    def await_output(self, text):
        self.watch.until(lambda: text in self.output(), f"{text!r} in the output")

    def wait(self):
        """Its raw wait status, awaited; the events up to its exit are there then."""
        raw = self._wait()
        self.watch.drain()
        return raw

    def exit(self):
        """Its exit event, awaited."""
        return self.watch.first(self.key, "exit")

    def child(self):
        """The pid of its only child, awaited."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return int(self.watch.until(lambda: path.read_text().split(), "a child")[0])


class Init(Target):
    """As PID 1 of a lab container."""

    def __init__(self, watch, program, argv) -> None:
        super().__init__(watch, program, argv)
        self.box = Container(f"kernel-{os.getpid()}-{next(_numbers)}")

    def start(self):
        before = now_ns()
        self.box.start(self.argv)
        self.box.wait_ready(READY)
        self.key = self.watch.executed(self.box.init_pid, self.argv, before)

    def output(self):
        self.box._read_output()
        return self.box.output

    def _wait(self):
        return self.box.wait().raw

    def close(self):
        self.box.close()


class Ordinary(Target):
    """As a child of the test, in the test's namespaces and cgroup."""

    def start(self):
        before = now_ns()
        self._said = b""
        self._popen = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.key = self.watch.executed(self._popen.pid, self.argv, before)
        self.await_output(READY)
        self.watch.until(lambda: is_asleep(self.pid), "it to sleep")

    def output(self):
        self._said += read_available(self._popen.stdout.fileno())
        return self._said

    def _wait(self):
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        raw = int(Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[49])
        self._popen.wait()
        return raw

    def close(self):
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        self._popen.stdout.close()


KINDS = {"init": Init, "ordinary": Ordinary}


@contextlib.contextmanager
def running(watch, kind, program, *argv):
    """``kind``: init or ordinary; ready once it has said so and sleeps; gone at the end, whatever happens."""
    target = KINDS[kind](watch, program, argv)
    try:
        target.start()
        yield target
    finally:
        target.close()


class Cgroup:
    """A cgroup of one's own in a given hierarchy; gone at the end, its processes moved out."""

    def __init__(self, mount) -> None:
        self.mount = Path(mount)
        self.path = self.mount / f"sigtrace-test-{os.getpid()}-{next(_numbers)}"

    def __enter__(self):
        self.path.mkdir()
        return self

    def add(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))

    def read(self, name):
        return (self.path / name).read_text()

    def write(self, name, text):
        (self.path / name).write_text(text)

    def __exit__(self, *_):
        deadline = time.monotonic() + 10
        while True:
            for pid in self.read("cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    (self.mount / "cgroup.procs").write_text(pid)
            try:
                return self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)


def hierarchy(controller):
    """Where a v1 controller, or v2 (``cgroup2``), is mounted; None if it is not."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" == controller or (kind == "cgroup" and controller in options.split(" ")[-1].split(",")):
            return left.split()[4]
    return None
