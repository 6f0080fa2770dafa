"""A terminal that was closed, or changed its size, and no signal said so.

SIGHUP is not for whoever was started with nohup; SIGWINCH is lost while textual comes back from a suspension.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.driver import Driver


def is_cut_off() -> bool:
    """Whether nobody has the other side of the terminal open any more."""
    terminal = select.poll()
    try:
        terminal.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)
    except (OSError, ValueError):
        return True
    return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in terminal.poll(0))


def notice_size(columns: int, lines: int) -> None:
    """Sends SIGWINCH to ourselves, for textual, if the terminal has another size than this."""
    try:
        now = os.get_terminal_size(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    except (OSError, ValueError):
        return
    if now.columns and now.lines and (now.columns, now.lines) != (columns, lines):
        signal.raise_signal(signal.SIGWINCH)


def silence(driver: Driver | None) -> None:
    """Nothing more is written: textual's writing thread has died of EIO, and its bounded queue is never emptied."""
    if driver is not None:
        driver.write = lambda _data: None  # type: ignore[method-assign, assignment]
        driver._writer_thread = None  # type: ignore[attr-defined]  # noqa: SLF001 - or close would wait for it
