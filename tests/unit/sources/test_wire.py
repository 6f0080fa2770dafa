"""Records decode to their events, and no bytes of a hostile container raise or reach a terminal."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model.event import Disposition, Event, Info, Kind, Result, Task
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


@pytest.mark.parametrize(("kind", "number"), [(Kind.EXIT, 3), (Kind.REAP, 4)])
def test_an_end_has_a_status_and_nothing_of_signals(kind, number):
    event = wire.decode(bits(kind=number, code=0x8B, target=TARGET, time_ns=1), 0)
    assert event == Event(1, 1, kind, DECODED, wait_status=WaitStatus(0x8B))


def test_an_exec_has_its_argv_and_says_if_it_was_cut():
    assert wire.decode(life(b"sh\0-c\0x\0", kind=5), 0).task.argv == ("sh", "-c", "x")
    assert wire.decode(life(b"sh\0" + b"a" * 477, kind=5, flags=Flag.TRUNCATED), 0).task.argv[1].endswith("a…")
    assert wire.decode(life(b"", kind=5), 0).task.argv == ()


def test_a_cgroup_has_a_name_and_ids():
    raw = life(b"pod\n1", time_ns=5, kind=7, target={"cgroup": 33, "parent_cgroup": 22})
    expected = Event(5, 6, Kind.CGROUP_MKDIR, cgroup_id=33, cgroup_parent_id=22, cgroup_name=r"pod\x0a1")
    assert wire.decode(raw, 1) == expected


@pytest.mark.parametrize("flag", [f for f in Flag if f.name not in {"BLOCKED", "REAL_BLOCKED", "SENDER", "TRUNCATED"}])
def test_each_flag_is_one_field_of_the_event(flag):
    event = wire.decode(bits(kind=1, flags=flag), 0)
    name = flag.name.lower()
    assert getattr(event, name) is True
    assert wire.decode(bits(kind=1, flags=~flag & 0x1FFFF), 0).__getattribute__(name) is False


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
def test_a_snapshot_of_any_bytes_gives_its_whole_records(raw):
    events = wire.decode_snapshot(raw, 7, 1)
    assert len(events) == len(raw) // wire.SNAPSHOT.size
    assert {(e.kind, e.time_ns, e.wall_ns) for e in events} <= {(Kind.TASK, 7, 8)}
    assert all(harmless(e.task.comm) for e in events)


def test_a_snapshot_has_masks_and_a_status_of_zombies_alone():
    task = [TARGET[f] for f in FIELDS]
    raw = wire.SNAPSHOT.pack(*task, 1, 2, 3, 4, 5, 77, 9, 0) + wire.SNAPSHOT.pack(
        *task, 0, 0, 0, 0, 0, 0, 9, Flag.ZOMBIE
    )
    alive, zombie = wire.decode_snapshot(raw, 0, 0)
    assert alive.task == DECODED
    masks = alive.masks
    assert [masks.blocked, masks.real_blocked, masks.pending, masks.caught, masks.ignored] == [1, 2, 3, 4, 5]
    assert (alive.wait_status, alive.zombie, alive.argv_len) == (None, False, 77)
    assert (zombie.wait_status, zombie.zombie) == (WaitStatus(9), True)
