"""Where to send to, and how: one signal's endpoint, out of what the user and the environment say.

OpenTelemetry specification, protocol/exporter.md: variables of a signal go over the general ones, and the path
``/v1/traces`` is added to a general URL only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urlsplit

from sigtrace.errors import UsageError
from sigtrace.model.text import printable


class Protocol(StrEnum):
    """How OTLP travels."""

    HTTP = "http/protobuf"
    GRPC = "grpc"


class Signal(StrEnum):
    """What is exported; its name in paths, and in variables in capital letters."""

    TRACES = "traces"
    METRICS = "metrics"


#: What a header's name may be made of (RFC 9110, token).
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EXPORTERS: Final = frozenset({"otlp", "none"})
_COMPRESSIONS: Final = ("none", "gzip")
#: Headers that say how a request is read, and what gRPC keeps for itself.
_RESERVED: Final = re.compile(
    r"host|content-(length|type|encoding)|transfer-encoding|connection|expect|te|grpc-.*|.*-bin"
)
#: A time limit below this many milliseconds can only be meant as seconds, which is what Python's SDK takes.
_SECONDS_BELOW: Final = 100.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Of one signal. What may hold a secret stays out of its repr."""

    url: str = field(repr=False)
    """with the path; for gRPC ``host:port``"""
    protocol: Protocol = Protocol.HTTP
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 10.0
    gzip: bool = False
    tls: bool = False
    certificate: str | None = None
    """file of the CAs to believe; None: the system's"""
    client_key: str | None = None
    client_certificate: str | None = None

    def __str__(self) -> str:
        """For messages: without a query, which may hold a token."""
        return printable(self.url.split("?", 1)[0])


class Variables:
    """``OTEL_EXPORTER_OTLP_*`` of a signal, with what the user gave over them. Empty counts as not set."""

    def __init__(self, environ: Mapping[str, str], signal: Signal, given: Mapping[str, str | None]) -> None:
        self._environ = environ
        self.signal = signal
        self._given = given

    @property
    def off(self) -> bool:
        """Whether the user wants none of this signal."""
        return self._exporters() == ["none"]

    def unknown(self) -> list[str]:
        """Exporters that are asked for and that there are none of here (sdk-environment-variables: enum values)."""
        words = [word for word in self._exporters() if word not in _EXPORTERS]
        return [f"{self._exporter}: {printable(word)!r}: there are otlp and none" for word in words]

    @property
    def _exporter(self) -> str:
        return f"OTEL_{self.signal.upper()}_EXPORTER"

    def _exporters(self) -> list[str]:
        words = self._environ.get(self._exporter, "").lower().split(",")
        return [word.strip() for word in words if word.strip()]

    def find(self, name: str) -> tuple[str, str, bool] | None:
        """(value, where it stands, whether it is of all signals), or None."""
        if given := self._given.get(name):
            return given, "--otlp-" + name.lower().replace("_", "-"), True
        for key, general in (
            (f"OTEL_EXPORTER_OTLP_{self.signal.upper()}_{name}", False),
            (f"OTEL_EXPORTER_OTLP_{name}", True),
        ):
            if value := self._environ.get(key, "").strip():
                return value, key, general
        return None

    def value(self, name: str) -> str | None:
        """Or None."""
        found = self.find(name)
        return found[0] if found else None

    def headers(self) -> dict[str, str]:
        """Of the variable, and over them those that the user gave. Raises UsageError, which shows no value."""
        name = f"OTEL_EXPORTER_OTLP_{self.signal.upper()}_HEADERS"
        own = self._environ.get(name, "").strip()
        if not own:
            name = "OTEL_EXPORTER_OTLP_HEADERS"
            own = self._environ.get(name, "")
        return headers_of(own, name) | headers_of(self._given.get("HEADERS") or "", "--otlp-header")


def headers_of(text: str, where: str) -> dict[str, str]:
    """``name=value,name=value``, values percent-encoded or as they are. Raises UsageError, which shows no value."""
    headers = {}
    for at, pair in enumerate(filter(str.strip, text.split(",")), 1):
        name, equals, value = pair.partition("=")
        name, value = unquote(name).strip().lower(), unquote(value).strip()
        if not equals or not _TOKEN.fullmatch(name):
            raise UsageError(f"{where}: header {at} is not name=value", next_step="write name=value,name=value")
        if _RESERVED.fullmatch(name):
            raise UsageError(f"{where}: {name} is no header for a user to set")
        # http.client would say the value in its complaint.
        if not value.isascii() or not value.isprintable():
            raise UsageError(f"{where}: the value of {name} holds a character that no header may hold")
        headers[name] = value
    return headers


