"""What was lost while nobody read the rings, told with its time."""

import pytest

from sigtrace.agent.unread import Unread
from sigtrace.model.event import Event, Kind, Loss
from sigtrace.model.workload import Observation
from sigtrace.service.protocol import Gap
from tests.unit.detectors.events import S

WALL = 1_700_000_000 * S


def lost(at, loss=Loss.RING_FULL, count=7):
    return Observation(Event(at, WALL + at, Kind.LOST, loss=loss, count=count))


@pytest.fixture
def told():
    return []


@pytest.fixture
def unread(told):
    return Unread(told.append)


def test_what_found_no_room_is_told_with_the_time_from_the_last_reader_to_this_one(unread, told):
    unread.since(100 * S, 200 * S)
    unread.observation(Observation(Event(150 * S, WALL + 150 * S, Kind.EXIT)))
    unread.observation(lost(200 * S, Loss.RATE_LIMITED))
    unread.observation(lost(200 * S))
    assert told == [Gap(WALL + 100 * S, WALL + 200 * S, 7)]


def test_what_is_lost_later_is_no_such_gap(unread, told):
    unread.since(100 * S, 200 * S)
    unread.observation(lost(201 * S))
    unread.observation(lost(200 * S))
    assert told == []


def test_without_pins_there_was_nobody_before(unread, told):
    unread.since(0, 200 * S)
    unread.observation(lost(200 * S))
    assert told == []
