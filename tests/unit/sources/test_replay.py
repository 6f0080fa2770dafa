"""The reader of recordings: whatever the bytes are, it gives the items before the damage and then names the offset."""

import io
import json
import re
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.errors import RunError, UsageError
from sigtrace.model.event import Event, Kind, Result, Task
from sigtrace.model.recording import frames
from sigtrace.model.recording.frames import End, Header, Packer, Part
from sigtrace.model.recording.items import Advance, ItemEncoder
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.sources.replay import Replay, open_recording

HEADER = Header("1.2", "boot", "node", "6.18", 99)
BOX = Workload(WorkloadKind.CONTAINER, 7, "/box")


def seen(n):
    task = Task(n % 3, 5, "sh", argv=("sh", str(n % 3)))
    return Observation(Event(n, 100 + n, Kind.SIGNAL_GENERATE, task, signo=15, result=Result.IGNORED), BOX)


ITEMS = [[seen(1), Advance(2), seen(2)], [seen(3)], [seen(4), seen(5), Advance(9)]]


def flat(batches):
    return [item for batch in batches for item in batch]


def written(batches=None, end=None):
    """(bytes, offsets at which each part ends): start and header, each batch, end."""
    packer, encoder = Packer(), ItemEncoder()
    batches = ITEMS if batches is None else batches
    parts = [packer.start(HEADER)]
    parts += [packer.lines([line for item in batch for line in encoder.lines(item)]) for batch in batches]
    parts.append(packer.end(end or End(sum(map(len, batches)), 77)))
    offsets = [sum(map(len, parts[:n])) for n in range(1, len(parts) + 1)]
    return b"".join(parts), offsets


RAW, OFFSETS = written()


def read(raw):
    """(items, the error or None)."""
    found = []
    try:
        with Replay(io.BytesIO(raw), "file") as replay:
            for item in replay.items():
                found.append(item)  # noqa: PERF402 - an error must not take them with it
            assert replay.end is not None
    except RunError as error:
        return found, error
    return found, None


def offset_of(error):
    """Where the error says that it is."""
    return int(re.search(r"^file: offset (\d+): ", str(error))[1])


def test_a_whole_recording_gives_all_its_items_and_what_it_knows_of_itself():
    with Replay(io.BytesIO(RAW), "file") as replay:
        assert replay.header == HEADER
        assert list(replay.items()) == flat(ITEMS)
        assert (replay.end, replay.events, replay.unknown) == (End(7, 77), 5, 0)


@pytest.mark.parametrize("size", range(len(RAW)))
def test_cut_off_anywhere_it_gives_the_whole_frames_before_and_names_the_offset(size):
    found, error = read(RAW[:size])
    whole = [batch for batch, end in zip(ITEMS, OFFSETS[1:], strict=False) if end <= size]
    assert found == flat(whole)
    starts = [0, 10, *OFFSETS]
    assert offset_of(error) in {max(s for s in starts if s <= size), *([0] if size <= 10 else [])}
    assert "file ends" in str(error) or "file is empty" in str(error)
    assert str(error).endswith(
        f"the {len([i for i in found if isinstance(i, Observation)])} events before that are whole"
        if found
        else "nothing before that is whole"
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(RAW) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_with_bytes_changed_it_gives_the_whole_frames_before_and_names_the_offset(changes):
    raw = bytearray(RAW)
    for at, by in changes:
        raw[at] ^= by
    if raw == RAW:
        return
    first = next(at for at, (a, b) in enumerate(zip(raw, RAW, strict=True)) if a != b)
    found, error = read(bytes(raw))
    assert found == flat(batch for batch, end in zip(ITEMS, OFFSETS[1:], strict=False) if end <= first)
    assert "newer sigtrace" in str(error) or offset_of(error) <= first


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([0, 8, 10, OFFSETS[0], OFFSETS[2]]))
def test_rubbish_is_an_error_and_no_crash(rubbish, keep):
    assert read(RAW[:keep] + rubbish)[1] is not None


def test_a_newer_format_is_an_error_that_names_both_versions():
    raw = frames.START.pack(frames.MAGIC, 7) + RAW[frames.START.size :]
    _, error = read(raw)
    assert str(error) == (
        "file: this recording is of format 7, and this sigtrace reads formats up to 1: replay it with a newer sigtrace"
    )


