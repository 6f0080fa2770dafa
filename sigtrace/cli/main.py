"""The command `sigtrace`: finds the subcommand, and is the one place that maps errors to exit statuses.

Start-up is light: a subcommand is imported when it is called, and --version and --help import none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from sigtrace import __version__
from sigtrace.errors import EXIT_OK, EXIT_RUN, EXIT_USAGE, RunError, SigtraceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sigtrace.config import Config, Setting

#: name → (where it is, what it does in one line).
COMMANDS: Final = {
    "demo": ("sigtrace.cli.demo:demo", "Failing shutdowns in containers of its own making, explained live."),
    "trace": ("sigtrace.cli.trace:trace", "The events themselves: who signals whom, who exits and how."),
    "watch": ("sigtrace.cli.watch:watch", "Verdicts as they happen: a story for each container's shutdown."),
    "why": ("sigtrace.cli.why:why", "What already happened, from the running agent."),
    "top": ("sigtrace.cli.top:top", "A live view of the node's containers, trouble first."),
    "audit": ("sigtrace.cli.audit:audit", "Which running containers would not hear their stop signal, and why."),
    "record": ("sigtrace.cli.record:record", "Keep events in a file, to look at them later or elsewhere."),
    "replay": ("sigtrace.cli.replay:replay", "The verdicts on what was recorded, the same on any machine."),
    "agent": ("sigtrace.cli.agent:agent", "The node daemon: OTLP, Prometheus, health, and what why and top read."),
    "explain": ("sigtrace.cli.explain:explain", "What an exit code, a signal, a mask or a finding means."),
    "doctor": ("sigtrace.cli.doctor:doctor", "What this host can do, and what to change."),
}

_CONFIG: Final = "sigtrace.config"

#: What a full or broken disk behind `> file` says; no other file of ours goes unnamed.
_UNWRITABLE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; ``argv`` without the program's name."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        _prepare()
        status = _invoke(list(args))  # click eats the list it is given
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        status = done.exit_code
    except (KeyboardInterrupt, click.Abort):
        # Asked to end, and it did. A second signal need not wait for the rest.
        for signo in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signo, signal.SIG_DFL)
        # A KeyboardInterrupt that went through an exec of text, as dataclasses do it while they are imported, is kept
        # in mind, and ends the process by SIGINT in place of our status; the next exec forgets it (run_eval_code_obj).
        exec("")  # noqa: S102
        status = EXIT_OK
    except Exception as error:  # noqa: BLE001 - this is where everything ends
        with contextlib.suppress(OSError):
            status = _tell(error, verbose=_is_verbose(args))
    return _flush(status)


def _prepare() -> None:
    # As PID 1 of a container we would be deaf to SIGTERM without a handler; commands that clean up set their own.
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.stdout is None:  # started with >&-
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - it stays open
    for stream in (sys.stdout, sys.stderr):
        # A locale without "→" must not turn a story into an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _invoke(args: list[str]) -> int:
    # click's own main() exits with 1 for a closed pipe and with 2 lines for an error; we have other customs.
    with cli.make_context("sigtrace", args, auto_envvar_prefix="SIGTRACE") as ctx:
        result = cli.invoke(ctx)
    return result if isinstance(result, int) else EXIT_OK


def _tell(error: Exception, *, verbose: bool) -> int:
    """Says on stderr what went wrong, in one line, and returns the exit status."""
    detail = ""
    if isinstance(error, OSError) and not error.filename and _reader_is_gone():
        return EXIT_OK
    if isinstance(error, OSError) and not error.filename and error.errno in _UNWRITABLE:
        error = RunError(f"cannot write to standard output: {error.strerror}")
    if isinstance(error, click.ClickException):
        line, status = _usage(error), EXIT_USAGE
    elif isinstance(error, SigtraceError):
        line, status, detail = str(error), error.exit_code, error.detail
    else:
        line = f"{type(error).__name__}: {error}: this is a bug in sigtrace; run again with --verbose (or "
        line += "SIGTRACE_DEBUG=1) for the traceback"
        status = EXIT_RUN
        if verbose:
            import traceback

            detail = "".join(traceback.format_exception(error))
    from sigtrace.model.text import printable

    with contextlib.suppress(OSError, ValueError):  # nobody can be told; the status says it all the same
        if sys.stderr is not None:
            print(f"sigtrace: {printable(' '.join(line.split()))}", file=sys.stderr)
            if verbose and detail:
                print("\n".join(printable(one) for one in detail.expandtabs().splitlines()), file=sys.stderr)
            sys.stderr.flush()
    return status


def _usage(error: click.ClickException) -> str:
    """Click's message, where the value came from, and whose --help to read."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    line = error.format_message().rstrip(".")
    if isinstance(error, click.BadParameter) and ctx and error.param and error.param.name:
        source = ctx.get_parameter_source(error.param.name)
        if source is click.core.ParameterSource.ENVIRONMENT:
            names = [error.param.envvar] if isinstance(error.param.envvar, str) else error.param.envvar or ()
            line += "".join(f" (from {name})" for name in [one for one in names if os.environ.get(one)][:1])
    return f"{line} (see: {ctx.command_path if ctx else 'sigtrace'} --help)"


