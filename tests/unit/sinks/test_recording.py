"""The writer of recordings: it never blocks, drops with a count, and leaves a file that can be read at any moment."""

import contextlib
import os
import stat
import threading
import time

import pytest

from sigtrace.errors import RunError, UsageError
from sigtrace.model.event import Event, Kind, Loss, Task
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.recording import items
from sigtrace.model.recording.frames import Header
from sigtrace.model.recording.items import Advance
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.sinks.recording import Losses, Recording, create
from sigtrace.sources.replay import open_recording

HEADER = Header("1")
BOX = Workload(WorkloadKind.CONTAINER, 7, "/box", container_name="box")
OTHER = Workload(WorkloadKind.CONTAINER, 8, "/other", container_name="other")


def seen(n, workload=None, kind=Kind.EXEC, **fields):
    return Observation(Event(n, n, kind, Task(n, n, "sh"), **fields), workload)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "recording")


@pytest.fixture
def recording(path):
    one = Recording(create(path, force=False), path)
    one.start(HEADER)
    yield one
    one.abandon()


def read(path):
    """(items, the end mark or the error)."""
    found = []
    with open_recording(path) as replay:
        try:
            for item in replay.items():
                found.append(item)  # noqa: PERF402 - an error must not take them with it
        except RunError as error:
            return found, error
        return found, replay.end


def read_so_far(path):
    """Of a file that may have no header yet."""
    try:
        return read(path)[0]
    except RunError:
        return []


def test_what_is_recorded_is_read_in_order(path, recording):
    some = [seen(1), Advance(2), seen(2), Advance(12), seen(9)]
    for item in some:
        recording.advance(item.now_ns) if isinstance(item, Advance) else recording.observation(item)
    recording.close()
    found, end = read(path)
    assert found == some
    assert (end.items, end.ended_ns, end.dropped) == (5, 12, 0)
    assert (recording.events, recording.items) == (3, 5)
    assert recording.bytes == os.path.getsize(path)


def test_an_empty_recording_is_one(path, recording):
    recording.close()
    assert read(path)[0] == []


def test_more_than_a_frame_holds_goes_into_several(path, recording):
    some = [Observation(Event(n, n, Kind.EXEC, Task(n, n, argv=("x" * 3000,)))) for n in range(500)]
    for item in some:
        recording.observation(item)
    recording.close()
    assert read(path)[0] == some


def test_what_was_written_is_in_the_file_without_an_end(path, recording, wait_until):
    recording.observation(seen(1))
    wait_until(lambda: read_so_far(path) == [seen(1)])
    recording.observation(seen(2))
    wait_until(lambda: read_so_far(path) == [seen(1), seen(2)])
    assert "without its end mark" in str(read(path)[1])


def test_abandoned_it_keeps_what_came_and_has_no_end(path, recording):
    recording.observation(seen(1))
    recording.abandon()
    assert read_so_far(path) == [seen(1)]
    assert "without its end mark" in str(read(path)[1])


def test_only_its_owner_can_read_the_file(path, recording):
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_file_that_exists_is_overwritten_with_force_only_and_becomes_its_owners_alone(path):
    with open(path, "w") as file:
        file.write("precious" * 1000)
    os.chmod(path, 0o644)
    with pytest.raises(UsageError, match=r"recording exists, will not overwrite without --force$"):
        create(path, force=False)
    one = Recording(create(path, force=True), path)
    assert os.path.getsize(path) == 8000  # kept until there is something to record
    one.start(HEADER)
    one.close()
    assert read(path)[0] == []
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_no_link_is_followed_to_overwrite_what_is_behind_it(path, tmp_path):
    target = tmp_path / "precious"
    target.write_text("x")
    os.symlink(target, path)
    for force in (False, True):
        with pytest.raises(UsageError):
            create(path, force=force)
    assert target.read_text() == "x"


@pytest.mark.parametrize(("bad", "why"), [("/nowhere/x", "No such file"), ("/", "exists"), ("a\0b", "null byte")])
def test_a_file_that_cannot_be_made_is_named(bad, why):
    with pytest.raises(UsageError, match=why):
        create(bad, force=False)


def test_a_fifo_that_nobody_reads_does_not_hold_it_up(path):
    os.mkfifo(path)
    with pytest.raises(UsageError, match="No such device or address"):
        create(path, force=True)


