"""What `watch` and `trace` do: here the kernel is put to work, in watching.py and tracing.py is what it works for.

Those import most of sigtrace, which takes about as long as the kernel needs to verify the programs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from sigtrace.attribution.runtimes.sockets import find
from sigtrace.errors import EXIT_OK, RunError
from sigtrace.model.causes import Severity
from sigtrace.model.event import Kind
from sigtrace.model.filter import WorkloadFilter
from sigtrace.service.listening import agent_socket
from sigtrace.sources import ahead
from sigtrace.sources.options import BpfOptions

if TYPE_CHECKING:
    from sigtrace.attribution.runtimes.base import SocketStatus
    from sigtrace.sinks.base import LineWriter
    from sigtrace.sources.command import Command

SHOWN: Final = frozenset(
    {Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.EXIT, Kind.REAP, Kind.EXEC, Kind.OOM_KILL, Kind.LOST}
)


class Stop:
    """Asked to end by SIGINT, SIGTERM or a reader that went away. A second signal ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self.signo = 0

    def __call__(self, signo: int, _frame: FrameType | None) -> None:
        """As a signal handler."""
        if self.asked:
            signal.signal(signo, signal.SIG_DFL)
            os.kill(os.getpid(), signo)
        self.asked, self.signo = True, signo

    def ask(self) -> None:
        """Without a signal."""
        self.asked = True


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM ask for the end while this is open."""
    stop = Stop()
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wanted = [signo for signo in asking if signo != signal.SIGHUP or signal.getsignal(signo) is not signal.SIG_IGN]
    old = {signo: signal.signal(signo, stop) for signo in wanted}  # nohup keeps what it asked for
    try:
        yield stop
    finally:
        for signo, handler in old.items():
            signal.signal(signo, handler)


def ask_runtimes() -> list[SocketStatus]:
    """Each runtime's socket that is there, tried now."""
    from sigtrace.attribution.runtimes.sockets import probe

    return [probe(socket) for socket in find()]


def nameless(chosen: WorkloadFilter, sockets: Sequence[str]) -> str:
    """Why a choice by name may match nothing here, and what to do; empty if there is a runtime to ask, or no need."""
    if not chosen.by_name or sockets or find():
        return ""
    return (
        f"no runtime's socket was found, so names of pods and containers are unknown and {chosen.words} may match "
        "nothing: give --runtime-socket, or --container with the beginning of an id"
    )


def until(stop: Stop, duration_s: float | None) -> Callable[[], bool]:
    """Asked to stop, out of time, or nobody reads what we would write (`| head`), even while there is nothing to."""
    end = time.monotonic() + duration_s if duration_s else None
    readers = select.poll()
    with contextlib.suppress(OSError, ValueError):  # stdout is no file: nobody can close it
        readers.register(sys.stdout.fileno(), 0)

    def done() -> bool:
        gone = any(events & select.POLLERR for _, events in readers.poll(0))
        return stop.asked or gone or (end is not None and time.monotonic() >= end)

    return done


def watch(
    *,
    output: str,
    backend: str,
    duration_s: float | None,
    chosen: WorkloadFilter,
    fail_on: Severity | None,
    zombie_after_s: float | None = None,
    unanswered_after_s: float | None = None,
    sockets: Sequence[str] = (),
    otlp: Mapping[str, Any] | None = None,
    local: bool = False,
    max_tracees: int = 500,
    whole: bool = False,
) -> int:
    """Verdicts as they happen. Returns the exit status.

    Of the agent on this node, if there is one; a capture of our own with ``local`` and where an option asks for what an
    agent has decided already.
    """
    agent = agent_socket()
    ours = local or backend != "auto" or zombie_after_s or unanswered_after_s or sockets or otlp
    options = BpfOptions(max_tracees=max_tracees, whole=whole)
    if zombie_after_s:
        options = dataclasses.replace(options, zombie_after_s=zombie_after_s)
    with stop_signals() as stop:
        following = not ours and _is_there(agent)
        with contextlib.nullcontext() if following else ahead.loading(backend, options):
            from sigtrace.commands import watching

            return watching.watch(
                stop,
                output=output,
                agent=agent if following else None,
                backend=backend,
                options=options,
                duration_s=duration_s,
                chosen=chosen,
                fail_on=fail_on,
                unanswered_after_s=unanswered_after_s,
                sockets=sockets,
                otlp=otlp,
            )


def _is_there(agent: str) -> bool:
    """Whether an agent listens there. Where there is no such file, nothing needs to be imported to know it."""
    if not os.path.exists(agent):
        return False
    from sigtrace.service.client import is_there

    return is_there(agent)


def trace(
    *,
    output: str,
    backend: str,
    duration_s: float | None,
    chosen: WorkloadFilter,
    signos: tuple[int, ...],
    pid: int | None,
    everything: bool,
    argv: tuple[str, ...],
    sockets: Sequence[str] = (),
    max_tracees: int = 500,
    whole: bool = False,
) -> int:
    """The events themselves; with ``argv`` those of that command's process tree. Returns the exit status."""
    mask = sum(1 << (signo - 1) for signo in set(signos)) if signos else (1 << 64) - 1
    with stop_signals() as stop:
        command = _forked(argv) if argv else None
        followed = (command.pid,) if command else (pid,) if pid else ()
        options = BpfOptions(
            signal_mask=mask,
            tell_all=everything,
            follow=followed,
            children=command is not None,
            filtered=not chosen.is_open,
            max_tracees=max_tracees,
            whole=whole,
            events_bytes=(32 if everything else 4) << 20,
        )
        try:
            with ahead.loading(backend, options):
                from sigtrace.commands import tracing

                tracing.trace(
                    stop,
                    command,
                    output=output,
                    backend=backend,
                    options=options,
                    duration_s=duration_s,
                    chosen=chosen,
                    kinds=frozenset({Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.LOST}) if signos else SHOWN,
                    sockets=sockets,
                )
        finally:
            if command:
                command.abandon()
    return command.status.code if command and command.status else EXIT_OK


def _forked(argv: Sequence[str]) -> Command:
    """Before any thread of ours exists."""
    from sigtrace.sources.command import Command

    return Command(argv)


def finish_writing(writer: LineWriter) -> None:
    """Raises RunError if the stream failed (a full disk); one that was closed is no failure."""
    from sigtrace.capture import FINISH_S, tell

    left = writer.close(FINISH_S / 2)
    if writer.failure is not None:
        raise RunError(
            f"cannot write to standard output: {writer.failure.strerror}", next_step="make room, or write elsewhere"
        )
    if left and not writer.closed:
        tell(f"{left} lines were not written: nobody read them in time")
