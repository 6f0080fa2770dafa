"""`sigtrace watch`: verdicts as they happen."""

from __future__ import annotations

import click

from sigtrace.cli import options
from sigtrace.model.causes import Severity
from sigtrace.model.filter import WorkloadFilter


@click.command()
@options.output
@options.backend
@options.tracing
@options.duration
@options.filters
@options.sockets
@options.patience
@options.otlp
@options.local
@options.fail_on
def watch(
    output: str,
    backend: str,
    max_tracees: int,
    follow: bool,
    duration: float | None,
    container: str | None,
    pod: str | None,
    namespace: str | None,
    runtime: str | None,
    runtime_socket: tuple[str, ...],
    zombie_after: float | None,
    unanswered_after: float | None,
    otlp_endpoint: str | None,
    otlp_protocol: str | None,
    otlp_header: tuple[str, ...],
    otlp_certificate: str | None,
    otlp_exited: bool,
    local: bool,
    fail_on: str | None,
) -> int:
    """Verdicts as they happen: one story for each container's shutdown, and every other finding.

    They come from the agent on this node, if one runs and no option needs a capture of our own.
    """
    from sigtrace import commands

    return commands.watch(
        output=output,
        backend=backend,
        max_tracees=max_tracees,
        whole=follow,
        duration_s=duration,
        chosen=WorkloadFilter(container, pod, namespace, runtime),
        zombie_after_s=zombie_after,
        unanswered_after_s=unanswered_after,
        sockets=runtime_socket,
        otlp=options.otlp_given(otlp_endpoint, otlp_protocol, otlp_header, otlp_certificate, otlp_exited),
        local=local,
        fail_on=Severity.of(fail_on) if fail_on else None,
    )