def _is_verbose(args: list[str]) -> bool:
    ours = args[: args.index("--")] if "--" in args else args
    asked = [os.environ.get(name, "") for name in ("SIGTRACE_DEBUG", "SIGTRACE_VERBOSE")]
    return "--verbose" in ours or any(value not in {"", "0"} for value in asked)


def _reader_is_gone() -> bool:
    """Whether whoever read our output has gone (`| head`), as against some other pipe or socket of ours."""
    poll = select.poll()
    for fd in (1, 2):
        poll.register(fd, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _flush(status: int) -> int:
    """Nothing may be left for the interpreter to flush at its end: where it can't go it would print a traceback."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return status


def _read_config(ctx: click.Context, _param: click.Parameter, path: str | None) -> None:
    """Loads the file; on a command, makes what it says the defaults of the command's options."""
    if path is not None:
        from sigtrace.config import load

        ctx.meta[_CONFIG] = load(path, COMMANDS)
    config: Config | None = ctx.meta.get(_CONFIG)
    if config is not None and ctx.parent is not None and ctx.info_name:
        from sigtrace.cli.options import SHARED

        taken = {_key(p): p for p in ctx.command.params if isinstance(p, click.Option) and p.expose_value}
        settings = config.settings(ctx.info_name, taken, SHARED)
        ctx.default_map = {taken[key].name: _checked(ctx, taken[key], one) for key, one in settings.items()}


def _key(option: click.Option) -> str:
    """The long name of an option in files and variables, whatever the function calls its parameter: fail_on."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def _checked(ctx: click.Context, option: click.Option, setting: Setting) -> object:
    """The value, if it is of the option's type. click alone would take ``true`` for 1 second and 5 for a name."""
    value = setting.value
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{setting.where} = {value!r}: is not true or false")
        return value
    values = value if option.multiple and isinstance(value, list) else [value]
    text_only = isinstance(option.type, click.types.StringParamType | click.Choice | click.Path)
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str if text_only else str | int | float):
            raise UsageError(f"{setting.where} = {one!r}: is not a {'string' if text_only else 'string or a number'}")
        try:
            option.type.convert(one, option, ctx)
        except click.BadParameter as error:
            raise UsageError(f"{setting.where} = {one!r}: {error.message}") from error
    return values if option.multiple else value


def _common_options() -> list[click.Option]:
    """Taken before the command's name and after it; of variables only SIGTRACE_CONFIG and SIGTRACE_VERBOSE are read."""
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="Options from a TOML file.",
        ),
        # Read by _is_verbose: errors before and after click need it, too.
        click.Option(["--verbose"], is_flag=True, expose_value=False, help="With errors: logs and tracebacks."),
    ]


class Commands(click.Group):
    """Subcommands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table: the demo first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports it, and gives it what all commands have: --config, --verbose and SIGTRACE_* variables."""
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        for option in command.params:
            if isinstance(option, click.Option) and option.envvar is None:
                # SIGTRACE_TRACE_DURATION for one command wins over SIGTRACE_DURATION for all.
                upper = _key(option).upper()
                option.envvar = [f"SIGTRACE_{cmd_name.upper()}_{upper}", f"SIGTRACE_{upper}"]
        if all(option.name != "config" for option in command.params):
            for option in _common_options():
                option.allow_from_autoenv = False
                command.params.append(option)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with close matches that import nothing."""
        if args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """From the table, so that --help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(
    cls=Commands,
    invoke_without_command=True,
    params=_common_options(),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each option can also be set as SIGTRACE_OPTION, as SIGTRACE_COMMAND_OPTION, or in the --config file.",
)
@click.version_option(__version__, prog_name="sigtrace", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, **_options: Any) -> None:
    """Explains what signals do to containers: dropped, escalated, unreaped, hidden."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(EXIT_USAGE)


if __name__ == "__main__":
    sys.exit(main())