def crafted(*parts):
    """A file with right checksums, of (kind, bytes) or (kind, bytes, packed as they are)."""
    stream, raw = zlib.compressobj(), frames.START.pack(frames.MAGIC, frames.VERSION)
    crc = zlib.crc32(raw)
    for part, content in parts:
        packed = stream.compress(content) + stream.flush(zlib.Z_SYNC_FLUSH)
        crc = frames._crc(crc, part, packed)
        raw += frames.HEAD.pack(len(packed), crc, part) + packed
    return raw


HEAD = (Part.HEADER, b'{"sigtrace":"1"}')
END = (Part.END, b'{"items":1,"ended_ns":5}')
LINE = (Part.LINES, b'["advance",3]')


def test_what_a_later_version_puts_between_is_passed_over():
    found, error = read(crafted(HEAD, (9, b"weather"), LINE, (77, b""), END))
    assert (found, error) == ([Advance(3)], None)


@pytest.mark.parametrize(
    ("parts", "found", "words"),
    [
        ([LINE, END], [], "first frame is no header"),
        ([(Part.HEADER, b"[]")], [], "Header is list"),
        ([HEAD, LINE, HEAD], [Advance(3)], "without its end mark"),
        ([HEAD, LINE, (Part.LINES, b'["advance",4]\n["Task"]'), END], [Advance(3), Advance(4)], "line 2 of the frame"),
        ([HEAD, LINE, LINE, END], [Advance(3), Advance(3)], "counts 1 items, and there are 2"),
        ([HEAD, END], [], "counts 1 items, and there are 0"),
        ([HEAD, LINE, END, LINE], [Advance(3)], "something follows"),
        ([HEAD, LINE, (Part.END, b"{}")], [Advance(3)], "something is missing"),
        ([HEAD, LINE, (Part.LINES, b"")], [Advance(3)], "line 1"),
        ([HEAD, LINE, (Part.LINES, b"\n" * frames.UNPACKED_MAX)], [Advance(3)], "line 1"),
        ([HEAD, LINE, (Part.LINES, b"[" * frames.UNPACKED_MAX)], [Advance(3)], "a line of 1048576 bytes"),
        ([HEAD, LINE, (Part.LINES, bytes(frames.UNPACKED_MAX + 1))], [Advance(3)], "unpacks to more"),
        ([HEAD, LINE, (Part.LINES, bytes(1 << 25))], [Advance(3)], "unpacks to more"),
    ],
)
def test_what_has_right_checksums_and_makes_no_sense_is_damage_too(parts, found, words):
    back, error = read(crafted(*parts))
    assert back == found
    assert words in str(error)
    assert offset_of(error) <= len(crafted(*parts))


def test_a_frame_that_claims_to_be_huge_is_not_even_read():
    class Counting(io.BytesIO):
        most = 0

        def read(self, size):
            self.most = max(self.most, size)
            return super().read(size)

    file = Counting(RAW[: OFFSETS[0]] + frames.HEAD.pack(2**32 - 1, 0, 2) + bytes(1000))
    with pytest.raises(RunError, match=f"offset {OFFSETS[0]}: a frame of 4,294,967,295 bytes"):
        list(Replay(file, "file").items())
    assert file.most <= frames.PACKED_MAX


def test_a_terminal_is_not_acted_on_by_a_message(tmp_path):
    line = json.dumps(["Task", {"pid": "\x1b[2J", "start_ns": 1}]).encode()
    _, error = read(crafted(HEAD, (Part.LINES, line)))
    assert r"\x1b[2J" in str(error)
    with pytest.raises(UsageError) as caught:
        open_recording(str(tmp_path / "\x1b[2J"))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(("path", "why"), [("/nowhere/x", "No such file"), ("/", "Is a directory"), ("a\0b", "null")])
def test_a_file_that_cannot_be_opened_is_named(path, why):
    with pytest.raises(UsageError, match=why):
        open_recording(path)


def test_a_file_that_cannot_be_read_is_an_error_of_ours():
    with pytest.raises(RunError, match="/proc/self/mem: offset 0: cannot be read: Input/output error"):
        open_recording("/proc/self/mem")


def test_a_file_that_is_none_is_closed_again(tmp_path):
    path = tmp_path / "x"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(RunError, match="offset 0: this is no recording of sigtrace"):
        open_recording(str(path))  # a file that stays open is a warning, and a warning an error


def test_it_reads_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(RAW)))
    with open_recording("-") as replay:
        assert list(replay.items()) == flat(ITEMS)