def test_a_filter_leaves_out_what_is_known_to_be_others(path):
    one = Recording(create(path, force=False), path, chosen=WorkloadFilter(container="box"))
    one.start(HEADER)
    ours = [
        seen(1, BOX),
        Observation(Event(2, 2, Kind.SIGNAL_GENERATE, Task(1, 1)), OTHER, BOX),
        seen(3),
        seen(4, OTHER, Kind.OOM_KILL),
        seen(5, OTHER, Kind.LOST, loss=Loss.RING_FULL, count=1),
    ]
    for item in [*ours, seen(6, OTHER)]:
        one.observation(item)
    one.close()
    assert read(path)[0] == ours


class Slow:
    """A descriptor that takes nothing until it is read: a pipe that is full."""

    def __init__(self):
        self.reading, self.fd = os.pipe()
        os.set_blocking(self.fd, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.fd, bytes(4096))
        os.set_blocking(self.fd, True)

    def drain(self):
        os.set_blocking(self.reading, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reading, 1 << 16):
                pass

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.reading)


@pytest.fixture
def slow():
    one = Slow()
    yield one
    one.close()


def test_a_full_queue_drops_and_counts_and_never_blocks(slow, wait_until):
    one = Recording(slow.fd, "slow", room=4)
    one.start(HEADER)
    losses = Losses(one)
    for n in range(9):
        one.observation(seen(n))
    assert losses.take_dropped() == 0  # a loss that says so would be dropped itself
    wait_until(lambda: slow.drain() or one.items == 4)
    assert wait_until(losses.take_dropped) == 5
    assert losses.take_dropped() == 0
    one.close()


def test_a_disk_that_is_too_slow_is_an_error_within_its_deadline(slow):
    one = Recording(slow.fd, "slow")
    one.start(HEADER)
    one.observation(seen(1))
    began = time.monotonic()
    with pytest.raises(RunError, match="cannot write to slow fast enough: the first 0 events are in it"):
        one.close(deadline_s=0.05)
    assert time.monotonic() - began < 5
    slow.drain()
    one.abandon()


def test_a_reader_that_leaves_ends_it_without_an_error(wait_until):
    reading, writing = os.pipe()
    os.close(reading)
    told = threading.Event()
    one = Recording(writing, "-", on_failure=told.set)
    one.start(HEADER)
    assert told.wait(5)
    one.observation(seen(1))
    one.close()


def test_a_full_disk_is_an_error_and_told_at_once():
    told = threading.Event()
    one = Recording(create("/dev/full", force=True), "/dev/full", on_failure=told.set)
    one.start(HEADER)
    assert told.wait(5)
    with pytest.raises(
        RunError, match="cannot write to /dev/full: No space left on device; the first 0 events are in it"
    ):
        one.close()


def test_what_a_full_disk_leaves_can_be_read_up_to_there(path, monkeypatch, wait_until):
    """Half of a frame still fits: it is cut off again."""
    failed = threading.Event()
    one = Recording(create(path, force=False), path, on_failure=failed.set)
    one.start(HEADER)
    one.observation(seen(1))
    wait_until(lambda: one.items == 1)
    size, write = os.path.getsize(path), os.write
    room = [10]

    def full(fd, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = write(fd, bytes(data)[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", full)
    one.observation(seen(2))
    assert failed.wait(5)
    monkeypatch.undo()
    with pytest.raises(RunError, match=r"the first 1 events are in it: make room, or write elsewhere"):
        one.close()
    assert os.path.getsize(path) == size
    assert read_so_far(path) == [seen(1)]


def test_an_item_that_is_too_long_is_dropped_and_counted(path, recording, wait_until):
    recording.observation(Observation(Event(1, 1, Kind.EXEC, Task(1, 1, argv=("x" * items.LINE_MAX,)))))
    recording.observation(seen(2))
    assert wait_until(recording.take_dropped) == 1
    recording.close()
    found, end = read(path)
    assert (found, end.items, end.dropped) == ([seen(2)], 1, 1)


def test_what_stands_in_standard_outputs_file_before_us_stays(path):
    with open(path, "wb") as file:
        file.write(b"before")
        file.flush()
        one = Recording(os.dup(file.fileno()), "-")
        one.start(HEADER)
        one.close()
    with open(path, "rb") as file:
        assert file.read(6) == b"before"


def test_without_a_start_nothing_is_written(path):
    one = Recording(create(path, force=False), path)
    one.observation(seen(1))
    one.abandon()
    assert not one.started
    assert os.path.getsize(path) == 0
