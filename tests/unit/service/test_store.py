"""Verdicts outlive the agent: what a store read back from its file is what it was given, whatever happened between."""

import os
import resource
import stat
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.service.protocol import Gap
from sigtrace.service.store import FINDING, SHUTDOWN, Store

LATER = 1 << 61


def opened(folder, said=None, now_ns=LATER, **how):
    store = Store(str(folder), (said if said is not None else []).append, **how)
    store.open(now_ns)
    return store


def kill(store):
    """As kill -9 does: nothing is written any more, and the lock is free."""
    for fd in (store._fd, store._lock_fd):
        if fd >= 0:
            os.close(fd)
    store._fd = store._lock_fd = -1
    return store


def lines(store):
    return [kept.line for kept in store.after(0)]


def fill(store, count, first=0):
    for n in range(first, first + count):
        store.add(SHUTDOWN if n % 2 else FINDING, 1000 + n, b'{"n":%d}' % n)


def test_what_was_kept_is_there_for_the_next_agent(tmp_path):
    store, said = opened(tmp_path), []
    fill(store, 10)
    kill(store)
    again = opened(tmp_path, said)
    assert lines(again) == [b'{"verdict":{"n":%d}}\n' % n for n in range(10)]
    assert (again.oldest_wall_ns, again.last_shutdown_wall_ns) == (1000, 1009)
    assert said == []


def test_a_file_that_is_cut_off_anywhere_loses_no_more_than_its_last_line(tmp_path):
    store = opened(tmp_path)
    fill(store, 5)
    kill(store)
    whole = (tmp_path / "verdicts").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "verdicts").write_bytes(whole[:length])
        assert lines(kill(opened(tmp_path))) == lines(store)[: whole[:length].count(b"\n")]
        assert not (tmp_path / "verdicts.damaged").exists()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_costs_the_lines_that_it_is_in_and_is_told_and_set_aside(tmp_path_factory, data):
    folder, said = tmp_path_factory.mktemp("state"), []
    fill(store := opened(folder), 5)
    kill(store)
    raw = bytearray((folder / "verdicts").read_bytes())
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "verdicts").write_bytes(bytes(raw))
    kept = lines(kill(opened(folder, said)))
    assert len(kept) in {3, 4}  # two where the break between them was hit
    assert len(said) == 1
    assert "damaged" in said[0]
    assert (folder / "verdicts.damaged").read_bytes() == bytes(raw)
    assert lines(opened(folder, said)) == kept
    assert len(said) == 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_file_can_be_opened(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("state")
    (folder / "verdicts").write_bytes(raw)
    store = opened(folder)
    fill(store, 1)
    assert len(lines(store)) == 1


def test_the_file_is_for_its_owner_alone_and_does_not_grow_for_ever(tmp_path):
    store = opened(tmp_path, room=10)
    for first in range(0, 20_000, 100):
        fill(store, 100, first)
    assert (tmp_path / "verdicts").stat().st_size < 200_000
    assert stat.S_IMODE((tmp_path / "verdicts").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["verdicts"]
    kill(store)
    assert lines(opened(tmp_path, room=10)) == lines(store)


def test_a_file_that_is_written_anew_takes_no_memory_to_speak_of(tmp_path):
    def add(count):
        for n in range(count):
            store.add(FINDING, n, b'{"n":"%02000d"}' % n)

    store = opened(tmp_path, room=500)
    tracemalloc.start()
    try:
        add(500)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        add(1000)
        assert tracemalloc.get_traced_memory()[1] - kept < 100_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / "verdicts").stat().st_size < 1200 * 2000


def test_a_disk_that_is_full_costs_the_file_alone_and_is_told_once(tmp_path):
    said = []
    store = opened(tmp_path, said)
    fill(store, 2)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limit[1]))
    try:
        fill(store, 5, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert len(lines(store)) == 7
    assert len(said) == 1
    assert "not kept for the next agent" in said[0]
    fill(store, 1, 7)
    kill(store)
    assert lines(opened(tmp_path)) == lines(store)


def test_a_place_that_can_be_no_folder_costs_the_file_alone(tmp_path):
    said = []
    (tmp_path / "file").touch()
    fill(store := opened(tmp_path / "file", said), 3)
    assert len(lines(store)) == 3
    assert len(said) == 1


def test_two_agents_do_not_overwrite_one_anothers_file(tmp_path):
    said = []
    first, second = opened(tmp_path), opened(tmp_path, said)
    fill(first, 3)
    fill(second, 2, 10)
    assert said == [f"verdicts are not kept for the next agent: another one keeps its own in {tmp_path}"]
    assert len(lines(second)) == 2
    kill(first)
    assert lines(opened(tmp_path)) == lines(first)


def test_a_link_is_not_followed(tmp_path):
    said = []
    (tmp_path / "state").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "state" / "verdicts").symlink_to(tmp_path / "secret")
    fill(opened(tmp_path / "state", said), 1)
    assert (tmp_path / "secret").read_text() == "secret"


def test_the_time_without_an_agent_is_remembered(tmp_path):
    store = opened(tmp_path)
    store.close()
    os.utime(tmp_path / "verdicts", ns=(5_000, 5_000))
    opened(tmp_path, now_ns=9_000).close()
    os.utime(tmp_path / "verdicts", ns=(12_000, 12_000))
    assert list(opened(tmp_path, now_ns=13_000).gaps) == [Gap(5_000, 9_000), Gap(12_000, 13_000)]


def test_without_a_folder_verdicts_are_kept_in_memory():
    store = Store(None, pytest.fail)
    store.open(LATER)
    fill(store, 3)
    store.close()
    assert len(lines(store)) == 3


def test_a_gap_that_was_found_while_it_ran_is_there_for_the_next_agent(tmp_path):
    store = opened(tmp_path)
    store.add_gap(Gap(5_000, 9_000))
    store.add_gap(Gap(6_000, 8_000, 70))
    kill(store)
    assert {Gap(5_000, 9_000), Gap(6_000, 8_000, 70)} <= set(opened(tmp_path).gaps)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_folder_of_another_user_is_neither_read_nor_written(tmp_path):
    """Its owner could put verdicts of theirs there, and they would be told as the agent's."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    kill(fill_and_give(theirs))
    said = []
    store = opened(theirs, said)
    assert lines(store) == []
    assert len(said) == 1
    assert "belongs to uid 65534" in said[0]
    before = (theirs / "verdicts").read_bytes()
    fill(store, 1)
    assert len(lines(store)) == 1
    assert (theirs / "verdicts").read_bytes() == before


def fill_and_give(folder):
    store = opened(folder)
    fill(store, 3)
    os.chown(folder, 65534, 65534)
    return store
