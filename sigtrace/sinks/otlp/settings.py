"""What the user and ``OTEL_*`` say about export (OpenTelemetry specification: sdk-environment-variables)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import unquote

from sigtrace.errors import UsageError
from sigtrace.model.text import printable
from sigtrace.sinks.otlp.endpoint import Endpoint, Signal, Variables, endpoint_of, headers_of

_TEMPORALITIES: Final = ("cumulative", "delta", "lowmemory")


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """All of it. Times are seconds."""

    traces: Endpoint | None = None
    """None: not exported; likewise metrics"""
    metrics: Endpoint | None = None
    resource: Mapping[str, str] = field(default_factory=dict)
    """OTEL_RESOURCE_ATTRIBUTES"""
    service_name: str = "sigtrace"
    """the agent's own"""
    metric_interval_s: float = 60.0
    temporality: str = "cumulative"
    queue: int = 2048
    """spans that may wait, those on their way included"""
    batch: int = 512
    delay_s: float = 5.0
    """so long a span waits for others"""
    flush_s: float = 3.0
    """so long the end waits for the collector"""
    backoff_s: float = 1.0
    """the first pause after a failure; each is twice the one before"""
    exited: bool = False
    """also shutdowns that nobody asked for and that ended well, as those of jobs"""
    ignored: tuple[str, ...] = ()
    """what the environment says that is not known here, and why; it is told, and changes nothing"""

    @classmethod
    def from_environment(
        cls,
        endpoint: str | None = None,
        *,
        protocol: str | None = None,
        headers: Sequence[str] = (),
        timeout_s: float | None = None,
        compression: str | None = None,
        certificate: str | None = None,
        client_key: str | None = None,
        client_certificate: str | None = None,
        insecure: bool | None = None,
        exited: bool = False,
        flush_s: float = 3.0,
        environ: Mapping[str, str] = os.environ,
    ) -> Self | None:
        """What is given goes over what the environment says. ``headers``: ``name=value`` each.

        None: no endpoint is named, or OTEL_SDK_DISABLED says no. Raises UsageError; no header's value is in it.
        """
        disabled = environ.get("OTEL_SDK_DISABLED", "").strip()
        if disabled.lower() == "true":
            return None
        for header in headers:
            headers_of(header.replace(",", "%2C"), "--otlp-header")
        given = {
            "ENDPOINT": endpoint,
            "PROTOCOL": protocol,
            "HEADERS": ",".join(header.replace(",", "%2C") for header in headers),
            "TIMEOUT": None if timeout_s is None else str(timeout_s * 1000.0),
            "COMPRESSION": compression,
            "CERTIFICATE": certificate,
            "CLIENT_KEY": client_key,
            "CLIENT_CERTIFICATE": client_certificate,
            "INSECURE": None if insecure is None else str(insecure),
        }
        variables = {signal: Variables(environ, signal, given) for signal in Signal}
        ends = {signal: _endpoint(found) for signal, found in variables.items()}
        if not any(ends.values()):
            return None
        resource = _resource(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
        queue = int(_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048))
        return cls(
            traces=ends[Signal.TRACES],
            metrics=ends[Signal.METRICS],
            resource=resource,
            service_name=environ.get("OTEL_SERVICE_NAME", "").strip() or resource.get("service.name") or "sigtrace",
            metric_interval_s=_number(environ, "OTEL_METRIC_EXPORT_INTERVAL", 60_000.0) / 1000.0,
            temporality=_temporality(environ),
            queue=queue,
            batch=min(int(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)), queue),
            delay_s=_number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000.0) / 1000.0,
            flush_s=flush_s,
            exited=exited,
            ignored=(
                *(
                    [f"OTEL_SDK_DISABLED: {printable(disabled)!r} is neither true nor false"]
                    if _unclear(disabled)
                    else []
                ),
                *(why for found in variables.values() for why in found.unknown()),
            ),
        )


def _unclear(disabled: str) -> bool:
    return disabled.lower() not in {"", "true", "false"}


def _endpoint(variables: Variables) -> Endpoint | None:
    return None if variables.off else endpoint_of(variables)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    raw = environ.get(name, "").strip()
    if not raw:
        return default
    try:
        number = float(raw)
    except ValueError:
        number = 0.0
    if not 1.0 <= number < 1e12:
        raise UsageError(f"{name}: {printable(raw)!r} is no positive number")
    return number


def _temporality(environ: Mapping[str, str]) -> str:
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    word = environ.get(name, "").strip().lower() or "cumulative"
    if word not in _TEMPORALITIES:
        raise UsageError(f"{name}: {printable(word)!r}: there are {', '.join(_TEMPORALITIES)}")
    return word


def _resource(raw: str) -> dict[str, str]:
    """``key=value,key=value``, percent-encoded. Raises UsageError."""
    attributes = {}
    for pair in filter(str.strip, raw.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"OTEL_RESOURCE_ATTRIBUTES: {printable(pair)!r} is not key=value")
        attributes[unquote(key).strip()] = printable(unquote(value).strip())
    return attributes
