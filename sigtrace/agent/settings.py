"""What an agent is given, by options, variables and the file; and what of that may change while it runs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sigtrace.model.filter import WorkloadFilter
from sigtrace.service.listening import agent_socket
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.prometheus.address import parse_address
from sigtrace.sources.options import BpfOptions

#: What turns http and state off.
_OFF: Final = "off"
DEFAULT_HTTP: Final = "127.0.0.1:9477"
DEFAULT_STATE: Final = "/var/lib/sigtrace"
#: So long (s) the end waits for the collector: with all else it has 5.
_FLUSH_S: Final = 2.5


@dataclass(frozen=True, slots=True)
class Settings:
    """Of an agent. Those in _LIVE change with SIGHUP."""

    socket: str
    state: str | None
    http: str | None
    """None: no HTTP"""
    backend: str = "auto"
    duration_s: float | None = None
    chosen: WorkloadFilter = dataclasses.field(default_factory=WorkloadFilter)
    redact: bool = True
    replace: bool = False
    log: str = "text"
    sockets: tuple[str, ...] = ()
    zombie_after_s: float | None = None
    unanswered_after_s: float | None = None
    otlp: OtlpSettings | None = None
    max_tracees: int = 500
    whole: bool = False
    pin: str | None = None
    """a folder in a bpffs where programs and maps outlive us"""


#: Fields that SIGHUP changes, and those that matter at the start alone.
LIVE: Final = frozenset({"chosen", "redact", "log", "otlp"})
ONCE: Final = frozenset({"replace", "duration_s"})


def settings_of(options: Mapping[str, Any]) -> Settings:
    """Of the options of `sigtrace agent` by name, as click gives them. Raises UsageError for what is wrong."""
    http, state = options["http"] or DEFAULT_HTTP, options["state"] or DEFAULT_STATE
    if http != _OFF:
        parse_address(http)
    return Settings(
        socket=agent_socket(options["socket"]),
        state=None if state == _OFF else os.path.abspath(state),
        http=None if http == _OFF else http,
        backend=options["backend"],
        duration_s=options["duration"],
        chosen=WorkloadFilter(options["container"], options["pod"], options["namespace"], options["runtime"]),
        redact=options["redact"],
        replace=options["replace"],
        log=options["log"],
        sockets=tuple(options["runtime_socket"]),
        zombie_after_s=options["zombie_after"],
        unanswered_after_s=options["unanswered_after"],
        max_tracees=options["max_tracees"],
        whole=options["follow"],
        pin=os.path.abspath(options["pin"]) if options["pin"] not in (None, _OFF) else None,
        otlp=OtlpSettings.from_environment(
            options["otlp_endpoint"],
            protocol=options["otlp_protocol"],
            headers=options["otlp_header"],
            certificate=options["otlp_certificate"],
            exited=options["otlp_exited"],
            flush_s=_FLUSH_S,
        ),
    )


def source_options(settings: Settings) -> BpfOptions:
    """Of the source. Pinned rings are twice as large: half of each is held for the agent that comes next."""
    options = BpfOptions(pin=settings.pin, max_tracees=settings.max_tracees, whole=settings.whole)
    if settings.zombie_after_s:
        options = dataclasses.replace(options, zombie_after_s=settings.zombie_after_s)
    if settings.pin:
        options = dataclasses.replace(
            options, events_bytes=2 * options.events_bytes, lives_bytes=2 * options.lives_bytes
        )
    return options
