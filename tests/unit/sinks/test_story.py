"""Verdicts for a person: readable in 80 columns, in one piece, harmless."""

import dataclasses
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.detectors.chain import Chain
from sigtrace.model import codes, signals
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.model.text import printable
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.headlines import after, within
from sigtrace.sinks.story import Story, belongs_to_shutdown, finding_story, headline, seconds, shutdown_story
from sigtrace.sinks.style import Style
from tests.unit.detectors.events import (
    BASH,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    IGNORED,
    MS,
    PROGRAM,
    SHELL_FORM,
    Container,
    S,
    exited,
    killed_by,
    lost,
    run,
    story,
)
from tests.unit.sinks.screen import columns, harmless, plain

PLAIN, COLOUR = Style(), Style(colour=True)
KILLED = killed_by(signals.SIGKILL)
BLOCKED = BY_DEFAULT | {"blocked": True}


def endings(box):
    """How a container may end: name → its events."""
    init = dataclasses.replace(box.init, argv=box.init.argv or SHELL_FORM)
    worker = box.child(comm="gunicorn-worker")
    seen = box.snapshot(S + MS, init, worker)
    kill = [box.kill(31 * S), box.exit(31 * S + MS, KILLED), box.exit(31 * S + 2 * MS, KILLED, worker)]
    return {
        "dropped": [box.term(S, **DROPPED), seen, *kill],
        "dropped often": [*(box.term(S + n, **DROPPED) for n in range(200)), seen, *kill],
        "ignored": [box.term(S, **IGNORED), *kill],
        "pending": [box.term(S, **BLOCKED), *kill],
        "slow": [box.term(S, **HANDLED), box.deliver(S + 1), *kill],
        "cgroup.kill": [box.term(S, **DROPPED), box.cgroup_kill(11 * S), box.exit(12 * S, KILLED)],
        "killed": [box.kill(S, BASH), box.exit(S + MS, KILLED)],
        "no stop signal": [box.kill(S), box.exit(S + MS, KILLED)],
        "oom": [box.kill(S, None), box.oom(S + 40_000), box.exit(S + MS, KILLED)],
        "graceful": [box.term(S, **HANDLED), box.exit(2 * S, exited(0))],
        "terminated": [box.term(S, **BY_DEFAULT), box.exit(S + MS, killed_by(signals.SIGTERM))],
        "crashed": [box.exit(S, killed_by(signals.SIGSEGV | 0x80))],
        "exited": [box.exit(S, exited(0))],
    }


NAMES = list(endings(Container()))


def lines_of(box, name, style=PLAIN):
    shutdown, findings = story(*endings(box)[name], until=100 * S)
    return shutdown_story(shutdown, [f for f in findings if belongs_to_shutdown(f)], style)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dropped", "SIGKILL after 30.0 s: it never heard SIGTERM"),
        ("ignored", "SIGKILL after 30.0 s: it ignores SIGTERM"),
        ("pending", "SIGKILL after 30.0 s: SIGTERM stayed pending"),
        ("slow", "SIGKILL after 30.0 s: it heard SIGTERM and was not done"),
        ("cgroup.kill", "SIGKILL after 10.0 s: it never heard SIGTERM"),
        ("killed", "SIGKILL from a shell or tool on the node; no stop signal was seen before it (manual)"),
        ("oom", "the OOM killer took its main process"),
        ("graceful", "graceful in 1.0 s"),
        ("terminated", "ended by SIGTERM's default action in 1 ms: nothing was cleaned up"),
        ("crashed", "crashed: exit 139 = 128 + SIGSEGV, core dumped"),
        ("exited", "exited: exit 0"),
    ],
)
def test_the_headline_says_it_in_half_a_line(name, words):
    shutdown, _ = story(*endings(Container())[name], until=100 * S)
    assert headline(shutdown) == words
    head = " ".join(" ".join(lines_of(Container(), name)[:3]).split())
    assert " box1 " in head
    assert words in head


