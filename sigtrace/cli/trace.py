"""`sigtrace trace`: the events themselves."""

from __future__ import annotations

import os

import click

from sigtrace.cli import options
from sigtrace.errors import UsageError
from sigtrace.model.filter import WorkloadFilter


class _WithCommand(click.Command):
    """Takes a command after ``--``; an empty one (an unset variable, say) is not the whole node."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        if "--" in args and args.index("--") == len(args) - 1:
            raise click.UsageError("there is no command after --; leave it out to trace the whole node", ctx)
        return super().parse_args(ctx, args)


@click.command(cls=_WithCommand, context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option(
    "--signal", "-s", "signos", type=options.Signal(), multiple=True, help="Only this signal (again for more)."
)
@click.option("--pid", "-p", type=click.IntRange(min=1), help="Only signals to and from this process.")
@click.option("--all", "everything", is_flag=True, help="Also ordinary churn: SIGCHLD, timers, exit 0, reaping.")
@options.output
@options.backend
@options.tracing
@options.duration
@options.filters
@options.sockets
@click.argument("cmd", nargs=-1)
def trace(
    signos: tuple[int, ...],
    pid: int | None,
    everything: bool,
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
    cmd: tuple[str, ...],
) -> int:
    """The events: who signals whom and what the kernel did with it, who executes what, who exits and how.

    With CMD (after --) only its process tree, as strace does; the exit status is then CMD's.
    """
    if cmd and pid:
        raise UsageError("--pid and a command exclude each other", next_step="leave one out")
    if pid and not os.path.isdir(f"/proc/{pid}"):
        raise UsageError(f"there is no process {pid}", next_step="give the pid as this host numbers it (ps -e)")
    from sigtrace import commands

    return commands.trace(
        output=output,
        backend=backend,
        max_tracees=max_tracees,
        whole=follow,
        duration_s=duration,
        chosen=WorkloadFilter(container, pod, namespace, runtime),
        signos=signos,
        pid=pid,
        everything=everything,
        argv=cmd,
        sockets=runtime_socket,
    )
