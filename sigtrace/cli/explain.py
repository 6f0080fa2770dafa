"""`sigtrace explain WHAT…`: what an exit code, a signal, a mask, a finding code or an outcome means."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from typing import TYPE_CHECKING

import click

from sigtrace.cli import options
from sigtrace.errors import UsageError
from sigtrace.model.explain import UnknownWordError
from sigtrace.model.explain import explain as readings
from sigtrace.model.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sigtrace.model.explain import Explanation


# Unknown options are arguments here: -9 is what Python says of a process that SIGKILL ended.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("what", nargs=-1, required=True)
@options.output
def explain(what: tuple[str, ...], output: str) -> None:
    """What it means, and what to do about it.

    WHAT is an exit code (137), a signal (TERM, 15), a mask of /proc/PID/status (0000000000010002, 0x10002), a finding
    (signal-dropped, killed/oom) or a shutdown's outcome (escalated). What has several readings is explained in each.
    """
    found: list[Explanation] = []
    for word in what:
        if word.startswith("-") and not re.fullmatch(r"-[0-9]+", word):
            raise click.NoSuchOption(word, ctx=click.get_current_context())
        try:
            found += readings(word)
        except UnknownWordError as error:
            hint = f"did you mean {', '.join(error.close)}?" if error.close else "see: sigtrace explain --help"
            raise UsageError(f"cannot explain {word!r}: {error}", next_step=hint) from error
    colour = options.wants_colour()
    for number, one in enumerate(found):
        if output == "json":
            click.echo(json.dumps(_record(one)))
        else:
            click.echo(("\n" if number else "") + "\n".join(_lines(one)), color=colour)


def _record(one: Explanation) -> dict[str, object]:
    return {
        "schema": 1,
        "type": "explanation",
        "what": printable(one.what),
        "kind": one.kind,
        "title": one.title,
        "text": list(one.text),
        "advice": list(one.advice),
        "meanings": dict(one.causes),
        **one.facts,
    }


def _lines(one: Explanation) -> Iterator[str]:
    """At most 80 columns, fewer on a narrow terminal."""
    width = max(40, min(80, shutil.get_terminal_size().columns))
    yield click.style(one.title, bold=True)
    for paragraph in one.text:
        yield textwrap.fill(paragraph, width, initial_indent="  ", subsequent_indent="  ")
    column = max((len(name) for name, _ in one.causes), default=0) + 4
    for name, meaning in one.causes:
        yield textwrap.fill(
            meaning,
            width,
            initial_indent=f"  {name}".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
    for advice in one.advice:
        body = textwrap.fill(
            advice, width, initial_indent="  fix  ", subsequent_indent="       ", break_on_hyphens=False
        )
        yield body.replace("fix", click.style("fix", fg="green", bold=True), 1)
