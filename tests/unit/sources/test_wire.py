"""Records decode to their events, and no bytes of a hostile container raise or reach a terminal."""

import dataclasses
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model.event import Disposition, Event, Info, Kind, Masks, Result, Task
from sigtrace.model.record import event_record
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation
from sigtrace.sources import wire
from sigtrace.sources.wire import Flag
from tests.unit.sinks.screen import harmless

FIELDS = "start_ns cgroup parent_start_ns parent_cgroup tgid tid nspid pidns uid parent_tgid comm".split()
HEAD = "time_ns kind signo result disposition flags code info".split()


def bits(**fields):
    """struct event as bytes; the target and the sender as dicts of FIELDS."""
    words = [fields.get(f, 0) for f in HEAD]
    for who in ("target", "sender"):
        task = fields.get(who, {})
        words += [task.get(f, b"" if f == "comm" else 0) for f in FIELDS]
    return wire.EVENT.pack(*words)


def life(text=b"", **fields):
    return bits(**fields) + struct.pack("<II480s", len(text), 0, text)


TARGET = dict(zip(FIELDS, [11, 12, 13, 14, 15, 16, 1, 18, 19, 20, b"app\0\x01junk"], strict=True))
DECODED = Task(15, 11, "app", 16, 1, 18, 19, cgroup_id=12, parent_pid=20, parent_start_ns=13, parent_cgroup_id=14)


def test_a_generated_signal_decodes_to_its_event():
    flags = Flag.SENDER | Flag.OUTSIDE | Flag.NS_INIT | Flag.CONTAINER_INIT | Flag.GROUP | Flag.BLOCKED
    raw = life(
        b"containerd-shim\0systemd\0\0\0\0\0\0\0\0\0",
        time_ns=1000,
        kind=1,
        signo=15,
        result=1,
        disposition=0,
        flags=flags,
        code=-1,
        info=2,
        target=TARGET,
        sender={"tgid": 7, "start_ns": 8, "comm": b"0123456789abcdef"},
    )
    assert wire.decode(raw, 500) == Event(
        1000,
        1500,
        Kind.SIGNAL_GENERATE,
        DECODED,
        Task(7, 8, "0123456789abcdef", uid=0, ancestry=("containerd-shim", "systemd")),
        signo=15,
        result=Result.IGNORED,
        disposition=Disposition.DEFAULT,
        si_code=-1,
        info=Info.REAL,
        group=True,
        blocked=True,
        ns_init=True,
        container_init=True,
        outside=True,
    )


def test_without_a_sender_or_a_siginfo_nothing_is_made_up():
    event = wire.decode(bits(kind=1, signo=9, code=0x80, info=1, sender={"tgid": 7}), 0)
    assert (event.sender, event.si_code, event.info) == (None, None, Info.PRIV)
    assert wire.decode(bits(kind=2, signo=15), 0).result is None


def test_an_exit_has_a_status_the_parent_whose_wait_it_awaits_and_nothing_of_signals():
    event = wire.decode(bits(kind=3, code=0x8B, target=TARGET, sender={"tgid": 7, "start_ns": 8}, time_ns=1), 0)
    parent = Task(7, 8, uid=0)
    assert event == Event(1, 1, Kind.EXIT, DECODED, wait_status=WaitStatus(0x8B), parent=parent)


def test_who_is_reaped_has_a_status_and_no_parent_any_more():
    event = wire.decode(bits(kind=4, code=0x8B, target=TARGET, time_ns=1), 0)
    assert event == Event(1, 1, Kind.REAP, DECODED, wait_status=WaitStatus(0x8B))


@pytest.mark.parametrize(("result", "levels"), [(0, None), (1, 0), (2, 1), (9, 8)])
def test_an_oom_kill_says_how_far_above_the_victim_the_limit_was(result, levels):
    event = wire.decode(bits(kind=6, result=result, flags=Flag.OOM_GROUP, target=TARGET), 0)
    assert (event.kind, event.task, event.oom_levels) == (Kind.OOM_KILL, DECODED, levels)
    assert event.oom_group
    assert (event.result, event.wait_status, event.sender) == (None, None, None)


