"""Other people's JSON."""

import pytest

from sigtrace.attribution.runtimes import values
from sigtrace.attribution.runtimes.values import NoAnswer


def test_a_container_id_is_64_hexadecimal_digits_and_nothing_else():
    assert values.is_container_id("0123456789abcdef" * 4)
    for other in (
        "0123456789ABCDEF" * 4,
        "a" * 63,
        "a" * 65,
        "a" * 64 + "\n",
        "../" + "a" * 61,
        "",
        None,
        5,
        b"a" * 64,
    ):
        assert not values.is_container_id(other)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000, "nul", b"9" * 5_000])
def test_what_is_no_json_or_too_deep_is_no_answer(raw):
    with pytest.raises(NoAnswer):
        values.parse_json(raw)


def test_too_much_json_is_no_answer_and_not_even_parsed(monkeypatch):
    monkeypatch.setattr(values, "JSON_MAX", 10)
    with pytest.raises(NoAnswer, match="more than 10"):
        values.parse_json(b"[1,2,3,4,5,6]")


def test_at_finds_only_what_is_there():
    value = {"State": {"Pid": 5}, "List": [1]}
    assert values.at(value, "State", "Pid") == 5
    assert values.at(value, "State", "Pid", "x") is None
    assert values.at(value, "List", "0") is None
    assert values.at(None, "State") is None


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", None, 2**80, [1]])
def test_only_a_small_integer_is_a_number(value):
    assert values.number(value, 1000) is None


def test_pid_zero_is_none():
    assert values.pid(0) is None
    assert values.pid(1) == 1
    assert values.pid(1 << 23) is None


def test_text_is_harmless_and_short():
    assert values.text("web\x1b]0;x\x07") == "web\\x1b]0;x\\x07"
    assert values.text("\ud800") == "\\ud800"  # JSON can say so
    assert values.text("") is None
    assert values.text(["x"]) is None
    assert len(values.text("x" * 100_000)) == values.TEXT_MAX


def test_strings_takes_only_the_named_ones_that_are_strings():
    assert values.strings({"a": "1", "b": 2, "c": "3"}, frozenset("ab")) == {"a": "1"}
    assert values.strings([("a", "1")], frozenset("a")) == {}
