"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import difflib
import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

import click

from sigtrace.errors import UsageError
from sigtrace.model import signals

if TYPE_CHECKING:
    IntType = click.ParamType[int]
    FloatType = click.ParamType[float]
else:
    # Generic from click 8.4 on only, and we take 8.1.
    IntType = FloatType = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])

#: What may stand at the top of a configuration file: some command takes it.
SHARED: Final = ("output", "backend", "duration", "container", "pod", "namespace", "runtime", "fail_on")

#: About 31 years: more overflows the timers below, and means "for ever", which is the default.
_LONGEST_S: Final = 1e9


class Signal(IntType):
    """A signal by name or number; the value is its number."""

    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """``term``, ``SIGTERM``, ``15`` → 15."""
        try:
            return signals.number(str(value))
        except ValueError:
            word = str(value).upper().removeprefix("SIG")
            names = [signals.name(signo).removeprefix("SIG") for signo in range(1, 32)]
            close = [f"SIG{name}" for name in difflib.get_close_matches(word, names, n=3, cutoff=0.6)]
            hint = f"did you mean {' or '.join(close)}?" if close else "write SIGTERM, term, 15 or RTMIN+3"
            self.fail(f"{str(value)!r} is not a signal; {hint}", param, ctx)


class Duration(FloatType):
    """A positive number of seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """``2.5`` → 2.5. Zero, less, NaN and infinity are refused."""
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{str(value)!r} is not a number of seconds", param, ctx)
        if math.isnan(seconds) or seconds <= 0:
            self.fail(f"{value} is not a positive number of seconds", param, ctx)
        if seconds > _LONGEST_S:
            self.fail(f"{value} s is too long; leave it out to go on until interrupted", param, ctx)
        return seconds


def output(command: F) -> F:
    """``-o text|json`` as ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Text for people, or one JSON object a line.",
    )(command)


def backend(command: F) -> F:
    """``--backend`` as ``backend``; sources.select says whether this host and version have it."""
    return click.option(
        "--backend",
        type=click.Choice(["auto", "bpf", "bcc", "ptrace"]),
        default="auto",
        show_default=True,
        help="Where events come from (see: sigtrace doctor).",
    )(command)


def duration(command: F) -> F:
    """``--duration`` as ``duration``: seconds (float), or None for no end."""
    return click.option(
        "--duration", type=Duration(), metavar="SECONDS", help="End after so many seconds; else at Ctrl-C."
    )(command)


def filters(command: F) -> F:
    """``--container --pod --namespace --runtime``, each a string or None; target *or* sender has to match."""
    for name, what in (
        ("runtime", "this runtime (containerd, cri-o, docker, podman)"),
        ("namespace", "this Kubernetes namespace"),
        ("pod", "the pod of this name"),
        ("container", "the container of this name or id"),
    ):
        command = click.option(f"--{name}", metavar=name.upper(), help=f"Only {what}.")(command)
    return command


def sockets(command: F) -> F:
    """``--runtime-socket`` as ``runtime_socket``: a tuple of texts; empty: the usual places."""
    return click.option(
        "--runtime-socket",
        multiple=True,
        metavar="SOCKET",
        help="Ask this runtime for names (cri:PATH, docker:PATH); else those at the usual places.",
    )(command)


def otlp(command: F) -> F:
    """``--otlp-endpoint`` and what belongs to it, as :func:`otlp_given` takes them. OTEL_* variables say the rest."""
    for option in reversed(
        (
            click.option(
                "--otlp-endpoint", metavar="URL", help="Export spans and metrics there (http://127.0.0.1:4318)."
            ),
            click.option("--otlp-protocol", type=click.Choice(["http/protobuf", "grpc"]), help="[http/protobuf]"),
            click.option("--otlp-header", multiple=True, metavar="NAME=VALUE", help="Sent with each request."),
            click.option("--otlp-certificate", metavar="FILE", help="Whom to trust: a CA's certificate (PEM)."),
            click.option("--otlp-exited", is_flag=True, help="Spans also of jobs that ended well by themselves."),
        )
    ):
        command = option(command)
    return command


def otlp_given(
    endpoint: str | None, protocol: str | None, header: tuple[str, ...], certificate: str | None, exited: bool
) -> dict[str, Any] | None:
    """Arguments of sinks.otlp's settings; None: nothing is to be exported. Raises UsageError."""
    if not endpoint:
        if protocol or header or certificate or exited:
            raise UsageError("options of OTLP without --otlp-endpoint", next_step="add --otlp-endpoint URL")
        return None
    return {"endpoint": endpoint, "protocol": protocol, "headers": header, "certificate": certificate, "exited": exited}


def tracing(command: F) -> F:
    """``--max-tracees`` (int) and ``--follow`` (bool), of the backend ptrace."""
    command = click.option(
        "--follow", is_flag=True, help="With ptrace: trace all processes of containers, not only the main ones."
    )(command)
    return click.option(
        "--max-tracees", type=click.IntRange(min=1), default=500, help="With ptrace: so many at once [500]."
    )(command)


def local(command: F) -> F:
    """``--local`` as ``local``."""
    return click.option("--local", is_flag=True, help="Capture here, also if an agent runs.")(command)


def patience(command: F) -> F:
    """``--zombie-after`` and ``--unanswered-after``: seconds (float), or None for the default."""
    for name, what in (
        ("unanswered-after", "Tell of a stop signal that nothing followed [60, or the grace period + 5]."),
        ("zombie-after", "Tell of zombies that nobody has waited for in so long [10]."),
    ):
        command = click.option(f"--{name}", type=Duration(), metavar="SECONDS", help=what)(command)
    return command


def fail_on(command: F) -> F:
    """``--fail-on`` as ``fail_on``: "info", "warning", "error" or None."""
    return click.option(
        "--fail-on",
        type=click.Choice(["info", "warning", "error"]),
        help="Exit with 1 if there was a finding at least as bad.",
    )(command)


def wants_colour(stream: TextIO | None = None) -> bool:
    """Whether to colour what goes to ``stream`` (stdout): on a terminal that can, unless NO_COLOR is set."""
    target = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return target is not None and target.isatty()
