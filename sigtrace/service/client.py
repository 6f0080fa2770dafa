"""The reader's side of the agent's socket. The agent may be anyone, too: what it says is bounded and checked."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from typing import Any, Final, Self

from sigtrace.errors import HostError, RunError
from sigtrace.model.text import printable
from sigtrace.service.listening import agent_socket
from sigtrace.service.protocol import (
    FRAME_MAX,
    PROTOCOL,
    STATUS,
    Frame,
    Hello,
    Request,
    Status,
    frame_of,
    hello_of,
    request_line,
    status_of,
)

__all__ = ["AgentGoneError", "Link", "NoAgentError", "Reconnecting", "agent_socket", "is_there", "status"]

_TIMEOUT_S: Final = 5.0
_RECEIVE: Final = 1 << 16
_RETRY_S: Final = 1.0


class NoAgentError(HostError):
    """No agent runs on this node."""


class AgentGoneError(RunError):
    """The agent ended while it was read from."""


class Link:
    """One connection, one topic. ``with Link(path, "verdicts", follow=True) as link: link.frame(1.0)``."""

    def __init__(self, path: str, topic: str, timeout_s: float = _TIMEOUT_S, **arguments: Any) -> None:
        """``arguments``: of :class:`sigtrace.service.protocol.Request`; ``timeout_s``: for the agent's first line.

        Raises NoAgentError; HostError without permission; RunError for an agent of another protocol, or what is none.
        """
        self._shown = printable(path)
        self._in = bytearray()
        self._scanned = 0
        self.ended = False
        """the agent has said that this was all"""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._connect(path, timeout_s)
            self.hello = self._greeted(timeout_s)
            # If the agent has ended the connection already, it has said why, and frame() tells.
            with contextlib.suppress(OSError):
                self._sock.sendall(request_line(Request(topic, **arguments)))
        except BaseException:
            self._sock.close()
            raise

    def _connect(self, path: str, timeout_s: float) -> None:
        self._sock.settimeout(timeout_s)
        try:
            self._sock.connect(path)
        except PermissionError as error:
            raise HostError(
                f"may not read from the agent at {self._shown}: {error.strerror}", next_step="run it as root"
            ) from error
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise NoAgentError(
                f"no agent runs on this node ({self._shown}: {error.strerror})",
                next_step="start one (sigtrace agent), which keeps what it sees from then on; or sigtrace watch",
            ) from error
        except OSError as error:
            busy = error.errno in (errno.EAGAIN, None)
            reason = "it is busy" if busy else error.strerror
            raise RunError(f"cannot connect to the agent at {self._shown}: {reason}", next_step="try again") from error

    def _greeted(self, timeout_s: float) -> Hello:
        line = self._line(timeout_s)
        if line is None:
            raise RunError(f"nothing answers at {self._shown} within {timeout_s:g} s", next_step="restart the agent")
        try:
            hello = hello_of(line)
        except ValueError as error:
            raise RunError(
                f"{self._shown} is no sigtrace agent: {error}", next_step="see what listens there"
            ) from error
        if hello.protocol != PROTOCOL:
            from sigtrace import __version__

            raise RunError(
                f"the agent is sigtrace {hello.sigtrace} and speaks protocol {hello.protocol}, this is {__version__} "
                f"and speaks {PROTOCOL}",
                next_step="use the same version for both",
            )
        return hello

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """For select; what is there already, frame(0) gives."""
        return self._sock.fileno()

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()

    def frame(self, timeout_s: float | None) -> Frame | None:
        """The next one; None if none came in that time (s; None: for ever), or ``ended``.

        Raises AgentGoneError if the agent went, RunError for what no agent writes, or if it says that it can't.
        """
        line = None if self.ended else self._line(timeout_s)
        if line is None:
            return None
        try:
            frame = frame_of(line)
        except ValueError as error:
            raise RunError(
                f"{self._shown} is no sigtrace agent: {error}", next_step="see what listens there"
            ) from error
        if frame.kind == "end":
            self.ended = True
            return None
        if frame.kind == "error":
            raise RunError(f"the agent says: {frame.value}")
        return frame

    def _line(self, timeout_s: float | None) -> bytes | None:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while (at := self._in.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._in)
            if self._scanned > FRAME_MAX:
                raise RunError(f"{self._shown} is no sigtrace agent: a line without an end")
            left = None if end is None else max(end - time.monotonic(), 0.0)
            # A timeout of 0 would make the socket one that never waits, and its error another.
            self._sock.settimeout(left if left is None or left > 0 else 1e-6)
            with self._broken_pipe():
                try:
                    received = self._sock.recv(_RECEIVE)
                except TimeoutError:
                    return None
                if not received:
                    raise ConnectionResetError
                self._in += received
        line = bytes(self._in[:at])
        del self._in[: at + 1]
        self._scanned = 0
        return line

    @contextlib.contextmanager
    def _broken_pipe(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AgentGoneError(
                f"the agent at {self._shown} has ended", next_step="look at its log; sigtrace agent starts one"
            ) from error


class Reconnecting:
    """Frames of a topic for as long as one likes: an agent that is away is waited for."""

    def __init__(self, path: str, topic: str, **arguments: Any) -> None:
        """As :class:`Link`; connects with the first frame."""
        self._path = path
        self._topic = topic
        self._arguments = arguments
        self._link: Link | None = None
        self._try_at = 0.0
        self.away: str | None = None
        """why there is no connection just now"""
        self.hello: Hello | None = None
        """of the last agent there was"""

    def frame(self, timeout_s: float) -> Frame | None:
        """The next one, or None if none came in that time (s)."""
        end = time.monotonic() + timeout_s
        try:
            if self._link is None:
                time.sleep(max(min(self._try_at, end) - time.monotonic(), 0.0))
                if time.monotonic() < self._try_at:
                    return None
                self._link = Link(self._path, self._topic, **self._arguments)
                self.hello = self._link.hello
            frame = self._link.frame(max(end - time.monotonic(), 0.0))
        except (HostError, RunError) as error:
            self._lose(str(error))
            return None
        self.away = None
        if self._link.ended:
            self._lose("the agent said that this was all")
        return frame

    def _lose(self, reason: str) -> None:
        self.away = reason
        self._try_at = time.monotonic() + _RETRY_S
        self.close()

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._link:
            self._link.close()
            self._link = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_there(path: str) -> bool:
    """Whether an agent listens there that we may read from."""
    try:
        status(path)
    except (HostError, RunError):
        return False
    return True


def status(path: str) -> Status:
    """How the agent is. Raises as :class:`Link`."""
    with Link(path, STATUS) as link:
        frame = link.frame(_TIMEOUT_S)
        try:
            return status_of(frame.value if frame and frame.kind == STATUS else None)
        except ValueError as error:
            raise RunError(f"the agent at {printable(path)} did not say how it is: {error}") from error
