"""What a terminal would show of a line."""

import re
import unicodedata

#: Control, format (bidi), surrogate, private use, unassigned, line and paragraph separators.
UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(line):
    """Without our own colours."""
    return _COLOUR.sub("", line)


def columns(line):
    """How many columns a terminal needs for it."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain(line)
    )


def harmless(line):
    """No control, format or other character that a terminal could act on, but our colours."""
    return not any(unicodedata.category(c) in UNSAFE for c in plain(line))
