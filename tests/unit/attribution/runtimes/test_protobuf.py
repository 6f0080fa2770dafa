"""Protocol Buffers as the specification has them, and whatever else arrives."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.attribution.runtimes.protobuf import Message, encode
from sigtrace.attribution.runtimes.values import TEXT_MAX, NoAnswer

#: protobuf.dev/programming-guides/encoding: its own examples.
EXAMPLES = [
    ({1: 150}, "08 96 01"),
    ({2: "testing"}, "12 07 74 65 73 74 69 6e 67"),
    ({3: {1: 150}}, "1a 03 08 96 01"),
    ({4: "hello"}, "22 05 68 65 6c 6c 6f"),
    ({1: -2}, "08 fe ff ff ff ff ff ff ff ff 01"),
]


@pytest.mark.parametrize(("message", "wire"), EXAMPLES)
def test_it_writes_the_examples_of_the_specification(message, wire):
    assert encode(message) == bytes.fromhex(wire)


def test_it_reads_what_it_wrote():
    message = Message(encode({1: "web", 2: 7, 3: {1: "inner"}, 4: ["a", "", "b"], 5: {"k": "v", "x": "y"}, 6: True}))
    assert message.text(1) == "web"
    assert message.integer(2) == 7
    assert message.message(3).text(1) == "inner"
    assert message.mapping(5, frozenset({"k", "absent"})) == {"k": "v"}
    assert message.integer(6) == 1


def test_an_empty_text_in_a_list_is_kept_and_elsewhere_left_out():
    assert encode({1: ["", "a"]}) == bytes.fromhex("0a 00 0a 01 61")
    assert encode({1: "", 2: 0, 3: None, 4: b"", 5: False}) == b""


def test_an_empty_mapping_is_an_empty_message():
    assert encode({2: {}}) == bytes.fromhex("12 00")


def test_what_is_missing_is_zero_or_empty():
    message = Message()
    assert (message.integer(1), message.raw(2), message.text(3)) == (0, b"", None)
    assert list(message.messages(4)) == []
    assert message.message(5).integer(1) == 0


def test_of_a_field_that_comes_twice_the_last_counts():
    assert Message(encode({1: [1, 2]})).integer(1) == 2


def test_fixed_fields_are_passed_over():
    raw = bytes.fromhex("09 0102030405060708 15 01020304 18 05")
    assert Message(raw).integer(3) == 5


@pytest.mark.parametrize(
    "wire",
    [
        "08",  # a tag and no value
        "12 05 61",  # five bytes announced, one there
        "12 ff ff ff ff ff ff ff ff ff 01",  # 2⁶⁴-1 bytes announced
        "08 ff ff ff ff ff ff ff ff ff ff 01",  # an integer without end
        "0b",  # a group
        "0f",  # wire type 7
        "00 01",  # field number 0
        "80 80 80 80 10 01",  # field number 2²⁹
        "09 01",  # half a fixed64
    ],
)
def test_what_is_no_message_is_refused(wire):
    with pytest.raises(NoAnswer):
        Message(bytes.fromhex(wire))


def test_a_field_of_another_type_is_refused():
    with pytest.raises(NoAnswer, match="no string"):
        Message(encode({1: 5})).text(1)
    with pytest.raises(NoAnswer, match="no integer"):
        Message(encode({1: "x"})).integer(1)
    with pytest.raises(NoAnswer, match="no message"):
        list(Message(encode({1: 5})).messages(1))


def test_a_message_of_very_many_fields_is_refused():
    with pytest.raises(NoAnswer, match="20,000 fields"):
        Message(b"\x08\x01" * 20_001)


def test_text_is_made_harmless_and_cut():
    assert Message(encode({1: b"a\x1b[2J\xff"})).text(1) == "a\\x1b[2J\\xff"
    assert len(Message(encode({1: "x" * 10_000})).text(1)) == TEXT_MAX


@given(st.binary(max_size=200))
def test_no_bytes_bring_it_down(raw):
    with contextlib.suppress(NoAnswer):
        message = Message(raw)
        for number in range(1, 5):
            for read in (message.integer, message.text, message.message, lambda n: message.mapping(n, frozenset("a"))):
                with contextlib.suppress(NoAnswer):
                    read(number)


@given(st.dictionaries(st.integers(1, 100), st.one_of(st.integers(1, 2**64 - 1), st.binary(min_size=1)), max_size=9))
def test_any_message_survives_the_wire(fields):
    message = Message(encode(fields))
    for number, value in fields.items():
        assert (message.integer(number) if isinstance(value, int) else message.raw(number)) == value
