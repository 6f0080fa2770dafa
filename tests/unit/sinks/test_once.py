"""Two agents on the same pinned rings: each verdict is told once."""

import dataclasses

from sigtrace.model.codes import Severity
from sigtrace.model.finding import Certainty, Finding
from sigtrace.sinks.chosen import Tally
from sigtrace.sinks.once import Once, Told, key_of
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


def passed(told, *made):
    tally = Tally(keep=True)
    once = Once([tally], told)
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
    told = Told(BOOT, seen.append)
    old = verdicts(100 * S)
    told.by(old, 102 * S)
    passed(told, *old)
    assert seen == old


def test_what_a_fold_adds_is_told_though_it_is_not_marked_as_the_last():
    told = Told(BOOT)
    first = dataclasses.replace(zombies(900 * S, count=1), code="signal-dropped", cause="no-handler")
    told.by([first], 1000 * S)
    more = dataclasses.replace(first, count=5, time_ns=910 * S)
    assert passed(told, first, more) == [more]
