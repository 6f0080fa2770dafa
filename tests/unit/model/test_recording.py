"""The format of recordings: what goes in comes out, and nothing that anyone can write breaks a reader."""

import contextlib
import dataclasses
import enum
import json
import types
import zlib
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.model.event import Disposition, Event, Info, Kind, Masks, Result, Task
from sigtrace.model.recording import frames, items, values
from sigtrace.model.recording.frames import DamageError, End, Header, NewerError, Packer, Part, Unpacker
from sigtrace.model.recording.items import Advance, ItemDecoder, ItemEncoder, ItemTooLongError
from sigtrace.model.text import printable
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, Workload, WorkloadKind


def limits(name):
    if name in {"signo", "stop_signal"}:
        return 0, 64
    return (-(2**62), 2**62) if name.endswith("_ns") else (-(2**63), 2**64 - 1)


def of_type(hint, name=""):
    """Anything that a field of this type can hold."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return st.one_of(*[st.none() if one is type(None) else of_type(one, name) for one in arguments])
    if origin is tuple and Ellipsis in arguments:
        return st.lists(of_type(arguments[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of_type, arguments))
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return st.builds(hint, **{f.name: of_type(hints[f.name], f.name) for f in dataclasses.fields(hint)})
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    plain = {
        bool: st.booleans(),
        int: st.integers(*limits(name)),
        float: st.floats(-1e18, 1e18) | st.integers(0, 9),
        str: st.text(max_size=8).map(printable),
    }
    return plain[hint]


OBSERVATIONS = of_type(Observation)
ADVANCES = st.builds(Advance, st.integers(0, 2**62))
INIT = Task(100, 5, "sh", ns_pid=1, pidns=9, uid=0, argv=("sh", "-c", "app"))
BOX = Workload(WorkloadKind.CONTAINER, 7, "/box", container_name="box", grace_limit_s=30.0)
TERM = Observation(
    Event(10, 20, Kind.SIGNAL_GENERATE, INIT, signo=15, result=Result.IGNORED, disposition=Disposition.DEFAULT), BOX
)


def lines_of(*some):
    encoder = ItemEncoder()
    return [line for item in some for line in encoder.lines(item)]


def read(lines):
    decoder = ItemDecoder()
    return [item for line in lines if (item := decoder.item(line)) is not None]


def altered(line, change):
    """The last line with one thing done to its JSON."""
    word, value = json.loads(line)
    change(value)
    return json.dumps([word, value]).encode()


# ---- items


@settings(max_examples=200, deadline=None)
@given(st.lists(OBSERVATIONS | ADVANCES, max_size=4))
def test_any_items_come_back_as_they_were(some):
    back = read(lines_of(*some))
    assert back == some
    assert repr(back) == repr(some)  # 30 and 30.0, 0 and False are equal; in JSON they differ


def test_every_field_of_an_observation_is_recorded():
    full = Task(1, 2, "c", 3, 4, 5, 6, 7, 8, 9, 10, ("a",), ("b",))
    event = Event(1, 2, Kind.EXIT, wait_status=WaitStatus(9), masks=Masks(1, 2, 3, 4, 5), info=Info.REAL)
    filled = {f.name: full for f in dataclasses.fields(Event) if f.name in {"task", "sender", "parent"}}
    observation = Observation(dataclasses.replace(event, **filled), BOX, dataclasses.replace(BOX, cgroup_id=8))
    assert read(lines_of(observation)) == [observation]


def test_what_only_equals_its_default_is_recorded_too():
    (back,) = read(lines_of(Observation(Event(1, 1, Kind.EXEC, signo=False, group=0, si_code=0))))
    assert (repr(back.event.signo), repr(back.event.group), repr(back.event.si_code)) == ("False", "0", "0")


def test_what_repeats_is_written_once():
    again = dataclasses.replace(TERM, event=dataclasses.replace(TERM.event, time_ns=11))
    words = [json.loads(line)[0] for line in lines_of(TERM, again)]
    assert words == ["Task", "Workload", "observation", "observation"]


def test_tables_are_emptied_before_they_grow_beyond_what_a_reader_keeps():
    many = [
        Observation(Event(n, n, Kind.EXEC, Task(n, n, argv=("x" * 400,)))) for n in range(1, 2 * items.TABLE_MAX + 9)
    ]
    lines = lines_of(*many)
    assert lines.count(b'["forget"]') >= 2
    assert read(lines) == many


@pytest.mark.parametrize(
    ("comm", "times"), [("", 2 * items.TABLE_MAX + 1), ("x" * 60_000, 2 * items.TABLE_BYTES_MAX // 60_000 + 1)]
)
def test_a_reader_keeps_no_more_definitions_than_its_bound(comm, times):
    line = json.dumps(["Task", {"pid": 1, "start_ns": 1, "comm": comm}]).encode()
    with pytest.raises(ValueError, match="more definitions"):
        read([line] * times)


def test_an_item_that_no_reader_would_take_is_refused_and_the_next_one_is_whole():
    encoder = ItemEncoder()
    sender = Task(3, 3, "sender")
    long = Observation(Event(1, 1, Kind.EXEC, Task(1, 1, argv=("x" * items.LINE_MAX,)), sender))
    after = Observation(Event(2, 2, Kind.EXEC, Task(2, 2, "y"), sender))
    encoder.lines(TERM)
    for bad in (long, dataclasses.replace(TERM, event=dataclasses.replace(TERM.event, cgroup_name="x" * 2**17))):
        with pytest.raises(ItemTooLongError):
            encoder.lines(bad)
    assert read([*lines_of(TERM), *encoder.lines(after)])[-1] == after


def test_what_a_later_version_adds_is_passed_over():
    *before, line = lines_of(TERM)

    def change(value):
        value["event"]["future"] = {"a": [1]}
        value["more"] = 5

    later = [b'["weather",{"wind":3}]', *before, altered(line, change), b'["sun"]', b'["advance",5,"why"]']
    assert read(later) == [TERM, Advance(5)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda v: v["event"].update(result=99), {"result": None}),
        (lambda v: v["event"].update(disposition="new"), {"disposition": None}),
        (lambda v: v["event"].update(loss=[]), {"loss": None}),
        (lambda v: v["event"].update(signo=None), {"signo": 0}),
        (lambda v: v["event"].pop("signo"), {"signo": 0}),
        (lambda v: v["event"].update(masks={"blocked": None}), {"masks": Masks()}),
    ],
)
def test_what_is_unknown_is_none_or_the_default(change, expected):
    *before, line = lines_of(TERM)
    assert read([*before, altered(line, change)]) == [
        dataclasses.replace(TERM, event=dataclasses.replace(TERM.event, **expected))
    ]


def test_a_workload_of_an_unknown_kind_is_unknown():
    task, workload, observation = lines_of(TERM)
    workload = altered(workload, lambda v: v.update(kind="galaxy"))
    assert read([task, workload, observation]) == [dataclasses.replace(TERM, workload=None)]


@pytest.mark.parametrize("change", [lambda e: e.update(kind="eclipse"), lambda e: e.pop("wall_ns")])
def test_an_event_of_an_unknown_kind_still_moves_time(change):
    *before, line = lines_of(TERM)
    decoder = ItemDecoder()
    for one in before:
        decoder.item(one)
    assert decoder.item(altered(line, lambda v: change(v["event"]))) == Advance(10)
    assert decoder.unknown == 1


@pytest.mark.parametrize(
    "raw",
    [
        "", "x", "5", "[]", "[5]", "{}", "null", '"a"', '["observation"]', '["observation",[]]', '["observation",{}]',
        '["observation",{"event":5}]', '["observation",{"event":{}}]', '["observation",{"event":{"time_ns":"x"}}]',
        '["advance"]', '["advance",-1]', '["advance",1.5]', '["advance",true]', '["advance",1e400]', '["advance",NaN]',
        '["advance",4611686018427387905]', '["Task",5]', '["Task",{"pid":"1"}]', '["Task",{"pid":1e3}]', "[" * 60_000,
        '["advance",' + "9" * 5000 + "]", '["Task",{"pid":1,"start_ns":1,"argv":"x"}]', '["a",' + "[" * 50_000,
        '["Task",{"pid":1,"start_ns":1,"argv":[1]}]', '["Workload",{"kind":"host","cgroup_id":1,"stop_signal":65}]',
        '["Workload",{"kind":"host","cgroup_id":1,"grace_limit_s":NaN}]', "\x00", "\ud800",
        '["Workload",{"kind":"host","cgroup_id":1,"grace_limit_s":1e999}]', " " * 70_000,
    ],
)  # fmt: skip
def test_a_line_that_no_writer_wrote_is_a_value_error(raw):
    with pytest.raises(ValueError, match=r"\w"):
        ItemDecoder().item(raw.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("number", [-1, 1, 10**9, 2**70, True, "0", 0.0, [0]])
def test_a_number_that_no_table_has_is_a_value_error(number):
    *before, line = lines_of(TERM)
    with pytest.raises(ValueError, match=r"Event\.task: Task number"):
        read([*before, altered(line, lambda v: v["event"].update(task=number))])


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Event)])
@pytest.mark.parametrize("value", [-(2**63) - 1, 2**64, "\x1b[31m", [[]], {"raw": "x"}, {"blocked": [1]}])
def test_a_value_that_its_field_cannot_hold_is_refused_or_unknown(field, value):
    *before, line = lines_of(TERM)
    refused = ""
    back = []
    try:
        back = read([*before, altered(line, lambda v: v["event"].update({field: value}))])
    except ValueError as error:
        refused = str(error)
    assert bool(back) != (f"Event.{field}: " in refused)
    assert "\x1b" not in repr(back) + refused


def test_text_that_a_terminal_would_act_on_is_made_harmless():
    line = json.dumps(["Task", {"pid": 1, "start_ns": 1, "comm": "a\x1b[2J\u202eé\ud800"}]).encode()
    decoder = ItemDecoder()
    decoder.item(line)
    assert decoder._tables[Task][0].comm == r"a\x1b[2J\u202eé\ud800"


def test_text_that_only_another_python_knows_stays_as_it_was_recorded():
    # U+0378 is no character yet: a Python that knows it would have left it as it is.
    decoder = ItemDecoder()
    decoder.item(json.dumps(["Task", {"pid": 1, "start_ns": 1, "comm": "\u0378"}]).encode())
    assert decoder._tables[Task][0].comm == "\u0378"


def test_a_field_of_a_type_that_cannot_be_recorded_is_noticed_at_once():
    @dataclasses.dataclass
    class Odd:
        field: complex

    Odd.__annotations__["field"] = complex
    with pytest.raises(TypeError, match="complex"):
        values.Decoder({}).object(Odd, {})
    with pytest.raises(TypeError, match="complex"):
        values.Encoder({}).object(Odd(1j))


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [f.name for kind in (Observation, Event, Task, Workload) for f in dataclasses.fields(kind)]
                ),
                inner,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["observation", "advance", "Task", "Workload", "forget", "?"]),
)
def test_no_json_breaks_a_reader(value, word):
    decoder = ItemDecoder()
    with contextlib.suppress(ValueError):
        decoder.item(json.dumps([word, value]).encode())


# ---- frames

HEADER = Header("1.2", "boot", "node", "6.18", 99, {"zombie_age_s": 60, "deep": [{"x": None}]})


def unpack(raw):
    """(header, [(part, bytes)]) of a whole file."""
    unpacker = Unpacker()
    unpacker.start(raw[: frames.START.size])
    at, found = frames.START.size, []
    while at < len(raw):
        head = raw[at : at + frames.HEAD.size]
        length = unpacker.length(head)
        at += frames.HEAD.size
        found.append(unpacker.frame(head, raw[at : at + length]))
        at += length
    return found


def packed(*frames_of_lines, end=None):
    packer = Packer()
    parts = [packer.start(HEADER), *map(packer.lines, frames_of_lines), packer.end(end or End(0, 5))]
    return b"".join(parts), parts


def test_what_is_packed_is_unpacked():
    raw, _ = packed([b"a", b"b"], [b"c" * 1000], end=End(3, 77, 2))
    header, one, two, end = unpack(raw)
    assert (header[0], frames.header_of(header[1])) == (Part.HEADER, HEADER)
    assert (one, two) == ((Part.LINES, b"a\nb"), (Part.LINES, b"c" * 1000))
    assert (end[0], frames.end_of(end[1])) == (Part.END, End(3, 77, 2))


def test_what_comes_again_in_another_frame_costs_little():
    line = json.dumps([str(n) for n in range(300)]).encode()
    _, parts = packed([line], [line])
    assert len(parts[2]) * 10 < len(parts[1])


@pytest.mark.parametrize(
    ("start", "error", "words"),
    [
        (b"", DamageError, "empty"),
        (b"\x7fELF", DamageError, "no recording"),
        (b"#!/bin/sh\n", DamageError, "no recording"),
        (frames.MAGIC, DamageError, "in the middle"),
        (frames.MAGIC[:3], DamageError, "in the middle"),
        (frames.START.pack(frames.MAGIC, 0), DamageError, "no format 0"),
        (
            frames.START.pack(frames.MAGIC, frames.VERSION + 1),
            NewerError,
            f"{frames.VERSION + 1}.*up to {frames.VERSION}",
        ),
    ],
)
def test_what_begins_otherwise_is_refused(start, error, words):
    with pytest.raises(error, match=words):
        Unpacker().start(start)


def started():
    unpacker = Unpacker()
    start = frames.START.pack(frames.MAGIC, frames.VERSION)
    unpacker.start(start)
    return unpacker, zlib.crc32(start)


def frame(payload, crc, part=Part.LINES):
    return frames.HEAD.pack(len(payload), frames._crc(crc, part, payload), part)


def test_a_frame_that_claims_to_be_huge_is_refused_before_it_is_read():
    unpacker, _ = started()
    with pytest.raises(DamageError, match="4,294,967,295 bytes"):
        unpacker.length(frames.HEAD.pack(2**32 - 1, 0, Part.LINES))


@pytest.mark.parametrize("more", [1, 2**26])
def test_a_bomb_is_not_unpacked(more):
    payload = zlib.compress(bytes(frames.UNPACKED_MAX + more), 9)
    unpacker, crc = started()
    with pytest.raises(DamageError, match="unpacks to more"):
        unpacker.frame(frame(payload, crc), payload)


def test_a_frame_as_large_as_allowed_is_read():
    (_, lines, _) = unpack(packed([b"x" * frames.UNPACKED_MAX])[0])
    assert len(lines[1]) == frames.UNPACKED_MAX


@pytest.mark.parametrize("payload", [b"rubbish", zlib.compress(b"x") + b"more", zlib.compress(b"x")])
def test_bytes_that_are_no_stream_or_end_it_are_damage(payload):
    unpacker, crc = started()
    with pytest.raises(DamageError):
        unpacker.frame(frame(payload, crc), payload)


def test_a_frame_that_is_missing_or_doubled_or_moved_is_damage():
    _, (start, one, two, end) = packed([b"1"], [b"2"])
    for wrong in ([start, two, end], [start, one, one, two, end], [start, two, one, end], [start, one, end]):
        with pytest.raises(DamageError, match="checksum"):
            unpack(b"".join(wrong))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"sigtrace":5}',
        b"[" * 100_000,
        b'{"items":-1}',
        b'{"items":1,"ended_ns":9223372036854775807,"sigtrace":"","started_wall_ns":9223372036854775807}',
        b'{"sigtrace":NaN,"items":1}',
    ],
)
def test_a_header_or_end_that_makes_no_sense_is_damage(raw):
    for part in (frames.header_of, frames.end_of):
        with pytest.raises(DamageError):
            part(raw)


def test_a_header_of_a_later_version_is_read():
    raw = b'{"sigtrace":"9.0\\u001b","node":"n","weather":[1],"thresholds":{"a\\u202e":["\\u0007",1.5,null]}}'
    header = frames.header_of(raw)
    assert (header.sigtrace, header.node, header.kernel) == (r"9.0\x1b", "n", "")
    assert header.thresholds == {r"a\u202e": [r"\x07", 1.5, None]}


@given(st.data())
def test_any_flipped_bit_is_noticed(data):
    raw = bytearray(packed([b"some", b"lines"], [b"and", b"more"])[0])
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises((DamageError, NewerError)):
        unpack(bytes(raw))
