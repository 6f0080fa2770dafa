"""`sigtrace top`: a live view of the node's containers."""

from __future__ import annotations

import click

from sigtrace.cli import options
from sigtrace.model.filter import WorkloadFilter


@click.command()
@options.output
@options.backend
@options.duration
@options.filters
@options.sockets
@click.option("--once", is_flag=True, help="Print one frame and end; with -o json the snapshot.")
@click.option("--local", is_flag=True, help="Capture here, even if an agent runs.")
@click.option("--socket", metavar="PATH", help="The agent's socket [/run/sigtrace/agent.sock].")
@click.option("--replay", metavar="FILE", help="Show a recording: p holds it, arrows seek, + and - change the speed.")
@click.option("--speed", type=click.FloatRange(0.125, 1024), default=1.0, help="Of a recording [1].")
def top(
    output: str,
    backend: str,
    duration: float | None,
    container: str | None,
    pod: str | None,
    namespace: str | None,
    runtime: str | None,
    runtime_socket: tuple[str, ...],
    once: bool,
    local: bool,
    socket: str | None,
    replay: str | None,
    speed: float,
) -> int:
    """A live view of the node: its containers, trouble first, and the verdicts.

    From a running agent if there is one, else from a capture of its own. Press ? for the keys.
    """
    from sigtrace.top import run

    return run.top(
        output=output,
        once=once,
        local=local,
        socket=socket,
        replay=replay,
        speed=speed,
        backend=backend,
        duration_s=duration,
        chosen=WorkloadFilter(container, pod, namespace, runtime),
        sockets=runtime_socket,
    )
