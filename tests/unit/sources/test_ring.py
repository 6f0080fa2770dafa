"""The reader of a BPF ring buffer, over a memfd laid out as the kernel lays out the map."""

import mmap
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from sigtrace.sources.ring import Ring

BUSY, DISCARDED = 1 << 31, 1 << 30
PAGE = mmap.PAGESIZE
PAYLOAD = 56  # with its header 64 bytes, which divide a page
STRIDE = 8 + PAYLOAD


class Kernel:
    """The producer's side: a page with the consumer's position, one with the producer's, the data twice in a row."""

    def __init__(self, size=PAGE, payload=PAYLOAD):
        self.size, self.payload, self.stride = size, payload, 8 + payload
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * size)
        self.produced = 0
        self.headers = {}

    @property
    def consumed(self):
        return struct.unpack("<Q", os.pread(self.fd, 8, 0))[0]

    def start_at(self, position):
        os.pwrite(self.fd, struct.pack("<Q", position), 0)
        self.produced = position
        self._publish()

    def _publish(self):
        os.pwrite(self.fd, struct.pack("<Q", self.produced), PAGE)

    def _put(self, position, data):
        """Into both views, as one page mapped twice shows it."""
        for i, byte in enumerate(data):
            at = (position + i) % self.size
            for view in (0, self.size):
                os.pwrite(self.fd, bytes([byte]), 2 * PAGE + view + at)

    def reserve(self):
        """Where the record is, busy; None if there is no room."""
        if self.produced + self.stride - self.consumed > self.size:
            return None
        at = self.produced
        self._put(at, struct.pack("<II", self.payload | BUSY, 0))
        self.produced += self.stride
        self._publish()
        return at

    def commit(self, at, number, flags=0):
        self._put(at + 8, struct.pack("<Q", number).ljust(self.payload, b"."))
        self._put(at, struct.pack("<I", self.payload | flags))

    def write(self, number, flags=0):
        at = self.reserve()
        assert at is not None
        self.commit(at, number, flags)

    def close(self):
        os.close(self.fd)


def numbers(records):
    return [struct.unpack_from("<Q", payload)[0] for _, _, payload in records]


@pytest.fixture
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.close()


@pytest.fixture
def ring(kernel):
    ring = Ring(kernel.fd, kernel.size, kernel.payload)
    yield ring
    ring.close()


def test_an_empty_ring_has_nothing(ring, kernel):
    assert ring.read() == []
    ring.advance()
    assert kernel.consumed == ring.waiting() == 0


def test_records_come_whole_and_in_order(ring, kernel):
    for n in range(5):
        kernel.write(n)
    assert ring.waiting() == 5
    records = ring.read()
    assert numbers(records) == [0, 1, 2, 3, 4]
    assert all(len(payload) == PAYLOAD and payload[8:] == b"." * 48 for _, _, payload in records)


def test_they_stay_in_the_ring_until_they_are_given_back(ring, kernel):
    kernel.write(1)
    assert numbers(ring.read()) == numbers(ring.read()) == [1]
    assert kernel.consumed == 0
    ring.advance()
    assert kernel.consumed == STRIDE
    ring.advance()
    assert kernel.consumed == STRIDE
    assert ring.read() == []


def test_a_record_that_is_still_written_stops_the_reader(ring, kernel):
    kernel.write(1)
    at = kernel.reserve()
    kernel.write(3)
    assert numbers(ring.read()) == [1]
    ring.advance()
    assert ring.read() == []
    ring.advance()
    assert (kernel.consumed, ring.waiting()) == (STRIDE, 2)
    kernel.commit(at, 2)
    assert numbers(ring.read()) == [2, 3]


def test_discarded_records_are_passed_over_and_given_back(ring, kernel):
    kernel.write(1)
    kernel.write(2, DISCARDED)
    kernel.write(3)
    assert numbers(ring.read()) == [1, 3]
    ring.advance()
    assert kernel.consumed == 3 * STRIDE
    kernel.write(4, DISCARDED)
    assert ring.read() == []
    ring.advance()
    assert kernel.consumed == 4 * STRIDE