def test_a_dropped_signal_is_a_story_with_its_mend():
    text = " ".join(" ".join(lines_of(Container(), "dropped")).split())
    for part in (
        'SIGTERM → PID 1 /bin/sh -c "gunicorn app"',
        "from runc (pid 70) ‹ containerd-shim ‹ systemd",
        "the kernel dropped SIGTERM: PID 1 has no handler for it",
        "gunicorn-worker (pid 2) was never told",
        "SIGKILL → PID 1; the grace period was over after 30.0 s",
        "exit 137 = 128 + SIGKILL; not the OOM killer",
        "fix exec form",
    ):
        assert part in text
    assert text.index("SIGTERM →") < text.index("SIGKILL →") < text.index("exit 137")


@pytest.mark.parametrize("name", NAMES)
def test_every_story_tells_signals_and_exit_in_order_and_colours_nothing_else(name):
    lines = lines_of(Container(), name)
    assert len(lines) >= 2
    assert [plain(line) for line in lines_of(Container(), name, COLOUR)] == lines


def text_of(*steps):
    return " ".join(" ".join(shutdown_story(*story(*steps, until=99 * S), PLAIN)).split())


def test_what_is_dropped_again_stands_in_its_story_once():
    """An operator's kill, then the runtime's stop."""
    box = Container(grace_limit_s=10.0)
    stop = [box.term(9 * S, **DROPPED), box.kill(19 * S), box.exit(19 * S + MS, KILLED)]
    text = text_of(box.term(S, BASH, **DROPPED), stop)
    assert text.count("the kernel dropped SIGTERM") == 1
    assert "at least 2 times" in text


def test_a_time_that_was_cut_short_is_not_said_to_be_over():
    box = Container(grace_limit_s=30.0)
    text = text_of(box.term(S, **DROPPED), box.kill(3 * S), box.exit(3 * S + MS, KILLED))
    assert "SIGKILL → PID 1 after 2.0 s of 30 s" in text
    assert "was over" not in text


def test_who_failed_after_a_signal_that_it_never_heard_was_asked():
    text = text_of(Container().term(S, **DROPPED), Container().exit(2 * S, exited(3)))
    assert "ended by itself with exit 3, and it had not heard SIGTERM" in text
    assert "nobody had asked" not in text


def test_of_an_end_that_was_passed_on_the_signal_is_told():
    box = Container()
    child = box.child()
    text = text_of(box.exit(S, KILLED, child), box.exit(S + MS, exited(137)))
    assert "it passed on the end of worker (pid 2), which SIGKILL had ended" in text


def test_the_oom_killer_is_denied_only_by_who_would_have_seen_it():
    """A source that sees no siginfo (ptrace) may not have seen the OOM killer's hand either."""
    box = Container()
    shutdown, found = story(box.kill(S, None, info=None, si_code=None, outside=True), box.exit(S + MS, KILLED))
    text = " ".join(" ".join(shutdown_story(shutdown, found, PLAIN)).split())
    assert "not the OOM killer" not in text
    assert "whether it was the OOM killer was not seen" in text
    assert all("not the OOM killer" not in finding.message for finding in found)


def test_the_oom_killer_is_not_denied_where_it_was_at_work():
    assert "not the OOM killer" not in " ".join(lines_of(Container(), "oom"))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "terminated"])
def test_a_story_fits_into_80_columns(name):
    for line in lines_of(Container(container_name="web"), name):
        assert columns(line) <= 80, line


@pytest.mark.parametrize("name", ["slow", "terminated"])
def test_a_story_of_a_container_without_a_name_fits_too(name):
    box = Container(container_name=None, container_id="b43d92bf1e5c" + "0" * 52)
    for line in lines_of(box, name):
        assert columns(line) <= 80, line


@pytest.mark.parametrize("name", ["dropped", "crashed"])
def test_a_story_of_a_pod_of_usual_names_fits_too(name):
    box = Container(container_name="checkout", pod="checkout-6f7d8c9b5d-x2x7q", namespace="production")
    for line in lines_of(box, name):
        assert columns(line) <= 80, line


HOSTILE = st.binary(min_size=1, max_size=100).map(printable)


@given(HOSTILE, HOSTILE, HOSTILE, st.sampled_from(NAMES))
@settings(max_examples=150, deadline=None)
def test_no_name_reaches_the_terminal_raw(comm, argument, name, ending):
    box = Container(argv=("/bin/sh", "-c", argument), container_name=name)
    box.init = dataclasses.replace(box.init, comm=comm[:15])
    for style in (PLAIN, COLOUR):
        assert all(map(harmless, lines_of(box, ending, style)))


