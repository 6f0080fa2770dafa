"""The configuration file: TOML, with options for all commands at the top and a table for each command.

    backend = "bpf"
    [watch]
    fail-on = "error"

A key is an option's long name, with ``-`` or ``_``. The command line and SIGTRACE_* variables win over it.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sigtrace.errors import UsageError
from sigtrace.model.text import printable

#: Larger is no configuration; /dev/zero is none either.
_MAX_BYTES = 1 << 20
#: Pipes that are open already, of `<(…)` and `|`: somebody writes to them.
_OPEN: Final = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the file, and where it stands, as messages name it."""

    value: object
    where: str


@dataclass(frozen=True, slots=True)
class Config:
    """A file that was read; its tables are checked when a command asks for its part."""

    path: str
    """printable, as messages name it"""
    table: Mapping[str, object]
    file: str = ""
    """the path as it was given, to read it again"""

    def settings(self, command: str, options: Iterable[str], shared: Iterable[str]) -> dict[str, Setting]:
        """What the file says for a command, by option: its own table over the top level.

        ``options``: what the command takes; ``shared``: what may stand at the top because some command takes it.
        Raises UsageError for a key that is neither.
        """
        own = set(options)
        found: dict[str, Setting] = {}
        for key, value in self.table.items():
            if not isinstance(value, dict):
                name = self._known(key, own | set(shared), "")
                if name in own:
                    found[name] = Setting(value, f"{self.path}: {key}")
        given: set[str] = set()
        section = self.table.get(command)
        for key, value in section.items() if isinstance(section, dict) else ():
            name = self._known(key, own, f"[{command}] ")
            if name in given:
                raise UsageError(f"{self.path}: [{command}] {key} is given twice, with - and with _")
            given.add(name)
            found[name] = Setting(value, f"{self.path}: [{command}] {key}")
        return found

    def _known(self, key: str, names: set[str], where: str) -> str:
        name = key.replace("-", "_")
        if name not in names:
            shown = sorted(one.replace("_", "-") for one in names)
            close = difflib.get_close_matches(key, shown, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(shown)}"
            raise UsageError(f"{self.path}: {where}{printable(key)} is no option", next_step=hint)
        return name


def _at_once(path: str, flags: int) -> int:
    """A named pipe that nobody writes to is opened, too: without O_NONBLOCK that would wait for ever (fifo(7))."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def load(path: str, commands: Iterable[str]) -> Config:
    """Reads a file. Raises UsageError if it is missing, no TOML, or has a table that is named after no command."""
    shown = printable(path)
    try:
        with open(path, "rb", opener=_at_once) as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                if not path.startswith(_OPEN):
                    raise UsageError(
                        f"cannot read the configuration {shown}: it is a named pipe, and perhaps nobody writes to it",
                        next_step="give a file, or /dev/stdin",
                    )
                os.set_blocking(file.fileno(), True)
            raw = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read the configuration {shown}: {reason}") from error
    if len(raw) > _MAX_BYTES:
        raise UsageError(f"cannot read the configuration {shown}: larger than 1 MiB")
    try:
        table = tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown}: not UTF-8 (byte {error.start})") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{shown}: not TOML: {printable(str(error))}") from error
    names = list(commands)
    for key, value in table.items():
        if isinstance(value, dict) and key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean [{close[0]}]?" if close else f"known are {', '.join(names)}"
            raise UsageError(f"{shown}: [{printable(key)}] is no command", next_step=hint)
        if not isinstance(value, dict) and key in names:
            raise UsageError(f"{shown}: {key} is a command", next_step=f"write its options below [{key}]")
    return Config(shown, table, path)
