"""Starting processes and waiting for them: by pidfd, bounded, with nothing of ours handed down."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sigtrace.errors import HostError, RunError
from sigtrace.model.waitstatus import WaitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What every container finds its programs on, whatever our own PATH is.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: How long anything may take that has no grace of its own, seconds. A loaded machine is slow, a hang is for ever.
PATIENCE_S = 60.0

_POLL_S = 0.0002
_OUTPUT_BYTES = 1 << 16

_PACKAGES = {"unshare": "util-linux", "nsenter": "util-linux", "env": "coreutils", "rmdir": "coreutils"}


def now_ns() -> int:
    """CLOCK_BOOTTIME ns, as the kernel's events have it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@functools.cache
def tool(name: str) -> str:
    """Path of a program the lab is made of. Raises HostError if it is missing."""
    if path := shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}"):
        return path
    package = _PACKAGES.get(name, name)
    raise HostError(f"the lab needs {name}, which is not installed", next_step=f"install the package {package}")


def pipe() -> tuple[int, int]:
    """Read end, write end; above 2 even if our stdin or stdout is closed, where somebody's print would reach them."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def read_available(fd: int) -> bytes:
    """What a pipe holds now, 64 KiB at most; empty at its end too."""
    if not readable(0, fd):
        return b""
    return os.read(fd, _OUTPUT_BYTES)


def readable(timeout_s: float, *fds: int) -> list[int]:
    """Those of ``fds`` that have data or are at their end, within ``timeout_s`` seconds; pidfds: that have exited."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return [fd for fd, _ in poller.poll(max(0.0, timeout_s) * 1000)]


class Child:
    """A process of ours, and nothing else handed down to it: no descriptor, no blocked and no ignored signal.

    Otherwise nohup, a shell's ``&`` or a program that blocks signals in its threads would decide how a container meets
    a signal. (Not posix_spawn: glibc's leaves the signals 32 and 33 ignored.)
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], stdin: int, stdout: int, stderr: int) -> None:
        """Start ``argv`` in a session of its own, with these three descriptors."""
        command = [tool("env"), "--default-signal", *argv]
        blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            self._popen = subprocess.Popen(
                command, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True, cwd="/"
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        #: As the lab's PID namespace numbers it.
        self.pid = self._popen.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._pidfd = -1  # it has ended, and whoever started us ignores SIGCHLD: the kernel has reaped it

    def wait(self, timeout_s: float, what: str) -> int:
        """Its exit code, or 128 + the signal that ended it. Raises RunError, saying ``what`` was awaited."""
        if self._pidfd >= 0:
            if not readable(timeout_s, self._pidfd):
                raise RunError(f"waited {timeout_s:g} s for {what} (pid {self.pid})")
            os.close(self._pidfd)
            self._pidfd = -1
        code = self._popen.wait()
        return 128 - code if code < 0 else code

    def kill(self) -> None:
        """End it at once, if it lives still."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


def poll_pause() -> None:
    """Wait a little where the kernel gives nothing to wait on."""
    time.sleep(_POLL_S)


def until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` holds. Raises RunError, saying ``what`` was awaited, after ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise RunError(f"waited {timeout_s:g} s for {what}")
        poll_pause()


def argv_of(pid: int) -> tuple[str, ...]:
    """Its argument list; empty for a zombie, in the middle of an exec and when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def descendants_of(pid: int) -> dict[int, str]:
    """Its children, their children and so on: pid → state of proc_pid_stat(5); Z: a zombie."""
    children: dict[int, list[int]] = {}
    states: dict[int, str] = {}
    for entry in filter(str.isdecimal, os.listdir("/proc")):  # /proc/PID/task/PID/children is not in every kernel
        if fields := _stat(int(entry)):
            states[int(entry)] = fields[0]
            children.setdefault(int(fields[1]), []).append(int(entry))
    below = list(children.get(pid, ()))
    for child in below:
        below += children.get(child, ())
    return {child: states[child] for child in below}


def state_of(pid: int) -> str:
    """The letter of proc_pid_stat(5): S, T, t, Z ...; empty if it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def is_asleep(pid: int) -> bool:
    """Whether it waits for something (state S); not where it waits for a disk, nor preempted."""
    return state_of(pid) == "S"


class ReapedError(RunError):
    """The shim has reaped PID 1 before the lab could read its status.

    dash waits for whoever has ended once a command of its own is through: where PID 1 ends while the shim, on a loaded
    machine, is not back from telling its pid. Seen once in 1,600 programs that end at once.
    """


def zombie_status(pid: int) -> WaitStatus:
    """The wait status of a process that nobody has reaped, the core flag included: field 52 of proc_pid_stat(5)."""
    fields = _stat(pid)
    if not fields or fields[0] != "Z":
        error = RunError if fields else ReapedError
        raise error(f"pid {pid} is no zombie: state {fields[0] if fields else 'gone'}")
    return WaitStatus(int(fields[49]))


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
