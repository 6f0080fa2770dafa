"""HTTP/1.1 as far as a scraper and a kubelet speak it: the head of a request in, a whole answer out (RFC 9112)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

#: The head of a request at most, bytes: beyond, it is refused.
HEAD_MAX: Final = 16_384
_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]{1,2048}) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    method: str
    path: str
    """without its query"""
    accept: str


class Refused(Exception):  # noqa: N818  # not an error of ours
    """A request that is none: how it is answered."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse_head(raw: bytes) -> Request | None:
    """The request, or None while its head is not complete. Raises Refused."""
    raw = raw.lstrip(b"\r\n")
    head, end, _ = raw.partition(b"\r\n\r\n")
    if not end:
        if len(raw) > HEAD_MAX:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return None
    if len(head) > HEAD_MAX:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    first, *rest = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise Refused(HTTPStatus.BAD_REQUEST)
    fields = [_FIELD.fullmatch(one) for one in rest]
    accepts = [one[2].decode("latin-1").strip() for one in fields if one and one[1].lower() == b"accept"]
    if None in fields:
        raise Refused(HTTPStatus.BAD_REQUEST)
    path = line[2].decode("ascii").partition("?")[0]
    return Request(line[1].decode("ascii"), path, ",".join(accepts))


def answer(
    status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8", *, head: bool = False
) -> bytes:
    """A whole answer; the connection ends with it. ``head``: without the body, as HEAD wants it."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if head else body)


def words(status: HTTPStatus, why: str = "") -> bytes:
    """A body for a person."""
    return f"{why or status.phrase.lower()}\n".encode()