def test_a_discard_behind_a_busy_record_waits_with_it(ring, kernel):
    kernel.reserve()
    kernel.write(2, DISCARDED)
    assert ring.read() == []
    ring.advance()
    assert kernel.consumed == 0


def test_a_limit_leaves_the_rest_for_later(ring, kernel):
    for n in range(5):
        kernel.write(n)
    assert numbers(ring.read(limit=2)) == [0, 1]
    ring.advance()
    assert (kernel.consumed, ring.waiting()) == (2 * STRIDE, 3)
    assert numbers(ring.read(limit=100)) == [2, 3, 4]
    assert ring.read(limit=0) == []


@pytest.mark.parametrize("payload", [56, 88, 168, 656])
@pytest.mark.parametrize("start", [0, 4040, 4088, 2**33 + 4000])
def test_a_full_ring_is_read_in_one_piece_across_its_end(payload, start):
    kernel = Kernel(payload=payload)
    kernel.start_at(start // kernel.stride * kernel.stride)
    ring = Ring(kernel.fd, kernel.size, payload)
    room = kernel.size // kernel.stride
    for n in range(room):
        kernel.write(n)
    assert kernel.reserve() is None
    assert numbers(ring.read()) == list(range(room))
    ring.advance()
    assert kernel.reserve() is not None
    ring.close()
    kernel.close()


def test_a_size_that_would_be_padded_is_refused(kernel):
    with pytest.raises(ValueError, match="60 bytes"):
        Ring(kernel.fd, kernel.size, 60)


def test_a_consumer_goes_on_where_the_last_one_was(kernel):
    first = Ring(kernel.fd, kernel.size, PAYLOAD)
    kernel.write(1)
    kernel.write(2)
    first.read(limit=1)
    first.advance()
    first.close()
    second = Ring(kernel.fd, kernel.size, PAYLOAD)
    assert numbers(second.read()) == [2]
    second.close()


class Model(RuleBasedStateMachine):
    """Producers that reserve, commit and discard in any order, and one reader: each record once, in order."""

    reserved = Bundle("reserved")

    @initialize(start=st.integers(0, 200))
    def begin(self, start):
        self.kernel = Kernel(payload=168)  # 23 of them and a bit: they wrap at a new place each time
        self.kernel.start_at(start * self.kernel.stride)
        self.ring = Ring(self.kernel.fd, self.kernel.size, 168)
        self.open, self.kept, self.got, self.pending = {}, {}, [], []
        self.position = self.kernel.consumed

    @rule(target=reserved)
    def reserve(self):
        at = self.kernel.reserve()
        if at is None:
            return multiple()
        self.open[at] = at
        return at

    @rule(at=reserved, discard=st.booleans())
    def finish(self, at, discard):
        if self.open.pop(at, None) is None:
            return
        self.kernel.commit(at, at, DISCARDED if discard else 0)
        if not discard:
            self.kept[at] = True

    @rule(limit=st.integers(1, 25))
    def read(self, limit):
        self.pending = numbers(self.ring.read(limit))
        border = min(self.open, default=self.kernel.produced)
        end = min(border, self.position + limit * self.kernel.stride)
        self.end = max(end, self.position)
        assert self.pending == [at for at in sorted(self.kept) if self.position <= at < self.end]

    @precondition(lambda self: hasattr(self, "end"))
    @rule()
    def advance(self):
        self.ring.advance()
        assert self.kernel.consumed == self.end
        self.got += self.pending
        self.pending = []
        self.position = self.end

    @invariant()
    def positions_only_grow_and_the_reader_stays_behind(self):
        if hasattr(self, "kernel"):
            assert self.position == self.kernel.consumed <= self.kernel.produced

    def teardown(self):
        if hasattr(self, "kernel"):
            assert self.got == [at for at in sorted(self.kept) if at < self.position]
            self.ring.close()
            self.kernel.close()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(st.integers(1, 63), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_any_batch_from_any_place_comes_back_as_it_was(count, start):
    kernel = Kernel()
    kernel.start_at(start * STRIDE)
    ring = Ring(kernel.fd, kernel.size, PAYLOAD)
    for n in range(count):
        kernel.write(n)
    assert numbers(ring.read()) == list(range(count))
    ring.close()
    kernel.close()