def test_an_exec_has_its_argv_and_says_if_it_was_cut():
    assert wire.decode(life(b"sh\0-c\0x\0", kind=5), 0).task.argv == ("sh", "-c", "x")
    assert wire.decode(life(b"sh\0" + b"a" * 477, kind=5, flags=Flag.TRUNCATED), 0).task.argv[1].endswith("a…")
    assert wire.decode(life(b"", kind=5), 0).task.argv == ()


def test_a_cgroup_has_a_name_and_ids():
    raw = life(b"pod\n1", time_ns=5, kind=7, target={"cgroup": 33, "parent_cgroup": 22})
    expected = Event(5, 6, Kind.CGROUP_MKDIR, cgroup_id=33, cgroup_parent_id=22, cgroup_name=r"pod\x0a1")
    assert wire.decode(raw, 1) == expected


#: What a flag is called in an event; those of None say how a record is to be read.
FIELD_OF = {f: f.name.lower() for f in Flag} | {
    Flag.BLOCKED: "blocked",
    Flag.REAL_BLOCKED: "waited",
    Flag.MAIN: "watched",
    Flag.SENDER: None,
    Flag.TRUNCATED: None,
    Flag.THREAD: None,
    Flag.PARENT: None,
    Flag.YOUNG: None,
}
EVERY = sum(Flag)


@pytest.mark.parametrize("flag", [f for f in Flag if FIELD_OF[f]])
def test_each_flag_is_one_field_of_the_event(flag):
    event, without = wire.decode(bits(kind=1, flags=flag), 0), wire.decode(bits(kind=1, flags=EVERY & ~flag), 0)
    assert getattr(event, FIELD_OF[flag]) is True
    if flag is not Flag.BLOCKED:  # waiting for it is blocking it
        assert getattr(without, FIELD_OF[flag]) is False


def test_no_field_of_an_event_is_any_flags_but_its_own():
    fields = {f.name for f in dataclasses.fields(Event) if f.type == "bool"} | {"blocked"}
    for flag in Flag:
        event = wire.decode(bits(kind=1, flags=flag), 0)
        extra = {"blocked"} if flag is Flag.REAL_BLOCKED else set()
        assert {name for name in fields if getattr(event, name)} == {FIELD_OF[flag]} - {None} | extra


def test_waiting_for_a_signal_is_blocking_it():
    event = wire.decode(bits(kind=1, flags=Flag.REAL_BLOCKED), 0)
    assert (event.blocked, event.waited) == (True, True)
    assert wire.decode(bits(kind=1, flags=Flag.BLOCKED), 0).waited is False


def test_a_kind_of_a_later_version_is_passed_over():
    assert wire.decode(bits(kind=9), 0) is None
    assert wire.decode(bits(kind=0), 0) is None


def test_a_result_of_a_later_kernel_is_unknown():
    event = wire.decode(bits(kind=1, result=5, disposition=3, info=3), 0)
    assert (event.result, event.disposition, event.info) == (None, None, None)


def of_size(size):
    return st.binary(min_size=size, max_size=size)


#: Mostly with a kind that is known: random bytes hardly ever have one.
RAW = st.one_of(of_size(wire.EVENT.size), of_size(wire.LIFE.size)).flatmap(
    lambda raw: st.builds(lambda kind: raw[:8] + bytes([kind]) + raw[9:], st.integers(0, 10))
)


@given(RAW, st.integers(-(2**62), 2**62))
def test_no_bytes_of_a_hostile_container_raise_or_reach_a_terminal(raw, offset):
    event = wire.decode(raw, offset)
    if event is None:
        return
    texts = [event.cgroup_name]
    for task in (event.task, event.sender):
        if task:
            texts += [task.comm, *(task.argv or ()), *task.ancestry]
    assert all(map(harmless, texts)), texts
    if 0 <= event.wall_ns < 2**63:
        assert event_record(Observation(event))


@given(st.binary(max_size=5 * wire.SNAPSHOT.size))
def test_a_snapshot_of_any_bytes_raises_nothing_and_gives_no_more_than_its_whole_records(raw):
    events = wire.decode_snapshot(raw, 7, 1)
    assert len(events) <= len(raw) // wire.SNAPSHOT.size
    assert {(e.kind, e.time_ns, e.wall_ns) for e in events} <= {(Kind.TASK, 7, 8)}
    assert all(harmless(e.task.comm) for e in events)


