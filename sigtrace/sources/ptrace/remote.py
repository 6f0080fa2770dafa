"""The tracer as the source sees it: a child process that takes orders and reports."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from sigtrace.errors import RunError
from sigtrace.model.text import printable
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.wire import ORDER, Order, Told, Want, split

#: Nothing of the environment or of the working folder decides what the tracer imports.
_BOOT: Final = "import sys; sys.path.append(sys.argv[1]); from sigtrace.sources.ptrace.tracer import main; main()"
_ROOT: Final = Path(__file__).resolve().parents[3]
_PIPE_BYTES: Final = 1 << 20
_PATIENCE_S: Final = 1.0


class RemoteTracer:
    """Starts it; ``close``, or the end of this process however it comes, ends it and lets all tracees go on."""

    def __init__(self, options: PtraceOptions) -> None:
        """Raises RunError if it cannot be started."""
        orders, self._orders = os.pipe()
        self.fd, reports = os.pipe()
        try:
            with contextlib.suppress(OSError):  # more than pipe-user-pages allows
                fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, str(_ROOT)],
                stdin=orders,
                stdout=reports,
                stderr=subprocess.PIPE,
                cwd="/",
                env={},
                start_new_session=True,  # a terminal's Ctrl-C is for us
            )
        except OSError as e:
            os.close(self._orders)
            os.close(self.fd)
            raise RunError(f"cannot start the tracer, {sys.executable}: {e.strerror}") from e
        finally:
            os.close(orders)
            os.close(reports)
        os.set_blocking(self.fd, False)
        self._rest = b""
        os.write(self._orders, options.settings())

    @property
    def pid(self) -> int:
        """The tracer's."""
        return self._process.pid

    def seize(self, pid: int, want: Want) -> None:
        """Trace this process; a SEIZED report answers."""
        self._order(Order.SEIZE, want, pid)

    def forget(self, pid: int) -> None:
        """Let it go, without stopping it for that."""
        self._order(Order.FORGET, 0, pid)

    def _order(self, order: Order, want: int, pid: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is seen by who reads
            os.write(self._orders, ORDER.pack(order, want, pid))

    def read(self) -> list[Told] | None:
        """What it has reported; None: it has ended."""
        told: list[Told] = []
        while True:
            try:
                raw = os.read(self.fd, _PIPE_BYTES)
            except BlockingIOError:
                return told
            if not raw:
                return told or None
            news, self._rest = split(self._rest + raw)
            told += news

    def last_words(self) -> str:
        """Why it ended, if that was a mistake of its own; empty if somebody has killed it."""
        if self._process.stderr is None:
            return ""
        os.set_blocking(self._process.stderr.fileno(), False)
        lines = (self._process.stderr.read() or b"").decode(errors="replace").split("\n")
        return next((printable(line) for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """Let all tracees go on. Harmless twice."""
        if self._orders < 0:
            return
        os.close(self._orders)
        self._orders = -1
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # no harm for tracees either
            self._process.wait()
        os.close(self.fd)
        if self._process.stderr:
            self._process.stderr.close()
