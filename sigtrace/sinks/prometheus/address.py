"""``host:port`` to listen on."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from sigtrace.errors import UsageError

DEFAULT: Final = "127.0.0.1:9477"
_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class Address(NamedTuple):
    """Where to listen. An empty host: everywhere; port 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``127.0.0.1:9477``, ``:9477`` (everywhere), ``[::1]:9477``, ``localhost:0``. Raises UsageError."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise _wrong(text, "it has no port from 0 to 65535 behind a colon")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise _wrong(text, "what is in the brackets is no IPv6 address") from None
    elif ":" in host:
        raise _wrong(text, "an IPv6 address stands in brackets")
    elif host and not _HOST_NAME.fullmatch(host):
        raise _wrong(text, "its host is neither an address nor a name")
    return Address(host, int(port))


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(
        f"cannot listen on {text[:100]!r}: {why}", next_step=f"say {DEFAULT}, [::1]:9477, or :9477 for every interface"
    )
