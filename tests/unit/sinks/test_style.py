"""Colour for a terminal, and nothing but text for everything else."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.sinks.style import Style
from tests.unit.sinks.screen import UNSAFE, columns


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def test_a_terminal_has_colour_and_a_file_has_none():
    assert Style.of(Terminal()).colour
    assert not Style.of(io.StringIO()).colour


@pytest.mark.parametrize(("value", "colour"), [("1", False), ("0", False), ("", True)])
def test_no_color_is_honoured_if_it_is_not_empty(monkeypatch, value, colour):
    monkeypatch.setenv("NO_COLOR", value)
    assert Style.of(Terminal()).colour is colour


@pytest.mark.parametrize(("columns", "width"), [("20", 40), ("72", 72), ("100", 100), ("300", 100)])
def test_a_terminal_is_used_up_to_100_columns(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert Style.of(Terminal()).width == width
    assert Style.of(io.StringIO()).width == 80


def test_words_are_painted_and_put_back():
    assert Style(colour=True)("x", "red", "bold") == "\x1b[31;1mx\x1b[0m"
    assert Style(colour=True)("x") == Style()("x", "red") == "x"


@given(st.text(st.characters(exclude_categories=UNSAFE)), st.integers(0, 17), st.integers(40, 100))
def test_text_is_wrapped_below_its_indent_and_nothing_is_wider(text, indent, width):
    lines = Style(width=width).wrap(text, indent)
    assert all(line.startswith(" " * indent) for line in lines)
    assert max(map(columns, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_words_stay_whole_where_they_can_and_a_margin_stands_in_the_first_line():
    text = "word " * 40 + "x" * 200
    lines = Style(width=50).wrap(text, 10, "12:34")
    assert lines[0].startswith("12:34     word word")
    assert {len(line) for line in lines[:-1] if "x" in line} == {50}
    assert {word for line in lines for word in line.split() if "w" in word} == {"word"}
