"""`sigtrace replay`: the verdicts on what was recorded."""

from __future__ import annotations

import click

from sigtrace.cli import options
from sigtrace.model.causes import Severity
from sigtrace.model.filter import WorkloadFilter


@click.command()
@options.output
@options.filters
@options.fail_on
@options.otlp
@click.option("--events", is_flag=True, help="Also the events, as trace shows them.")
@click.argument("file")
def replay(
    output: str,
    container: str | None,
    pod: str | None,
    namespace: str | None,
    runtime: str | None,
    fail_on: str | None,
    otlp_endpoint: str | None,
    otlp_protocol: str | None,
    otlp_header: tuple[str, ...],
    otlp_certificate: str | None,
    otlp_exited: bool,
    events: bool,
    file: str,
) -> int:
    """The verdicts on what `sigtrace record` wrote to FILE (- for standard input), as watch tells them.

    Needs no privilege, and gives the same on any machine. Of a damaged file, what comes before the damage.
    """
    from sigtrace import recorder

    return recorder.replay(
        file,
        output=output,
        chosen=WorkloadFilter(container, pod, namespace, runtime),
        fail_on=Severity.of(fail_on) if fail_on else None,
        events=events,
        otlp=options.otlp_given(otlp_endpoint, otlp_protocol, otlp_header, otlp_certificate, otlp_exited),
    )
