"""Text that others wrote reaches neither a terminal nor JSON raw."""

import shlex
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model.text import argv_of, columns, command_line, cut, printable

UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
#: Every code point, surrogates too: hypothesis leaves those out by itself.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
HOSTILE = [
    b"\x1b[2J",
    b"\x1b]0;owned\x07",
    b"a\rb",
    b"\x9b31m",
    "\u202egpj.exe".encode(),
    "\u2028".encode(),
    b"\xff\xfe",
]


def harmless(text):
    return not any(unicodedata.category(c) in UNSAFE for c in text)


@given(st.binary() | ANY_TEXT)
def test_nothing_a_terminal_could_act_on_is_left(raw):
    text = printable(raw)
    assert harmless(text)
    text.encode()  # no lone surrogate: it can be written anywhere


@given(st.binary() | ANY_TEXT)
def test_making_it_harmless_twice_changes_nothing(raw):
    once = printable(raw)
    assert printable(once) == once


@given(st.text(st.characters(exclude_categories=tuple(UNSAFE))))
def test_safe_text_stays_as_it_is(text):
    assert printable(text) == text
    assert printable(text.encode()) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b[31mred", r"\x1b[31mred"),
        (b"two\nlines", r"two\x0alines"),
        (b"nul\0", r"nul\x00"),
        (b"\x7f", r"\x7f"),
        (b"\xc2\x9b31m", r"\x9b31m"),  # CSI as one C1 character
        (b"caf\xc3\xa9 \xff", "café \\xff"),
        (b"cut \xe2\x82", r"cut \xe2\x82"),
        ("\u202egpj.exe", r"\u202egpj.exe"),  # right-to-left override
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),  # a tag character
    ],
)
def test_what_is_unsafe_is_shown_as_an_escape(raw, text):
    assert printable(raw) == text


@given(st.lists(st.binary().filter(lambda w: b"\0" not in w), min_size=1))
def test_an_argument_block_gives_its_words(words):
    assert argv_of(b"\0".join(words) + b"\0") == tuple(printable(w) for w in words)


def test_empty_words_count_and_an_empty_block_has_none():
    assert argv_of(b"") == ()
    assert argv_of(b"\0") == ("",)
    assert argv_of(b"sh\0\0-c\0") == ("sh", "", "-c")
    assert argv_of(b"no\0end") == ("no", "end")


def test_a_truncated_block_says_so_at_its_last_word():
    assert argv_of(b"java\0-Dlong=val", truncated=True) == ("java", "-Dlong=val…")


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_hostile_argument_is_printable_in_argv_and_command_line(raw):
    argv = argv_of(b"prog\0" + raw + b"\0")
    assert harmless(argv[1])
    assert harmless(command_line(argv))


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126))))
def test_a_shell_takes_the_command_line_as_it_was_meant(argv):
    # `!` and `~` apart, which no non-interactive shell or quoting changes here.
    assert shlex.split(command_line(argv)) == argv


@given(st.lists(st.text().map(printable), min_size=1), st.integers(2, 100))
def test_a_command_line_keeps_its_width(argv, width):
    whole, line = command_line(argv), command_line(argv, width)
    assert columns(line) <= width
    assert line == whole if columns(whole) <= width else whole.startswith(line.removesuffix("…")) and line[-1] == "…"
    assert columns(whole) <= width or columns(line) >= width - 2  # no more is cut than must be


@pytest.mark.parametrize(("text", "wide"), [("abc", 3), ("café", 4), ("e\u0301", 1), ("起動", 4), ("", 0), ("→ ·", 3)])
def test_columns_are_a_terminals(text, wide):
    assert columns(text) == wide
    assert cut(text, max(wide, 1)) == text


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("sh", "-c", "sleep 60; true"), 'sh -c "sleep 60; true"'),
        (("sh", "-c", 'echo "$HOME"'), "sh -c 'echo \"$HOME\"'"),
        (("app", ""), 'app ""'),
        ((), ""),
    ],
)
def test_a_command_line_is_quoted_for_reading(argv, line):
    assert command_line(argv) == line
