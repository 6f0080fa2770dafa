"""Events as lines for a person."""

import dataclasses
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Info, Kind, Loss, Result, Task
from sigtrace.model.text import printable
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import EventText, clock, event_lines, fate, source, who
from tests.unit.detectors.events import BY_DEFAULT, DROPPED, HANDLED, IGNORED, MS, RUNC, WALL, Container, lost
from tests.unit.sinks.screen import columns, harmless, plain

BOX = Container()
PLAIN, COLOUR = Style(), Style(colour=True)
TERM = signals.SIGTERM


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (DROPPED, "DROPPED: PID 1 of a namespace, no handler"),
        (DROPPED | {"exiting": True}, "ignored: the target is already exiting"),
        (DROPPED | {"ns_init": False}, "ignored"),
        (IGNORED, "ignored by choice (SIG_IGN)"),
        (HANDLED, "queued"),
        (BY_DEFAULT | {"blocked": True}, "queued, blocked"),
        (BY_DEFAULT | {"blocked": True, "waited": True}, "queued, the target waits for it"),
        (HANDLED | {"stopped": True, "frozen": True}, "queued, stopped, frozen"),
        (HANDLED | {"ptraced": True}, "queued, ptraced"),
        ({"result": Result.ALREADY_PENDING}, "already pending"),
        ({"result": Result.OVERFLOW}, "lost: the queue of pending signals is full"),
        ({"result": Result.LOSE_INFO}, "queued without its siginfo"),
        ({"result": None}, ""),
    ],
)
def test_the_fate_of_a_signal_never_claims_more_than_the_kernel_said(fields, words):
    assert fate(BOX.term(0, **fields).event) == words


@pytest.mark.parametrize("signo", [17, 19, 23, 28])
def test_a_signal_that_does_nothing_by_default_is_not_dropped(signo):
    assert fate(BOX.signal(0, signo, **DROPPED).event) == "ignored by default"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "runc[70] ‹ containerd-shim ‹ systemd"),
        ({"sender": None}, "kernel"),
        ({"sender": None, "teardown": True}, "kernel, tearing the namespace down"),
        ({"sender": None, "info": Info.REAL, "si_code": -2}, "timer"),
        ({"sender": None, "info": Info.REAL, "si_code": 0x80}, "kernel"),
        ({"sender": None, "info": Info.REAL, "si_code": 1}, "kernel"),
        ({"sender": None, "info": Info.REAL, "si_code": 0}, "unknown"),
        ({"sender": None, "info": None}, "unknown"),
    ],
)
def test_a_source_is_named_as_far_as_it_is_known(fields, words):
    assert source(BOX.term(0, **fields).event) == words


def test_a_process_shows_the_pid_of_its_namespace_where_it_is_another():
    assert who(Task(4711, 1, "sh", ns_pid=1)) == "sh[4711 is 1]"
    assert who(Task(4711, 1, "sh", ns_pid=4711)) == who(Task(4711, 1, "sh")) == "sh[4711]"
    assert who(None) == "?"


@pytest.mark.parametrize("digits", [3, 6, 9])
def test_the_time_of_day_has_its_digits(digits):
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{{digits}}}", clock(WALL + 123_456_789, digits))
    assert clock(WALL + 123_456_789, digits).endswith(".123456789"[: 1 + digits])


def see(kind, **fields):
    return Observation(Event(0, WALL, kind, BOX.init, **fields), BOX.workload)


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        (BOX.term(0, **DROPPED), "SIGTERM → init[100 is 1]|box1|DROPPED|from runc[70]"),
        (BOX.deliver(0), "SIGTERM taken up by init[100 is 1] (handler)|box1"),
        (BOX.exit(0, WaitStatus(9)), "init[100 is 1] exits: exit 137 = 128 + SIGKILL|box1"),
        (see(Kind.REAP, wait_status=WaitStatus(0)), "init[100 is 1] is reaped|box1"),
        (BOX.exec(0, Container(argv=("sh", "-c", "a b")).init), 'exec init[100 is 1]|box1|sh -c "a b"'),
        (BOX.oom(0), "OOM killer chose init[100 is 1]|box1"),
        (see(Kind.TASK), "task init[100 is 1]|box1"),
        (lost(0, Loss.RATE_LIMITED, 1234), "LOST 1,234 events: rate-limited"),
        (Observation(Event(0, WALL, Kind.LOST)), "LOST 0 events: unknown"),
    ],
)
def test_each_kind_says_what_happened(observation, words):
    text = "|".join(line.strip() for line in event_lines(observation, PLAIN))
    for part in words.split("|"):
        assert part in text


