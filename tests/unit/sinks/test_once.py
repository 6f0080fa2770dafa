"""Two agents on the same pinned rings: each verdict is told once."""

import dataclasses

import pytest

from sigtrace.model.codes import Severity
from sigtrace.model.finding import Certainty, Finding
from sigtrace.sinks.chosen import Tally
from sigtrace.sinks.marks import Way, key_of
from sigtrace.sinks.once import Once, Told
from tests.unit.detectors.events import DROPPED, SHELL_FORM, Chain, Container, S, killed_by, run

BOOT = "6f1c"
KILLED = killed_by(9)


def verdicts(at, n=1):
    """A container that had to be killed: findings and its shutdown."""
    box = Container(n, argv=SHELL_FORM)
    steps = [box.exec(at - 1, box.init), box.term(at, **DROPPED), box.kill(at + S), box.exit(at + S + 1, KILLED)]
    told = run(Chain(), steps, until=at + 10 * S)
    assert len(told) > 2
    return told


def passed(told, *made, way=Way.TOLD):
    tally = Tally(keep=True)
    once = Once([tally], told, way)
    for verdict in made:
        once.verdict(verdict)
    return tally.verdicts


def test_what_the_one_before_us_kept_is_not_told_again():
    told = Told(BOOT)
    old = verdicts(100 * S)
    told.by(old, 102 * S)
    assert passed(told, *old) == []


def test_what_was_under_way_when_it_ended_is_told():
    told = Told(BOOT)
    first, *rest = verdicts(100 * S)
    told.by([first], 101 * S)
    assert passed(told, first, *rest) == rest


def test_another_container_is_another():
    told = Told(BOOT)
    told.by(verdicts(100 * S), 102 * S)
    assert passed(told, *verdicts(100 * S, n=2)) == verdicts(100 * S, n=2)


def test_what_is_so_old_that_it_is_not_kept_any_more_was_told():
    told = Told(BOOT)
    told.by([], 1000 * S)
    assert passed(told, *verdicts(100 * S)) == []
    assert passed(told, *verdicts(999 * S)) == verdicts(999 * S)


def test_without_a_predecessor_all_is_told():
    assert passed(Told(BOOT), *verdicts(100 * S)) == verdicts(100 * S)


def test_redaction_leaves_the_key_alone():
    verdict = verdicts(100 * S)[-1]
    redacted = dataclasses.replace(verdict, main=dataclasses.replace(verdict.main, argv=("sh",)))
    assert key_of(BOOT, redacted) == key_of(BOOT, verdict)


def test_a_boot_is_not_another():
    assert key_of("a", verdicts(S)[0]) != key_of("b", verdicts(S)[0])


def test_what_an_agent_without_pins_told_in_between_is_not_told_again_either():
    """It had the same boot's verdicts kept, but moved no position in the rings."""
    told = Told(BOOT)
    told.by([*verdicts(100 * S), *verdicts(500 * S)], 102 * S)
    assert passed(told, *verdicts(500 * S)) == []


def test_another_wall_clock_makes_no_other_verdict():
    """Each process measures its offset anew, to some nanoseconds."""
    told = Told(BOOT)
    old = verdicts(100 * S)
    told.by(old, 102 * S)
    moved = [dataclasses.replace(v, wall_ns=v.wall_ns + 60) for v in old]
    moved = [dataclasses.replace(v, first_wall_ns=v.first_wall_ns + 60) if hasattr(v, "code") else v for v in moved]
    assert passed(told, *moved) == []


def zombies(at, count=12):
    return Finding(
        code="zombie-unreaped", cause="pid1-does-not-reap", severity=Severity.WARNING, certainty=Certainty.OBSERVED,
        time_ns=at, wall_ns=at, workload=Container(1).workload, subject=Container(1).child(), message="", advice="",
        count=count, first_ns=50 * S,
    )  # fmt: skip


