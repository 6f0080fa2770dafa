"""GET over a unix socket, for Docker and Podman: bounded in bytes and in time as a whole, whatever the server does."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from sigtrace.attribution.runtimes.values import NoAnswer, clean

#: Bytes of one answer, headers included. A list has about 2 KB a container.
_ANSWER_MAX: Final = 8 << 20


class _Socket(socket.socket):
    """Each read gets what is left of the time and of the bytes: a server that drips ends in time too."""

    deadline = 0.0
    left = _ANSWER_MAX

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """What http.client reads with, in the end."""
        self.settimeout(_remaining(self.deadline))
        got = super().recv_into(buffer, nbytes, flags)
        self.left -= got
        if self.left < 0:
            raise NoAnswer(f"an answer of more than {_ANSWER_MAX:,} bytes")
        return got


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost")
        self._path = path
        self._deadline = time.monotonic() + timeout_s

    def connect(self) -> None:
        """A unix socket instead of a TCP connection; http.client calls this."""
        sock = _Socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.deadline = self._deadline
            sock.settimeout(_remaining(self._deadline))
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def get(path: str, target: str, timeout_s: float) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers (names in small letters) and body of a GET.

    ``path``: of the socket; ``target``: made of our own words and checked ids alone; ``timeout_s``: for all of it,
    seconds. Raises NoAnswer.
    """
    connection = _Connection(path, timeout_s)
    try:
        connection.request("GET", target, headers={"Connection": "close", "Accept": "application/json"})
        answer = connection.getresponse()
        # With an amount: otherwise memory for as much as the server announces would be taken first.
        body = answer.read(_ANSWER_MAX)
        if answer.length:
            raise NoAnswer(f"GET {target.partition('?')[0]}: an answer that is cut off, or too long")
        headers = {name.lower(): value for name, value in answer.getheaders()}
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or clean(str(error)) or type(error).__name__
        raise NoAnswer(f"GET {target.partition('?')[0]}: {reason}") from error
    finally:
        connection.close()
    return answer.status, headers, body
