"""The bounded queue in front of a stream that may block."""

import io
import os
import threading
import time

import pytest

from sigtrace.sinks.base import LineWriter


class Gate(io.StringIO):
    """A stream whose reader takes nothing until the gate opens."""

    def __init__(self):
        super().__init__()
        self.open, self.entered = threading.Event(), threading.Event()
        self.writes = 0

    def write(self, text):
        self.entered.set()
        self.open.wait()
        self.writes += 1
        return super().write(text)


class Buffered(io.StringIO):
    """Shows only what was flushed."""

    shown = ""

    def flush(self):
        self.shown = self.getvalue()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def full(gate, room):
    """A writer with one line at the stream and as many behind it as there is room for."""
    writer = LineWriter(gate, room=room)
    writer.write("first\n")
    assert gate.entered.wait(5)
    for n in range(room - 1):
        writer.write(f"{n}\n")
    assert writer.take_dropped() == 0
    return writer


def test_lines_arrive_in_order_and_whole():
    stream = io.StringIO()
    writer = LineWriter(stream)
    for n in range(1000):
        writer.write(f"{n}\n")
    assert writer.close() == 0
    assert stream.getvalue() == "".join(f"{n}\n" for n in range(1000))
    assert writer.take_dropped() == 0
    assert not writer.closed


def test_a_line_is_flushed_at_once(wait_until):
    stream = Buffered()
    writer = LineWriter(stream)
    writer.write("now\n")
    wait_until(lambda: stream.shown == "now\n")
    writer.close()


def test_what_came_just_before_the_end_is_flushed_too():
    for _ in range(50):
        stream = Buffered()
        writer = LineWriter(stream)
        writer.write("last\n")
        writer.close()
        assert stream.shown == "last\n"


def test_a_full_queue_drops_and_counts_and_never_blocks(gate, wait_until):
    writer = full(gate, room=4)
    for _ in range(7):
        writer.write("too much\n")
    gate.open.set()
    wait_until(lambda: gate.getvalue().count("\n") == 4)
    assert wait_until(writer.take_dropped) == 7
    assert writer.take_dropped() == 0
    assert writer.close() == 0
    assert gate.getvalue() == "first\n0\n1\n2\n"


def test_drops_are_told_once_there_is_room_to_say_so(gate):
    writer = full(gate, room=4)
    writer.write("too much\n")
    assert writer.take_dropped() == 0  # a line that says so would be dropped itself
    gate.open.set()
    assert writer.close() == 1  # and is still not forgotten
    assert writer.take_dropped() == 1


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_close_says_how_many_were_left_within_its_deadline(gate, extra):
    writer = full(gate, room=3)
    for _ in range(extra):
        writer.write("too much\n")
    began = time.monotonic()
    assert writer.close(0.05) == 3 + extra
    assert time.monotonic() - began < 1


def test_a_reader_that_goes_away_ends_it_and_is_told_once(wait_until):
    told = []
    reading, writing = os.pipe()
    os.close(reading)
    # Left open as stdout is; closing a broken stream would try to flush it again.
    stream = os.fdopen(writing, "w", closefd=False)
    writer = LineWriter(stream, room=10, on_closed=lambda: told.append(threading.current_thread().name))
    writer.write("nobody reads\n")
    wait_until(lambda: writer.closed)
    for _ in range(100):
        writer.write("nobody reads\n")
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 1
    assert told == ["writer"]
    os.dup2(os.open(os.devnull, os.O_WRONLY), writing)
    stream.close()
    os.close(writing)


def test_a_stream_that_was_closed_under_it_ends_it_quietly(wait_until):
    stream = io.StringIO()
    writer = LineWriter(stream)
    stream.close()
    writer.write("x\n")
    wait_until(lambda: writer.closed)
    writer.close()


def test_closing_twice_is_harmless():
    writer = LineWriter(io.StringIO())
    writer.close()
    assert writer.close() == 0


def test_a_stream_that_cannot_encode_a_line_is_no_closed_one():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    writer = LineWriter(stream)
    writer.write("SIGTERM → PID 1\n")
    writer.write("after\n")
    writer.close()
    assert not writer.closed
    assert b"after\n" in raw.getvalue()


def test_writers_of_many_threads_lose_nothing():
    stream = io.StringIO()
    writer = LineWriter(stream, room=100_000)
    threads = [threading.Thread(target=lambda: [writer.write("x\n") for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close() == 0
    assert stream.getvalue() == "x\n" * 8000