def listed(*, flags=0, status=0, exit_ns=0, argv_len=0, masks=(0, 0, 0, 0, 0), **task):
    """A record of the snapshot."""
    words = [(TARGET | task)[f] for f in FIELDS]
    return wire.SNAPSHOT.pack(*words, *masks, exit_ns, argv_len, status, flags)


def test_a_snapshot_has_masks_and_a_status_of_zombies_alone():
    raw = listed(masks=(1, 2, 3, 4, 5), argv_len=77, status=9)
    raw += listed(tgid=99, flags=Flag.ZOMBIE, status=9, exit_ns=123)
    alive, zombie = wire.decode_snapshot(raw, 0, 0)
    assert alive.task == DECODED
    assert alive.masks == Masks(1, 2, 3, 4, 5)
    assert (alive.wait_status, alive.zombie, alive.argv_len, alive.parent) == (None, False, 77, None)
    assert (zombie.wait_status, zombie.zombie, zombie.exit_ns) == (WaitStatus(9), True, 123)


def test_a_zombies_parent_follows_it_with_the_length_of_its_argv():
    raw = listed(flags=Flag.ZOMBIE, exit_ns=5) + listed(tgid=7, start_ns=8, argv_len=33, flags=Flag.PARENT)
    (zombie,) = wire.decode_snapshot(raw, 0, 0)
    assert (zombie.task.key, zombie.parent.key, zombie.argv_len) == (DECODED.key, (7, 8), 33)
    assert zombie.zombie


def test_a_parent_without_a_zombie_before_it_is_passed_over():
    assert wire.decode_snapshot(listed(flags=Flag.PARENT), 0, 0) == []


def test_one_parent_of_two_zombies_is_each_ones():
    parent = listed(tgid=7, start_ns=8, flags=Flag.PARENT)
    raw = listed(flags=Flag.ZOMBIE) + parent + listed(tgid=99, flags=Flag.ZOMBIE) + parent
    assert [(e.task.pid, e.parent.pid) for e in wire.decode_snapshot(raw, 0, 0)] == [(15, 7), (99, 7)]


@pytest.mark.parametrize("first", [False, True])
def test_a_process_blocks_what_all_its_threads_block_and_waits_for_what_one_waits_for(first):
    leader = listed(masks=(0b0111, 0b0001, 0b1000, 0, 0))
    threads = listed(flags=Flag.THREAD, masks=(0b0110, 0b0010, 0, 0, 0)) + listed(
        flags=Flag.THREAD, masks=(0b1111, 0, 0, 0, 0)
    )
    (event,) = wire.decode_snapshot(threads + leader if first else leader + threads, 0, 0)
    assert (event.masks.blocked, event.masks.real_blocked, event.masks.pending) == (0b0110, 0b0011, 0b1000)


def test_threads_of_a_leader_that_is_not_listed_are_nobodys():
    assert wire.decode_snapshot(listed(flags=Flag.THREAD), 0, 0) == []


@pytest.mark.parametrize(
    ("only", "tgids"),
    [
        (None, [1, 2, 3]),
        (({18}, ()), [1]),
        (((), {12}), [1, 2]),
        (({19}, {77}), [2, 3]),
        (((), ()), []),
    ],
)
def test_a_snapshot_may_be_of_some_namespaces_and_cgroups(only, tgids):
    raw = listed(tgid=1) + listed(tgid=2, pidns=19) + listed(tgid=3, cgroup=77, pidns=20)
    assert [e.task.pid for e in wire.decode_snapshot(raw, 0, 0, only)] == tgids


def test_what_a_process_takes_from_descriptors_is_of_all_of_them():
    rows = [(8, 0b01, 7, 0), (8, 0b10, 7, 0), (9, 0b100, 7, 0)]
    raw = b"".join(wire.SIGNALFD.pack(*row) for row in rows)
    assert wire.decode_signalfds(raw + b"half") == {(7, 8): 0b11, (7, 9): 0b100}
    assert wire.decode_signalfds(b"") == {}


def test_a_records_time_is_read_without_the_rest():
    assert wire.time_of(bits(kind=1, time_ns=2**63 + 5)) == 2**63 + 5
