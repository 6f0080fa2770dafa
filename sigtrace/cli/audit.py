"""`sigtrace audit`: which running containers would not hear their stop signal."""

from __future__ import annotations

import click

from sigtrace.cli import options
from sigtrace.model.causes import Severity
from sigtrace.model.filter import WorkloadFilter


@click.command()
@options.output
@options.backend
@click.option(
    "--duration",
    type=options.Duration(),
    metavar="SECONDS",
    help="Look for so long (0.3): what lasts so long is called a zombie, or blocked.",
)
@options.filters
@options.sockets
@click.option(
    "-s",
    "--signal",
    "signo",
    type=options.Signal(),
    metavar="SIGNAL",
    help="Ask about this one, not about each container's own stop signal.",
)
@options.local
@options.fail_on
@click.argument("names", nargs=-1, metavar="[CONTAINER]...")
def audit(
    output: str,
    backend: str,
    duration: float | None,
    container: str | None,
    pod: str | None,
    namespace: str | None,
    runtime: str | None,
    runtime_socket: tuple[str, ...],
    signo: int | None,
    local: bool,
    fail_on: str | None,
    names: tuple[str, ...],
) -> int:
    """What the stop signal of each running container would meet, before anybody sends it.

    CONTAINER is a name or the beginning of an id; without one all are looked at.
    """
    from sigtrace import auditor

    return auditor.run(
        output=output,
        backend=backend,
        duration_s=duration,
        names=names,
        chosen=WorkloadFilter(container, pod, namespace, runtime),
        signo=signo or 0,
        sockets=runtime_socket,
        local=local,
        fail_on=Severity.of(fail_on) if fail_on else None,
    )
