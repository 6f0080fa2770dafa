"""`sigtrace agent`: the node daemon."""

from __future__ import annotations

from typing import Any

import click

from sigtrace import config
from sigtrace.cli import options
from sigtrace.errors import EXIT_OK
from sigtrace.model.text import printable

_ARGS = "sigtrace.agent.args"
_CONFIG = "sigtrace.config"


class _Reloadable(click.Command):
    """Remembers its arguments, so that its options can be read again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGS] = list(args)
        return super().parse_args(ctx, args)


@click.command(cls=_Reloadable)
@options.backend
@options.tracing
@options.duration
@options.filters
@options.sockets
@options.patience
@click.option("--http", metavar="ADDRESS", help="Serve /metrics, /healthz and /readyz there, or off [127.0.0.1:9477].")
@click.option("--socket", metavar="PATH", help="Serve why, top, watch and audit there [/run/sigtrace/agent.sock].")
@click.option("--state", metavar="FOLDER", help="Keep the last verdicts there, or off [/var/lib/sigtrace].")
@click.option(
    "--redact/--no-redact",
    default=True,
    help="Of command lines tell only the program and harmless words [on].",
)
@click.option("--log", type=click.Choice(["text", "json"]), default="text", help="What goes to standard error [text].")
@click.option("--replace", is_flag=True, help="If an agent runs already, ask it to end, and take its place.")
@click.option("--pin", metavar="FOLDER", help="Let the kernel go on while no agent runs; /sys/fs/bpf/sigtrace [off].")
@click.option("--unpin", is_flag=True, help="Remove what --pin left, and end.")
@options.otlp
@click.pass_context
def agent(ctx: click.Context, /, **values: Any) -> int:
    """The node daemon: a JSON line for each verdict, OTLP, Prometheus, health, and what `sigtrace why` and top read.

    SIGTERM ends it within 5 s; SIGHUP makes it read its configuration again. One runs on a node.
    """
    if values.pop("unpin"):
        from sigtrace.sources import pins

        folder = values["pin"] or pins.FOLDER
        click.echo(f"removed {pins.unpin(folder)} pins from {printable(folder)}")
        return EXIT_OK
    from sigtrace.agent import daemon
    from sigtrace.agent.settings import settings_of

    return daemon.run(settings_of(values), lambda: settings_of(_read_again(ctx)))


def _read_again(ctx: click.Context) -> dict[str, Any]:
    """The options as they are now: of the command line and the environment the same, of the file what it says now."""
    parent = click.Context(ctx.parent.command, info_name="sigtrace") if ctx.parent else None
    found: config.Config | None = ctx.meta.get(_CONFIG)
    if parent is not None and found is not None:
        from sigtrace.cli.main import COMMANDS

        parent.meta[_CONFIG] = config.load(found.file, COMMANDS)
    fresh = ctx.command.make_context(ctx.info_name, list(ctx.meta[_ARGS]), parent=parent)
    return dict(fresh.params)
