"""Fuzz targets: what the user, the environment and HTTP clients give."""

from __future__ import annotations

import os
from unittest import mock

import click

from sigtrace import config
from sigtrace.attribution.runtimes import sockets
from sigtrace.cli import options
from sigtrace.cli.main import COMMANDS, cli
from sigtrace.errors import SigtraceError, UsageError
from sigtrace.model.explain import UnknownWordError, explain
from sigtrace.model.text import printable
from sigtrace.service.listening import agent_socket
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.prometheus.address import parse_address
from sigtrace.sinks.prometheus.connection import Connection
from sigtrace.sinks.prometheus.exposition import wants_open_metrics
from sigtrace.sinks.prometheus.request import HEAD_MAX, Refused, parse_head
from tests.fuzz.check import BrokenError, harmless, parts
from tests.fuzz.runtimes import answering

__all__ = ["TARGETS"]


def configuration(data: bytes) -> None:
    """A configuration file, for each command."""
    fd = os.memfd_create("config")
    try:
        os.write(fd, data)
        try:
            config.load(f"/proc/self/fd/{fd}", COMMANDS)
        except UsageError as error:
            harmless(str(error))
            return
        for name in COMMANDS:
            _make(["--config", f"/proc/self/fd/{fd}", name])
    finally:
        os.close(fd)


def _make(args: list[str]) -> None:
    """As far as a command line is read; nothing is run."""
    try:
        with cli.make_context("sigtrace", list(args), auto_envvar_prefix="SIGTRACE") as ctx:
            words = [*ctx._protected_args, *ctx.args]
            if not words:
                return  # `--` alone: the help is shown
            name, command, rest = cli.resolve_command(ctx, words)
            if command is not None:
                command.make_context(name, list(rest), parent=ctx)
    except (click.ClickException, click.exceptions.Exit, click.Abort, SigtraceError):
        return


def command_line(data: bytes) -> None:
    """Arguments and variables."""
    words = [word.decode("utf-8", "surrogateescape") for word in data.split(b"\0")[:20]]
    args = [word for word in words if not word.startswith("SIGTRACE_") and word not in {"-h", "--help", "--version"}]
    given = {
        name: value
        for name, _, value in (w.partition("=") for w in words if w.startswith("SIGTRACE_"))
        if name.isidentifier()
    }
    given = {name: value for name, value in given.items() if name != "SIGTRACE_CONFIG"}
    if "--config" in args or any(word.startswith("--config=") for word in args):
        return
    with mock.patch.dict(os.environ, given):
        _make(args)


def values(data: bytes) -> None:
    """Single values: signals, durations, addresses, sockets, what to explain."""
    word = data.decode("utf-8", "surrogateescape").replace("\0", "")
    for kind in (options.Signal(), options.Duration()):
        try:
            kind.convert(word, None, None)
        except click.BadParameter:
            continue
    for read in (parse_address, lambda one: sockets.given([one]), agent_socket):
        try:
            read(word)
        except UsageError as error:
            printable(str(error))
    try:
        for one in explain(word):
            harmless(one.title, *one.text, *one.advice)
    except UnknownWordError:
        return


def variables(data: bytes) -> None:
    """OTEL_* variables; no header's value is in an error."""
    names = "ENDPOINT HEADERS PROTOCOL TIMEOUT COMPRESSION INSECURE METRICS_HEADERS TRACES_ENDPOINT".split()
    texts = [one.decode("utf-8", "surrogateescape") for one in parts(data, 12)]
    environ = {f"OTEL_EXPORTER_OTLP_{name}": text for name, text in zip(names, texts, strict=False)}
    environ |= {
        "OTEL_RESOURCE_ATTRIBUTES": texts[8], "OTEL_SERVICE_NAME": texts[9], "OTEL_METRIC_EXPORT_INTERVAL": texts[10],
        "OTEL_BSP_MAX_QUEUE_SIZE": texts[11], "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": texts[10],
    }  # fmt: skip
    try:
        settings = OtlpSettings.from_environment(environ=environ)
    except UsageError as error:
        secret = texts[1].partition("=")[2]
        if len(secret) > 20 and secret in str(error) and not any(secret in text for text in (texts[0], *texts[2:])):
            raise BrokenError(f"a header's value is shown: {error}") from error
        return
    for end in (settings.traces, settings.metrics) if settings else ():
        harmless(str(end) if end else "")


def http_request(data: bytes) -> None:
    """A request to the agent, however it is cut into pieces."""
    said: list[object] = []
    for end in (*range(0, min(len(data), 64), 7), len(data)):
        try:
            request = parse_head(data[:end])
        except Refused as refused:
            said.append(refused.status)
            break
        if request is not None:
            wants_open_metrics(request.accept)
            harmless(request.method, request.path)
            said.append(request)
            break
    if len(data) > 4 * HEAD_MAX and b"\r\n\r\n" not in data and not said and data.strip(b"\r\n"):
        raise BrokenError("an endless head is no answer")
    with answering(data) as stream:
        stream.settimeout(0)
        one = Connection(stream)
        for _ in range(20):
            one.read()
            one.write()
            if one.closed:
                break
        if len(one._in) > 3 * HEAD_MAX:
            raise BrokenError(f"{len(one._in)} bytes are kept of a request")


def accept(data: bytes) -> None:
    """A scraper's header."""
    wants_open_metrics(data.decode("latin-1"))


TARGETS = {
    "configuration": configuration,
    "command-line": command_line,
    "values": values,
    "variables": variables,
    "http-request": http_request,
    "accept": accept,
}
