"""What /proc tells of a thread that begins or ends to wait while it is read."""

import os

import pytest

from sigtrace.model.event import Masks
from sigtrace.sources.ptrace import onlooker

WAITS = 1 << 14  # SIGTERM


@pytest.fixture
def state(monkeypatch):
    """Its masks, where it waits for these at one look after the other; the last goes on."""

    def seen(*looks):
        left = list(looks)
        monkeypatch.setattr(onlooker, "waits_of", lambda _pid, _tid: left.pop(0) if len(left) > 1 else left[0])
        monkeypatch.setattr(onlooker, "threads_of", lambda pid: [pid])
        return onlooker.masks_of(os.getpid(), Masks())

    return seen


def test_who_begins_to_wait_between_two_files_is_not_taken_for_one_that_hears(state):
    masks = state(0, WAITS, WAITS)
    assert masks.real_blocked & ~masks.blocked == WAITS


def test_who_ends_to_wait_between_two_files_does_not_wait(state):
    assert state(WAITS, 0, 0).real_blocked == 0


def test_who_comes_and_goes_all_the_time_is_not_known(state):
    assert state(*[0, WAITS] * 20) is None
