"""Storms of every kind that a container can make (storm.c), and a sink that keeps the books of what was told."""

import contextlib
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from sigtrace.lab.container import Container
from sigtrace.model.event import Kind

#: What a container storms with, see storm.c; bombs and hoard apart.
KINDS = ("counted", "told", "forks", "crashes", "inits", "execs", "cgroups", "boxes", "wander", "ghosts", "all")
#: What workers are told to do, as in storm.c.
LEAVE, HOLD = 1, 2
_PATIENCE_S = 60.0
_HEADER = struct.Struct("<QQ")
_WORKERS = 128
#: What comes out of the kernel's rings; the rest is made in user space (REAP, too, unless all is told).
RECORDS = {
    Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.EXIT, Kind.EXEC, Kind.OOM_KILL, Kind.CGROUP_MKDIR
}  # fmt: skip


def build(folder):
    """storm.c, compiled in ``folder``."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    program = Path(folder, "storm")
    source = Path(__file__).with_name("storm.c")
    subprocess.run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return program


class Books:
    """A sink that counts what comes: records by kind, and what is told to be lost."""

    def __init__(self):
        self.told = Counter()
        self.lost = Counter()
        self.by_cgroup = Counter()
        self.findings = Counter()

    def observation(self, observation):
        event = observation.event
        if event.kind is Kind.LOST:
            self.lost[event.loss] += event.count
            return
        self.told[event.kind] += 1
        if event.task:
            self.by_cgroup[event.task.cgroup_id, event.kind, event.signo] += 1

    def verdict(self, verdict):
        self.findings[getattr(verdict, "code", "shutdown")] += 1

    def pass_time(self, now_ns): ...
    def close(self): ...

    def take_dropped(self):
        return 0

    @property
    def records(self):
        return sum(n for kind, n in self.told.items() if kind in RECORDS)


def shutdowns_at(receiver):
    """How many stories of each container a collector (tests.receivers.servers) has."""
    return Counter(
        resource.get("container.name") or resource.get("k8s.container.name")
        for resource, span in list(receiver.checker.traces)
        if span.name == "container.shutdown"
    )


class Storm:
    """``with Storm(program, "told") as storm: …`` a container whose workers storm from every CPU."""

    def __init__(self, program, kind, name=""):
        self.box = Container(name or f"storm-{kind}-{os.getpid()}-{os.urandom(2).hex()}")
        self._program, self._kind = program, kind
        self._fd, self._path = tempfile.mkstemp(prefix="storm-")
        os.ftruncate(self._fd, _HEADER.size + 8 * _WORKERS)
        self._shared = mmap.mmap(self._fd, 0)

    def __enter__(self):
        try:
            # Its own cgroup, where containers live; what Container calls it is known before it is there.
            from sigtrace.lab.cgroup import LabCgroup
            from sigtrace.lab.container import cgroup_name

            home = LabCgroup(cgroup_name(self.box.name, own_namespace=True)).path
            self.box.start([str(self._program), self._kind, self._path, str(home)])
            self.box.wait_ready(b"storm: ready", asleep=False, timeout_s=_PATIENCE_S)
            self._ask_for_no_cpu()
            self._until(lambda: min(self.done[: self.running] or [0]) > 0, "each worker to be at work")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _ask_for_no_cpu(self):
        """It has every CPU, but while somebody else wants one, as a pod without a CPU request beside an agent with one.

        Two dozen workers that never sleep, and the kernel's own threads that clean up after them, leave the rest of a
        machine that does something else besides one percent of a CPU: no verdict comes within the minute. A session's
        share is its autogroup's (sched(7)); nice(1) would only divide it anew among the workers.
        """
        with contextlib.suppress(OSError):  # a kernel without
            Path(f"/proc/{self.box.init_pid}/autogroup").write_text("10", encoding="ascii")

    def __exit__(self, *_):
        with contextlib.ExitStack() as steps:
            steps.callback(self._forget)
            steps.callback(self.box.close)
            steps.callback(self._remove_below)
            steps.callback(self.end)

    @property
    def running(self):
        return _HEADER.unpack_from(self._shared)[1]

    @property
    def done(self):
        """What each worker has done."""
        return list(struct.unpack_from(f"<{_WORKERS}Q", self._shared, _HEADER.size))

    @property
    def total(self):
        return sum(self.done)

    def calm(self, end=LEAVE):
        """Let the workers leave, or hold them: from then on ``done`` is exact."""
        struct.pack_into("<Q", self._shared, 0, end)
        self._until(lambda: not self.running, "the workers to leave")

    def end(self):
        """Whatever it is about."""
        if self.box.init_pid and not self.box.has_exited():
            self.box.kill(9)
            self.box.wait()

    def _remove_below(self):
        if not self.box.cgroup_path:
            return
        deadline = time.monotonic() + _PATIENCE_S
        for below in Path(self.box.cgroup_path).glob("s*/"):
            while below.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):  # its last process is on its way out
                    below.rmdir()

    def _forget(self):
        self._shared.close()
        os.close(self._fd)
        os.unlink(self._path)

    def _until(self, condition, what):
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if self.box.has_exited() or time.monotonic() > deadline:
                raise AssertionError(f"waited for {what}: {self.box.output!r}, {self.done[:20]}")
            time.sleep(0.005)
