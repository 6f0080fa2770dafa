"""`sigtrace demo`: failure scenarios in containers of its own making, and what sigtrace says of them."""

from __future__ import annotations

import click

from sigtrace.cli import options
from sigtrace.errors import UsageError


@click.command()
@click.argument("scenario", nargs=-1)
@click.option("--list", "listing", is_flag=True, help="Only list the scenarios.")
@options.backend
def demo(scenario: tuple[str, ...], listing: bool, backend: str) -> int:
    """Stops containers that stop well and badly, and tells what happened to each. Needs root, and no runtime."""
    from sigtrace import demonstration

    known = demonstration.titles()
    for name in scenario:
        if name not in known:
            raise UsageError(
                f"no scenario {name!r}", next_step=f"choose from {', '.join(known)} (sigtrace demo --list)"
            )
    if listing:
        width = max(map(len, known))
        for name, title in known.items():
            click.echo(click.wrap_text(title, 78, f"{name:{width}}  ", " " * (width + 2)))
        return 0
    return demonstration.run(scenario or tuple(known), backend)
