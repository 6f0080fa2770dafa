"""The signals of a daemon: taken one after the other by its main thread, so that none interrupts anything."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Final, Self

#: Asks to end.
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """``with Signals() as signals: signals.next(0.5)``. To be entered before there are other threads."""

    def __init__(self) -> None:
        # A shell starts what it puts into the background deaf to Ctrl-C, which is for another.
        ending = {signo for signo in _ENDING if signal.getsignal(signo) is not signal.SIG_IGN}
        self._taken = frozenset({signal.SIGHUP, signal.SIGCHLD} | ending)

    def __enter__(self) -> Self:
        signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        return self

    def next(self, timeout_s: float) -> int:
        """SIGTERM or SIGINT: end. SIGHUP: reload. 0: none came in that time (s). Orphans are reaped meanwhile."""
        got = signal.sigtimedwait(self._taken, timeout_s)
        # Stopped and continued after its time was over (EINTR), CPython 3.11 gives back a siginfo that nobody filled.
        if got is None or got.si_signo not in self._taken:
            return 0
        if got.si_signo == signal.SIGCHLD:
            reap()
            return 0
        return got.si_signo

    def end_at_once(self) -> None:
        """From here on SIGTERM and SIGINT end the process, whatever it waits for."""
        for signo in _ENDING:
            signal.signal(signo, _at_once)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing to reload any more
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._taken)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._taken)


def wake_main() -> None:
    """Ends the ``next`` that waits in the main thread. For any thread."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGCHLD)


def open_streams() -> None:
    """Who starts us may have closed them; then Python has none, and a file of ours would get their numbers."""
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- until we end


def reap() -> None:
    """As PID 1 of a container it gets the orphans of others. It has no children of its own."""
    with contextlib.suppress(ChildProcessError):
        while os.getpid() == 1 and os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _at_once(signo: int, _frame: FrameType | None) -> None:
    os._exit(128 + signo)