def endpoint_of(variables: Variables) -> Endpoint | None:
    """None if none is named. Raises UsageError."""
    found = variables.find("ENDPOINT")
    if found is None:
        return None
    raw, where, general = found
    protocol = _protocol(variables)
    url, tls = _grpc(raw, where, variables) if protocol is Protocol.GRPC else _http(raw, where)
    if protocol is Protocol.HTTP and general:
        base, _, query = url.partition("?")
        url = f"{base.rstrip('/')}/v1/{variables.signal}" + (f"?{query}" if query else "")
    compression = (variables.value("COMPRESSION") or "none").lower()
    if compression not in _COMPRESSIONS:
        raise UsageError(f"OTLP compression {printable(compression)!r}: there are {', '.join(_COMPRESSIONS)}")
    client_key, client_certificate = _file(variables, "CLIENT_KEY"), _file(variables, "CLIENT_CERTIFICATE")
    if client_key and not client_certificate:
        raise UsageError(
            "OTLP: a client key without its certificate", next_step="set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
        )
    return Endpoint(
        url=url,
        protocol=protocol,
        headers=variables.headers(),
        timeout_s=_timeout(variables),
        gzip=compression == "gzip",
        tls=tls,
        certificate=_file(variables, "CERTIFICATE"),
        client_key=client_key,
        client_certificate=client_certificate,
    )


def _protocol(variables: Variables) -> Protocol:
    word = (variables.value("PROTOCOL") or Protocol.HTTP).lower()
    try:
        return Protocol("http/protobuf" if word == "http" else word)
    except ValueError:
        known = " and ".join(Protocol)
        raise UsageError(f"OTLP protocol {printable(word)!r} is not spoken here: {known} are") from None


def _split(raw: str, where: str) -> tuple[str, str]:
    """(scheme, rest). Raises UsageError; what stands before an @ is never shown."""
    try:
        parts = urlsplit(raw if "://" in raw else f"//{raw}")
        host, port, secret = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError:
        raise UsageError(f"{where}: this is no URL", next_step="write http://HOST:PORT") from None
    if secret:
        raise UsageError(
            f"{where}: a name and a password in a URL would be shown", next_step="use OTEL_EXPORTER_OTLP_HEADERS"
        )
    if not host or port == 0 or any(c.isspace() or not c.isprintable() for c in raw):
        raise UsageError(f"{where}: {printable(raw)!r} is no URL", next_step="write http://HOST:PORT")
    return parts.scheme.lower(), raw


def _http(raw: str, where: str) -> tuple[str, bool]:
    scheme, url = _split(raw, where)
    if scheme not in {"http", "https"}:
        raise UsageError(
            f"{where}: {printable(raw)!r} does not begin with http:// or https://",
            next_step=f"write http://{printable(raw).split('://')[-1]}",
        )
    if not url.isascii():
        raise UsageError(f"{where}: {printable(raw)!r} holds characters that a URL has to encode")
    return url.partition("#")[0], scheme == "https"


def _grpc(raw: str, where: str, variables: Variables) -> tuple[str, bool]:
    scheme, url = _split(raw, where)
    if scheme not in {"http", "https", ""}:
        raise UsageError(f"{where}: {printable(raw)!r}: gRPC takes http://HOST:PORT, https://HOST:PORT or HOST:PORT")
    insecure = (variables.value("INSECURE") or "").lower() in {"true", "1"}
    tls = scheme == "https" if scheme else not insecure
    parts = urlsplit(url if "://" in url else f"//{url}")
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or 4317}", tls


def _timeout(variables: Variables) -> float:
    found = variables.find("TIMEOUT")
    if found is None:
        return 10.0
    raw, where, _ = found
    try:
        number = float(raw)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise UsageError(f"{where}: {printable(raw)!r} is no positive number of milliseconds")
    return number if number < _SECONDS_BELOW else number / 1000.0


def _file(variables: Variables, name: str) -> str | None:
    found = variables.find(name)
    if found is None:
        return None
    path, where, _ = found
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{where}: cannot read {printable(path)}: {reason}") from None
    return path
