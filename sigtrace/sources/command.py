"""A command that waits until it is traced: forked now, executed when released (`sigtrace trace -- CMD`)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence

from sigtrace.errors import RunError
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.sources.ptrace._ptrace import allow_tracer


class Command:
    """A child of ours before, during and after its run. Make it before any thread exists."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Forks. ``argv[0]`` is looked up in PATH."""
        self._argv = list(argv)
        go_read, self._go = os.pipe()
        self._failure, failure_write = os.pipe()
        self.pid = os.fork()
        self.status: WaitStatus | None = None
        if self.pid == 0:
            os.close(self._go)
            self._become(go_read, failure_write)
        os.close(go_read)
        os.close(failure_write)

    def _become(self, go: int, failure: int) -> None:
        """In the child; never returns."""
        try:
            if os.read(go, 1):
                # Where yama lets trace one's descendants alone: the tracer of the backend ptrace is our brother.
                with contextlib.suppress(OSError):
                    allow_tracer(os.getppid())
                # As subprocess does: a program expects these at their defaults, and Python ignores them.
                for signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(signo, signal.SIG_DFL)
                os.execvp(self._argv[0], self._argv)  # noqa: S606  # the user's own command
        except OSError as e:
            os.write(failure, str(e.errno).encode())
        finally:
            os._exit(127)

    def release(self) -> None:
        """Let it execute. Raises RunError if the program cannot be executed."""
        with contextlib.suppress(BrokenPipeError):  # somebody has killed it: poll() will tell
            os.write(self._go, b"!")
        os.close(self._go)
        self._go = -1
        number = os.read(self._failure, 16)  # ends with the exec: the pipe is close-on-exec
        os.close(self._failure)
        if number:
            os.waitpid(self.pid, 0)
            self.status = WaitStatus(127 << 8)
            raise RunError(f"cannot execute {self._argv[0]!r}: {os.strerror(int(number))}", next_step="check the path")

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = WaitStatus(status)
        return self.status is not None

    def signal(self, signo: int) -> None:
        """Pass a signal on, if it still runs."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signo)

    def abandon(self) -> None:
        """It was never released: end it."""
        if self._go >= 0:
            os.close(self._go)
            os.close(self._failure)
            self._go = -1
            os.waitpid(self.pid, 0)
