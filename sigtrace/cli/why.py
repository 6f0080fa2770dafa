"""`sigtrace why`: what already happened, from the running agent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from sigtrace.cli import options
from sigtrace.errors import UsageError
from sigtrace.model.causes import Severity
from sigtrace.model.filter import WorkloadFilter

if TYPE_CHECKING:
    FloatType = click.ParamType[float]
else:
    FloatType = click.ParamType  # generic from click 8.4 on

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
#: Longer than any agent keeps something.
_LONGEST_S = 1e9


class Ago(FloatType):
    """A time that has passed; the value is in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """``90s``, ``15m``, ``1h``, ``2d``, ``1h30m``, ``90`` (seconds)."""
        text = str(value).strip()
        parts = re.findall(r"(\d{1,9}(?:\.\d{1,3})?) ?(min|[smhdw]?)", text)
        whole = "".join(f"{number}{unit}" for number, unit in parts) == text.replace(" ", "")
        ago = sum(float(number) * _UNITS[unit] for number, unit in parts) if whole else 0.0
        if not 0 < ago <= _LONGEST_S:
            self.fail(f"{text!r} is not a time; write 90s, 15m, 1h or 2d", param, ctx)
        return ago


@click.command()
@click.option(
    "--since", type=Ago(), metavar="TIME", help="No older than this: 90s, 15m, 1h, 2d; else all that is kept."
)
@options.output
@options.filters
@options.fail_on
@click.option("--socket", metavar="PATH", help="The agent's socket [/run/sigtrace/agent.sock].")
@click.argument("name", required=False, metavar="[POD|CONTAINER]")
def why(
    since: float | None,
    output: str,
    container: str | None,
    pod: str | None,
    namespace: str | None,
    runtime: str | None,
    fail_on: str | None,
    socket: str | None,
    name: str | None,
) -> int:
    """What already happened: the verdicts that the running agent has kept, the last 1,000.

    Of a pod (shop-0, default/shop-0, or its owner: api for api-7d9f6c5b8-x2x4z), or a container by its name or the
    beginning of its id.
    """
    if name == "":
        raise UsageError("the name is empty", next_step="leave it out to see all; a variable may not be set")
    from sigtrace.why import why as tell_why

    return tell_why(
        name,
        since_s=since,
        output=output,
        chosen=WorkloadFilter(container, pod, namespace, runtime),
        fail_on=Severity.of(fail_on) if fail_on else None,
        socket=socket,
    )
