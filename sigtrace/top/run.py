"""What `top` does: it finds where the data are, and shows them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Protocol

from sigtrace.errors import EXIT_OK, HostError, UsageError
from sigtrace.model.filter import WorkloadFilter
from sigtrace.sinks.style import Style
from sigtrace.tui.feed import Feed


class ClosedFeed(Feed, Protocol):
    """A feed that has to be closed."""

    def close(self) -> None:
        """Ends it."""


def top(
    *,
    output: str,
    once: bool,
    local: bool,
    socket: str | None,
    replay: str | None,
    speed: float,
    backend: str,
    chosen: WorkloadFilter,
    sockets: Sequence[str] = (),
    duration_s: float | None = None,
) -> int:
    """Shows until it is ended, or for so long; with ``once`` or JSON prints one frame. Returns the exit status.

    Raises UsageError if there is no terminal, HostError if there is no textual.
    """
    plain = once or output == "json"
    if not plain:
        _check_terminal()
    feed = _feed(
        plain=plain,
        local=local,
        socket=socket,
        replay=replay,
        speed=speed,
        backend=backend,
        chosen=chosen,
        sockets=sockets,
    )
    empty = f"no container matches {chosen.words}" if chosen.words else "no container is running"
    try:
        if plain:
            _print(feed, output, empty)
        else:
            _show(feed, empty, duration_s)
    finally:
        feed.close()
    return EXIT_OK


def _check_terminal() -> None:
    # The screen is drawn on stderr, as textual does.
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError("top needs a terminal", next_step="use --once or -o json, or `kubectl exec -it`")
    if os.environ.get("TERM") in (None, "", "dumb"):
        raise UsageError("this terminal (TERM=dumb, or none) can't show it", next_step="use --once, or set TERM=xterm")


def _feed(
    *,
    plain: bool,
    local: bool,
    socket: str | None,
    replay: str | None,
    speed: float,
    backend: str,
    chosen: WorkloadFilter,
    sockets: Sequence[str],
) -> ClosedFeed:
    if replay is not None:
        from sigtrace.top.played import Played

        return Played(replay, chosen, speed)
    from sigtrace.service.client import agent_socket, is_there, status
    from sigtrace.top.live import AgentFeed, CaptureFeed

    path = agent_socket(socket)
    ours = local or backend != "auto" or sockets
    if (socket is not None and not local) or (not ours and is_there(path)):
        if plain:
            status(path)  # a screen waits for an agent, a script does not
        return AgentFeed(path, chosen)
    return CaptureFeed(backend, chosen, sockets, os.uname().nodename)


def _print(feed: Feed, output: str, empty: str) -> None:
    from sigtrace.top.live import CaptureFeed

    try:
        from sigtrace.top.once import frame_text, json_line, two_snapshots
    except ImportError as error:
        raise _missing(error) from error
    if isinstance(feed, CaptureFeed):
        feed.check()
    snapshot = two_snapshots(feed)
    style = Style.of(sys.stdout)
    lines = [json_line(snapshot)] if output == "json" else frame_text(snapshot, style, feed.state, empty)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _show(feed: Feed, empty: str, duration_s: float | None) -> None:
    try:
        from sigtrace.tui.app import Top
    except ImportError as error:
        raise _missing(error) from error
    for name in ("COLUMNS", "LINES"):  # what the terminal says of itself holds, now and after it was resized
        os.environ.pop(name, None)
    app = Top(feed, empty, duration_s)
    app.run()
    if app.failure is not None:
        raise app.failure


def _missing(error: ImportError) -> HostError:
    package = error.name or "textual"
    return HostError(f"top needs the package {package}", next_step=f"pip install {package}")
