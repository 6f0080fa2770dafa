"""A container without a runtime: PID, mount and UTS namespaces of its own, and a cgroup."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Self

from sigtrace.errors import HostError, RunError
from sigtrace.lab import stages
from sigtrace.lab.cgroup import LabCgroup
from sigtrace.lab.entered import Exec
from sigtrace.lab.process import (
    PATH,
    PATIENCE_S,
    Child,
    argv_of,
    is_asleep,
    now_ns,
    pipe,
    poll_pause,
    read_available,
    readable,
    zombie_status,
)
from sigtrace.lab.record import Sent, Stop
from sigtrace.model.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sigtrace.model.waitstatus import WaitStatus


class Container:
    """One container. ``with Container("web") as web: web.start(["sleep", "infinity"])``; leaving the block ends it.

    Raises HostError where the host can't make one (no root, no dash, cgroups not writable), RunError for what went
    wrong while it ran.
    """

    def __init__(self, name: str, *, workdir: Path | str = "/", env: Mapping[str, str] | None = None) -> None:
        """``name``: also its host name; ``workdir``: where programs start and what they find first on PATH."""
        self.name = name
        self.workdir = str(workdir)
        self.env = {"PATH": f"{workdir}:{PATH}" if self.workdir != "/" else PATH, **(env or {})}
        self.cgroup: LabCgroup | None = None
        #: PID 1 as the host numbers it; 0 before ``start``.
        self.init_pid = 0
        #: What its programs have written, as far as the lab has read it. A writer of more than 64 KiB blocks.
        self.output = b""
        self._cgroup_id = 0
        self._shim: Child | None = None
        self._init_fd = self._control = self._output_fd = -1
        self._status: WaitStatus | None = None
        self._exited_ns = 0
        self._execs: list[Exec] = []

    @property
    def cgroup_id(self) -> int:
        """The kernfs id of its cgroup; it stays known when the cgroup is gone."""
        return self._cgroup_id

    @property
    def cgroup_path(self) -> str:
        """Where its cgroup is, or was; empty before ``start``."""
        return str(self.cgroup.path) if self.cgroup else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, argv: Sequence[str]) -> None:
        """Run ``argv`` as PID 1; it may not have been executed yet when this returns (``wait_ready``)."""
        if os.geteuid() != 0:
            raise HostError("the lab makes containers, which needs root", next_step="run it with sudo")
        if self._shim:
            raise RunError(f"container {self.name} was started before", next_step="make another Container")
        try:
            self._start(argv)
        except BaseException:
            self.close()
            raise

    def _start(self, argv: Sequence[str]) -> None:
        self.cgroup = LabCgroup(self.name)
        command = stages.shim(self.name, str(self.cgroup.path), self.workdir, argv)
        self.cgroup.create()
        self._cgroup_id = self.cgroup.id
        orders, self._control = pipe()
        report, told = pipe()
        self._output_fd, output = pipe()
        try:
            self._shim = Child(command, self.env, orders, told, output)
        finally:
            for end in (orders, told, output):
                os.close(end)
        try:
            # Of a zombie too, which it may already be: the shim leaves it alone until it hears from us.
            self.init_pid = self._told_pid(report)
            self._init_fd = os.pidfd_open(self.init_pid)
        finally:
            os.close(report)

    def _told_pid(self, report: int) -> int:
        if not readable(PATIENCE_S, report):
            raise RunError(f"waited {PATIENCE_S:g} s for container {self.name} to get its PID 1")
        if number := os.read(report, 64).strip():
            return int(number)
        raise HostError(f"cannot make a PID namespace: {self._said()}", next_step="the lab needs CAP_SYS_ADMIN")

    def wait_ready(self, output: bytes = b"", *, asleep: bool = True, timeout_s: float = PATIENCE_S) -> None:
        """Wait until PID 1 is the program, ``output`` was written and, if ``asleep``, PID 1 waits for work.

        A shell that has said that it is ready may still be on its way into read(2), where a signal would be noticed
        only by the next line: asleep, it is there. Raises RunError if PID 1 exits before or time is up.
        """
        deadline = time.monotonic() + timeout_s
        while missing := self._not_ready(output, asleep=asleep):
            left = deadline - time.monotonic()
            if left <= 0:
                raise RunError(f"waited {timeout_s:g} s for {missing} in container {self.name}: {self._said()}")
            if self._await_exit(0):
                raise self._early_exit()
            if output and output not in self.output:
                readable(left, self._output_fd, self._init_fd)
            poll_pause()

    def _not_ready(self, output: bytes, *, asleep: bool) -> str:
        self._read_output()
        argv = argv_of(self.init_pid)
        if not argv or stages.STAGE in argv:
            return "PID 1 to execute its program"
        if output not in self.output:
            return f"the output {os.fsdecode(output)!r}"
        return "PID 1 to wait for work" if asleep and not is_asleep(self.init_pid) else ""

    def _early_exit(self) -> Exception:
        said = self._said()
        if said.startswith(("env: ", "unshare: ")):
            return HostError(
                f"cannot make a container: {said}",
                next_step="the lab needs CAP_SYS_ADMIN, util-linux and GNU coreutils 8.31 or newer",
            )
        return RunError(f"PID 1 of container {self.name} ended before it was ready ({self._status}): {said}")

    def kill(self, signo: int) -> Sent:
        """Send PID 1 a signal from outside. Raises RunError if it has been reaped."""
        if self._init_fd < 0 or self._status is not None:
            raise RunError(f"container {self.name} is not running", next_step="start it first")
        sent = Sent(signo, now_ns())
        signal.pidfd_send_signal(self._init_fd, signo)
        return sent

    def exec(self, argv: Sequence[str]) -> Exec:
        """Start a program inside, as ``kubectl exec`` does: its parent is outside the namespace and the cgroup."""
        if not self.cgroup or not self.init_pid:
            raise RunError(f"container {self.name} is not running", next_step="start it first")
        command = stages.entry(self.init_pid, str(self.cgroup.path), self.workdir, argv)
        self._execs.append(Exec(command, self.env))
        return self._execs[-1]

    def kill_from_inside(self, command: str = "kill -9 1") -> int:
        """Let a shell inside do ``command``; returns its exit code. kill(2) gives 0 even where nothing comes of it."""
        return self.exec(["sh", "-c", command]).wait()

    def stop(self, grace_s: float, signo: int = signal.SIGTERM) -> Stop:
        """Stop it as a runtime does: ``signo`` to PID 1, and SIGKILL if it is there still after ``grace_s`` seconds."""
        sent = []
        if not self._await_exit(0):
            sent.append(self.kill(signo))
            if signo != signal.SIGKILL and not self._await_exit(grace_s):
                sent.append(self.kill(signal.SIGKILL))
        return Stop(tuple(sent), wait_status=self.wait(), exited_ns=self._exited_ns)

    def has_exited(self) -> bool:
        """Whether PID 1 has ended."""
        return self._await_exit(0)

    def wait(self, timeout_s: float = PATIENCE_S) -> WaitStatus:
        """PID 1's wait status; of the container only the cgroup is left then. Raises RunError after ``timeout_s``."""
        if not self._await_exit(timeout_s) or self._status is None:
            raise RunError(
                f"waited {timeout_s:g} s for the end of PID 1 (pid {self.init_pid}) of container {self.name}"
            )
        return self._status

    def _await_exit(self, timeout_s: float) -> bool:
        if self._status is None:
            if self._init_fd < 0:
                raise RunError(f"container {self.name} is not running", next_step="start it first")
            if not readable(timeout_s, self._init_fd):
                return False
            # The kernel ends a namespace's processes, and waits for them, before its init becomes a zombie.
            self._exited_ns = now_ns()
            self._status = zombie_status(self.init_pid)
            self._dismiss_shim()
        return True

    def _dismiss_shim(self) -> None:
        """Let the shim reap PID 1 and go; without PID 1's status, let it also kill and clean up."""
        if self._control >= 0:
            if self._status is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._control, b"bye\n")
            os.close(self._control)
            self._control = -1
        if self._shim:
            self._shim.wait(PATIENCE_S, f"the shim of container {self.name}")

    def _read_output(self) -> None:
        if self._output_fd >= 0:
            self.output += read_available(self._output_fd)

    def _said(self) -> str:
        self._read_output()
        return printable(self.output.strip() or b"no output")

    def close(self) -> None:
        """End whatever is there still and remove it all; safe to call twice."""
        with contextlib.ExitStack() as steps:  # run from the last to the first, each even if another failed
            steps.callback(self._close_descriptors)
            if self.cgroup:
                steps.callback(self.cgroup.remove)
            for entered in self._execs:
                steps.callback(entered.close)
            steps.callback(self._dismiss_shim)
            if self._init_fd >= 0 and self._status is None:
                steps.callback(self.stop, 0, signal.SIGKILL)

    def _close_descriptors(self) -> None:
        self._read_output()
        for fd in (self._init_fd, self._output_fd, self._control):
            if fd >= 0:
                os.close(fd)
        self._init_fd = self._output_fd = self._control = -1