@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_arguments_only_the_head_may_be_long(name):
    box = Container(argv=("/bin/sh", "-c", "x" * 400 + " " + "word " * 100))
    for line in lines_of(box, name)[1:]:
        assert columns(line) <= 80, line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "an unknown time"),
        (0.0, "under 1 ms"),
        (0.004, "4 ms"),
        (0.0996, "100 ms"),
        (0.1, "0.1 s"),
        (30.012, "30.0 s"),
    ],
)
def test_seconds_are_rounded_for_reading(value, text):
    assert seconds(value) == text


def test_what_took_no_time_happened_at_once():
    assert (after(30.012), after(0.0004), after(None)) == ("after 30.0 s", "at once", "after an unknown time")
    assert (within(30.012), within(0.0004), within(0.001)) == ("in 30.0 s", "at once", "in 1 ms")


def test_a_finding_alone_has_its_code_and_its_mend():
    (finding,) = run(Chain(), lost(S, count=7))
    lines = finding_story(finding, PLAIN)
    assert "sigtrace   warning: events were lost (events-lost, ring-full)" in lines[0]
    assert "7 events were not told" in " ".join(lines)
    assert any(line.startswith("  fix  ") for line in lines)
    assert max(map(columns, lines)) <= 80


@pytest.mark.parametrize(("code", "cause"), [(c, k) for c, code in codes.CODES.items() for k in code.causes])
def test_every_finding_of_the_catalogue_fits_into_80_columns(code, cause):
    (one,) = run(Chain(), lost(S))
    severity, advice = codes.severity(code, cause), codes.advice(code, cause)
    finding = dataclasses.replace(
        one,
        code=code,
        cause=cause,
        severity=severity,
        advice=advice,
        workload=Container(container_name="web").workload,
        subject=Container(argv=PROGRAM).init,
        message=codes.meaning(code, cause),
    )
    assert max(map(columns, finding_story(finding, PLAIN))) <= 80


def test_only_what_concerns_a_containers_main_process_waits_for_its_story():
    box = Container()
    dropped, killed = run(Chain(), box.term(S, **DROPPED), box.kill(2 * S))
    assert belongs_to_shutdown(dropped)
    assert belongs_to_shutdown(killed)
    (inside,) = run(Chain(), box.term(S, sender=box.child(), **DROPPED))
    assert not belongs_to_shutdown(inside)
    (hung,) = run(Chain(), box.kill(S, box.init, task=box.child()))
    assert not belongs_to_shutdown(hung)
    assert not belongs_to_shutdown(run(Chain(), lost(S))[0])


def told(*steps):
    stream = io.StringIO()
    writer = LineWriter(stream)
    sink = Story(writer, PLAIN)
    for step in steps:
        (sink.verdict if isinstance(step, Finding | Shutdown) else sink.observation)(step)
    sink.close()
    writer.close()
    return stream.getvalue()


def test_findings_wait_for_the_shutdown_they_belong_to_and_containers_do_not_mix_up():
    def verdicts(box):
        return run(Chain(), *endings(box)["dropped"])

    mixed = [v for pair in zip(verdicts(Container(1)), verdicts(Container(2)), strict=True) for v in pair]
    text = told(*mixed)
    one, two = text.index("box1"), text.index("box2")
    assert text.count("box1") == text.count("box2") == 1
    assert "SIGTERM → PID 1" in text[one:two]
    assert text.count("fix") == 2


def test_a_finding_whose_shutdown_does_not_come_is_told_alone_after_two_minutes_or_at_the_end():
    (dropped,) = run(Chain(), Container().term(S, **DROPPED))
    assert "signal-dropped" in told(dropped)
    at = dropped.time_ns + 120 * S
    stream = io.StringIO()
    writer = LineWriter(stream)
    sink = Story(writer, PLAIN)
    sink.verdict(dropped)
    sink.observation(Container(2).term(at))
    assert sink._held
    sink.observation(Container(2).term(at + 1))
    assert not sink._held
    writer.close()
    assert stream.getvalue().count("signal-dropped") == 1
