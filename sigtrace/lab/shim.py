"""The lab's hold on a container: its shim, its PID 1, and what its programs write."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from sigtrace.errors import HostError, RunError
from sigtrace.lab.process import PATIENCE_S, Child, ReapedError, now_ns, pipe, read_available, readable, zombie_status
from sigtrace.model.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sigtrace.model.waitstatus import WaitStatus


class Shim:
    """The process between the lab and PID 1 (see stages): it cleans up if the lab dies."""

    def __init__(self, name: str) -> None:
        """``name``: the container's, for errors."""
        self.name = name
        #: PID 1, or the main process that is none, as the lab's PID namespace numbers it; 0 before ``start``.
        self.init_pid = 0
        #: Of PID 1, once ``await_exit`` has seen its end.
        self.status: WaitStatus | None = None
        #: CLOCK_BOOTTIME ns of that.
        self.exited_ns = 0
        self._output = b""
        self._child: Child | None = None
        self._init_fd = self._control = self._output_fd = -1

    @property
    def running(self) -> bool:
        """Whether there is a PID 1 that nobody has reaped."""
        return self._init_fd >= 0 and self.status is None

    def start(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it with the command that stages made. Raises HostError if the namespaces are refused."""
        orders, self._control = pipe()
        report, told = pipe()
        self._output_fd, output = pipe()
        try:
            self._child = Child(command, env, orders, told, output)
        finally:
            for end in (orders, told, output):
                os.close(end)
        try:
            # Of a zombie too, which it may already be: the shim leaves it alone until it hears from us (almost always).
            self.init_pid = self._told_pid(report)
            self._init_fd = os.pidfd_open(self.init_pid)
        except ProcessLookupError as error:
            raise ReapedError(f"pid {self.init_pid} of container {self.name} is gone") from error
        finally:
            os.close(report)

    def _told_pid(self, report: int) -> int:
        if not readable(PATIENCE_S, report):
            raise RunError(f"waited {PATIENCE_S:g} s for container {self.name} to get its PID 1")
        if number := os.read(report, 64).strip():
            return int(number)
        raise HostError(f"cannot make a PID namespace: {self.said()}", next_step="the lab needs CAP_SYS_ADMIN")

    @property
    def output(self) -> bytes:
        """What the container's programs have written up to now."""
        if self._output_fd >= 0:
            self._output += read_available(self._output_fd)
        return self._output

    def said(self) -> str:
        """The output, fit for an error message."""
        return printable(self.output.strip() or b"no output")

    def await_news(self, timeout_s: float) -> None:
        """Wait for output or for the end of PID 1."""
        readable(timeout_s, self._output_fd, self._init_fd)

    def await_exit(self, timeout_s: float) -> bool:
        """Whether PID 1 ends within ``timeout_s`` seconds; the shim reaps it and goes. Raises RunError before start."""
        if self.status is None:
            self._require_start()
            if not readable(timeout_s, self._init_fd):
                return False
            # The kernel ends a namespace's processes, and waits for them, before its init becomes a zombie.
            self.exited_ns = now_ns()
            self.status = zombie_status(self.init_pid)
            self.dismiss()
        return True

    def send(self, signo: int) -> None:
        """Send PID 1 a signal. Raises RunError if it has been reaped."""
        if not self.running:
            raise RunError(f"container {self.name} is not running", next_step="start it first")
        signal.pidfd_send_signal(self._init_fd, signo)

    def _require_start(self) -> None:
        if self._init_fd < 0:
            raise RunError(f"container {self.name} is not running", next_step="start it first")

    def dismiss(self) -> None:
        """Let it reap PID 1 and go; without PID 1's status, let it also kill and clean up."""
        if self._control >= 0:
            if self.status is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._control, b"bye\n")
            os.close(self._control)
            self._control = -1
        if self._child:
            self._child.wait(PATIENCE_S, f"the shim of container {self.name}")

    def close(self) -> None:
        """Read the last of the output and let go of everything; safe to call twice."""
        with contextlib.suppress(OSError):
            _ = self.output
        for fd in (self._init_fd, self._output_fd, self._control):
            if fd >= 0:
                os.close(fd)
        self._init_fd = self._output_fd = self._control = -1
