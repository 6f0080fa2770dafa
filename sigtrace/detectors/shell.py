"""Is PID 1 a shell in front of the program? From its argv."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Names of shells.
SHELLS: Final = frozenset({"sh", "dash", "bash", "ash", "busybox", "zsh", "ksh", "mksh", "rbash"})
#: Long options of bash that take the next word.
_WITH_WORD: Final = frozenset({"--rcfile", "--init-file"})


def _shell_words(argv: Sequence[str]) -> Sequence[str]:
    """The words after the shell's own name; none if it is no shell."""
    if not argv:
        return ()
    name = argv[0].rsplit("/", 1)[-1].lstrip("-")
    if name == "busybox" and len(argv) > 1:
        return _shell_words(argv[1:])
    return argv[1:] if name in SHELLS else ()


def _read(argv: Sequence[str]) -> tuple[bool, str | None]:
    """(whether -c is among the options, the first word that is no option)."""
    words = iter(_shell_words(argv))
    command = False
    for word in words:
        if word in _WITH_WORD or re.fullmatch(r"[-+][a-zA-Z]*o", word):
            command = command or ("c" in word.partition("o")[0].lstrip("-") and not word.startswith("--"))
            next(words, None)  # -o pipefail, -eo pipefail
        elif re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", word):
            command = True
        elif not word.startswith(("-", "+")):
            return command, word
    return command, None


def is_shell_form(argv: Sequence[str]) -> bool:
    """``sh -c …``, with any other options beside it (``bash -eo pipefail -c …``)."""
    return _read(argv)[0]


def script_of(argv: Sequence[str]) -> str | None:
    """The script that a shell runs (``/bin/sh /entrypoint.sh …``), or None."""
    command, word = _read(argv)
    return None if command else word


def is_interactive(argv: Sequence[str]) -> bool:
    """A shell with nothing to run: somebody types (``kubectl exec -it … sh``)."""
    name = argv[0].rsplit("/", 1)[-1].lstrip("-") if argv else ""
    return name in SHELLS and _read(argv) == (False, None)


def shell_command(argv: Sequence[str]) -> str:
    """The command of a shell form."""
    command, word = _read(argv)
    return word or "" if command else ""
