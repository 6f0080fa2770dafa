"""All fuzz targets: a name, and a function that takes any bytes. What it raises is a bug in sigtrace."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz import given, host, runtimes, service

Target = Callable[[bytes], None]
#: Seconds of CPU time that one input may take.
LIMIT_S: Final = 10.0

TARGETS: Final[dict[str, Target]] = host.TARGETS | runtimes.TARGETS | service.TARGETS | given.TARGETS
CORPUS: Final = Path(__file__).parent / "corpus"


class TooLongError(AssertionError):
    """It takes too long."""


def run(name: str, data: bytes) -> None:
    """One input; raises what the target raises, TooLongError too. For a main thread."""
    before = signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)  # not of the wall clock: the machine may be busy
    try:
        TARGETS[name](data)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _too_long(*_: object) -> None:
    raise TooLongError(f"more than {LIMIT_S:g} s")


def corpus(name: str) -> list[bytes]:
    """The inputs that are kept for a target: samples, what reached new code, and what once was a bug."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] if (CORPUS / name).is_dir() else []
