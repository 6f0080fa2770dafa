"""Colour for a terminal, and nothing but text for everything else."""

import io

import pytest

from sigtrace.sinks.style import Style


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


def test_text_is_wrapped_below_its_indent_and_nothing_is_longer():
    text = "word " * 40 + "x" * 200
    lines = Style(width=50).wrap(text, 10)
    assert all(line.startswith(" " * 10) and len(line) <= 50 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