NAMES = st.binary(min_size=1, max_size=15).map(printable)
HOSTILE = [printable(b) for b in (b"\x1b[2Jowned", b"a\r\nb", "\u202e\u200b".encode(), b"\xff\xfe\x9b31m")]


@given(NAMES, st.lists(st.binary(max_size=600).map(printable), min_size=1, max_size=3), st.sampled_from(Kind))
def test_no_name_or_argument_reaches_a_terminal_raw(comm, argv, kind):
    task = dataclasses.replace(BOX.init, comm=comm, argv=tuple(argv))
    workload = dataclasses.replace(BOX.workload, container_name=comm)
    sender = dataclasses.replace(RUNC, comm=comm, ancestry=(comm, comm))
    event = Event(0, WALL, kind, task, sender, signo=15, result=Result.IGNORED, wait_status=WaitStatus(9))
    for style in (PLAIN, COLOUR):
        assert all(map(harmless, event_lines(Observation(event, workload), style)))


#: What a node really has: names of 15 bytes, pids of 7 digits, ids of 12.
LONG = {"pid": 4194304, "comm": "containerd-shim", "ns_pid": 65535}
ANCESTRY = ("containerd-shim", "systemd", "systemd")


def signal_lines(result, disposition, ancestry):
    sender = dataclasses.replace(RUNC, pid=4194303, ancestry=ancestry)
    task = dataclasses.replace(BOX.init, **LONG)
    workload = dataclasses.replace(BOX.workload, container_name=None, container_id="b43d92bf1e5c" * 5)
    seen = BOX.term(0, sender=sender, task=task, result=result, disposition=disposition, ns_init=True)
    return event_lines(dataclasses.replace(seen, workload=workload), PLAIN)


@pytest.mark.parametrize("disposition", Disposition)
@pytest.mark.parametrize("result", [r for r in Result if r is not Result.OVERFLOW])
def test_a_signal_of_a_sender_without_ancestors_fits_into_80_columns(result, disposition):
    assert max(map(columns, signal_lines(result, disposition, ()))) <= 80


@pytest.mark.parametrize("result", Result)
def test_a_signal_of_a_sender_with_ancestors_fits_too(result):
    assert max(map(columns, signal_lines(result, Disposition.DEFAULT, ANCESTRY))) <= 80


@pytest.mark.parametrize("kind", [Kind.EXIT, Kind.REAP, Kind.EXEC, Kind.SIGNAL_DELIVER, Kind.OOM_KILL])
def test_every_other_event_fits_into_80_columns_in_a_pod_of_usual_names(kind):
    task = dataclasses.replace(BOX.init, **LONG, argv=("/usr/bin/java", "-Dx=" + "y" * 600))
    workload = dataclasses.replace(
        BOX.workload, container_name="checkout", pod="checkout-6f7d8c9b5d-x2x7q", namespace="production"
    )
    event = Event(0, WALL, kind, task, signo=15, disposition=Disposition.HANDLER, wait_status=WaitStatus(0x8B))
    for line in event_lines(Observation(event, workload), PLAIN):
        assert columns(line) <= 80, line


def test_a_long_command_of_wide_characters_fits_too():
    task = dataclasses.replace(BOX.init, argv=("起動" * 60,))
    for line in event_lines(BOX.exec(0, task), PLAIN):
        assert columns(line) <= 80, line


def test_colour_changes_nothing_but_colour():
    for observation in (BOX.term(0, **DROPPED), BOX.oom(0), lost(0), BOX.exec(0, BOX.init)):
        coloured = event_lines(observation, COLOUR)
        assert "\x1b[" in "".join(coloured)
        assert [plain(line) for line in coloured] == event_lines(observation, PLAIN)


def test_the_sink_writes_what_was_chosen_in_one_piece():
    stream = io.StringIO()
    writer = LineWriter(stream)
    sink = EventText(writer, PLAIN, lambda o: o.event.signo == TERM)
    sink.observation(BOX.term(0, **DROPPED))
    sink.observation(BOX.kill(MS))
    assert writer.close() == 0
    assert stream.getvalue().splitlines() == event_lines(BOX.term(0, **DROPPED), PLAIN)
    assert "SIGKILL" not in stream.getvalue()
    assert sink.take_dropped() == 0
