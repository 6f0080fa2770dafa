"""`sigtrace demo`: failure scenarios in containers of its own making, and what sigtrace says of them."""

from __future__ import annotations

import click

from sigtrace.cli import options
from sigtrace.errors import UsageError


@click.command()
@click.argument("scenario", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="Run every scenario; without it, and without names, a short tour."
)
@click.option("--list", "listing", is_flag=True, help="Only list the scenarios; those of the tour have a star.")
@options.backend
def demo(scenario: tuple[str, ...], everything: bool, listing: bool, backend: str) -> int:
    """Stops containers that stop well and badly, and tells what happened to each. Needs root, and no runtime."""
    from sigtrace import demonstration

    known = demonstration.titles()
    for name in scenario:
        if name not in known:
            raise UsageError(f"no scenario {name!r}", next_step="choose one of those that sigtrace demo --list names")
    if scenario and everything:
        raise UsageError("names of scenarios and --all", next_step="give either")
    if listing:
        _list(known, demonstration.groups(), demonstration.tour())
        return 0
    return demonstration.run(scenario or (tuple(known) if everything else demonstration.tour()), backend)


def _list(titles: dict[str, str], groups: dict[str, tuple[str, ...]], tour: tuple[str, ...]) -> None:
    width = max(map(len, titles)) + 4
    for group, names in groups.items():
        click.echo(f"{group}:")
        for name in names:
            head = f"{' *'[name in tour]} {name}".ljust(width)
            click.echo(click.wrap_text(titles[name], 79, head, " " * width))
        click.echo()
    click.echo("*: on the tour, which sigtrace demo without names makes")
