"""Is PID 1 a shell in front of the program? From its argv."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_SHELLS: Final = frozenset({"sh", "dash", "bash", "ash", "zsh", "ksh", "mksh", "rbash"})


def _shell_words(argv: Sequence[str]) -> Sequence[str]:
    """The words after the shell's own name; none if it is no shell."""
    if not argv:
        return ()
    name = argv[0].rsplit("/", 1)[-1].lstrip("-")
    if name == "busybox" and len(argv) > 1:
        return _shell_words(argv[1:])
    return argv[1:] if name in _SHELLS else ()


def is_shell_form(argv: Sequence[str]) -> bool:
    """``sh -c …``, with any other options before it (``bash -eo pipefail -c …``)."""
    for word in _shell_words(argv):
        if not word.startswith(("-", "+")) and word != "pipefail":
            return False
        if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", word):
            return True
    return False


def script_of(argv: Sequence[str]) -> str | None:
    """The script that a shell runs (``/bin/sh /entrypoint.sh …``), or None."""
    if is_shell_form(argv):
        return None
    return next((word for word in _shell_words(argv) if not word.startswith(("-", "+"))), None)


def shell_command(argv: Sequence[str]) -> str:
    """The command of a shell form."""
    words = list(_shell_words(argv))
    for i, word in enumerate(words):
        if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", word):
            return words[i + 1] if i + 1 < len(words) else ""
    return ""
