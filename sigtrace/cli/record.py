"""`sigtrace record`: keep what happens, to replay it later or elsewhere."""

from __future__ import annotations

import click

from sigtrace.cli import options
from sigtrace.model.filter import WorkloadFilter


@click.command()
@options.backend
@options.duration
@options.filters
@options.sockets
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.argument("file")
def record(
    backend: str,
    duration: float | None,
    container: str | None,
    pod: str | None,
    namespace: str | None,
    runtime: str | None,
    runtime_socket: tuple[str, ...],
    force: bool,
    file: str,
) -> int:
    """Writes what happens to FILE (- for standard output): what `sigtrace replay` needs for the same verdicts.

    It holds command lines, and only you may read it.
    """
    from sigtrace import recorder

    return recorder.record(
        file,
        backend=backend,
        duration_s=duration,
        chosen=WorkloadFilter(container, pod, namespace, runtime),
        force=force,
        sockets=runtime_socket,
    )