def test_what_a_listing_shows_again_is_no_news_unless_it_has_grown():
    told = Told(BOOT)
    told.by([zombies(100 * S)], 110 * S)
    assert passed(told, zombies(111 * S)) == []
    assert passed(told, zombies(112 * S, count=120)) == [zombies(112 * S, count=120)]
    assert passed(told, zombies(3600 * S)) == [zombies(3600 * S)], "an hour later it is"


def test_the_same_thing_an_hour_later_is_told():
    told = Told(BOOT)
    first, later = (dataclasses.replace(zombies(at), code="signal-dropped", cause="no-handler") for at in (S, 3600 * S))
    told.by([first], 2 * S)
    assert passed(told, first, later) == [later]


def test_the_last_word_of_a_fold_is_told_though_its_last_event_is_long_ago():
    told = Told(BOOT)
    told.by([], 1000 * S)
    closing = dataclasses.replace(zombies(900 * S), code="signal-dropped", cause="no-handler", closing=True)
    assert passed(told, closing) == [closing]


def test_what_is_left_out_is_shown_to_whoever_counts():
    seen = []
    told = Told(BOOT)
    old = verdicts(100 * S)
    told.by(old, 102 * S)
    once = Once([Tally()], told, on_repeat=seen.append)
    for verdict in old:
        once.verdict(verdict)
    assert seen == old


def test_what_a_fold_adds_is_told_though_it_is_not_marked_as_the_last():
    told = Told(BOOT)
    first = dataclasses.replace(zombies(900 * S, count=1), code="signal-dropped", cause="no-handler")
    told.by([first], 1000 * S)
    more = dataclasses.replace(first, count=5, time_ns=910 * S)
    assert passed(told, first, more) == [more]


def test_what_was_kept_and_not_sent_is_sent_by_the_next_and_told_no_more():
    told = Told(BOOT)
    sent, kept = verdicts(100 * S), verdicts(100 * S, n=2)
    marks = {key_of(BOOT, v): Way.TOLD | Way.SENT for v in sent} | {key_of(BOOT, v): Way.TOLD for v in kept}
    told.by([*sent, *kept], 1000 * S, marks)
    assert passed(told, *sent, *kept) == []
    assert passed(told, *sent, *kept, way=Way.SENT) == kept, "however long ago that was"
    assert passed(told, *sent, *kept, way=Way.COUNTED) == [*sent, *kept]


def test_what_has_no_mark_went_every_way():
    """An agent without pins told it, or it is so old that its mark is gone."""
    told = Told(BOOT)
    told.by(verdicts(500 * S), 502 * S, {"0" * 32: Way.TOLD})
    assert passed(told, *verdicts(500 * S), *verdicts(10 * S), way=Way.SENT) == []


def test_without_a_store_the_marks_say_what_was_told():
    told = Told(BOOT)
    old = verdicts(100 * S)
    told.by([], 102 * S, {key_of(BOOT, v): Way.TOLD for v in old})
    assert passed(told, *old) == []
    assert passed(told, *verdicts(101 * S, n=2)) == verdicts(101 * S, n=2)


@pytest.mark.parametrize(("closing", "again"), [(False, False), (True, True)])
def test_a_crash_loop_that_is_recognised_anew_in_old_records_is_no_news(closing, again):
    """Those that it began with are not in the ring any more; its last count may still come."""
    told = Told(BOOT)
    told.by([], 1000 * S)
    loop = dataclasses.replace(
        zombies(900 * S, count=3), code="crash-masked", cause="supervisor-restarts", closing=closing
    )
    assert (passed(told, loop) == [loop]) is again


def test_what_is_taken_from_what_was_kept_does_not_come_out_of_the_rings_as_well():
    told = Told(BOOT)
    old = verdicts(100 * S)
    told.by(old, 102 * S, {key_of(BOOT, v): Way.TOLD for v in old})
    told.went(old[:1], Way.SENT)
    assert passed(told, *old, way=Way.SENT) == old[1:]
    assert passed(told, *old, way=Way.COUNTED) == old
