"""What is known of each container: its main process, who lives in it, who entered it, what it was asked."""

import dataclasses

import pytest

from sigtrace.detectors import containers as module
from sigtrace.detectors.container import kills
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.stop import is_sent_otherwise, is_stop_signal
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind, Result
from sigtrace.model.workload import Observation, WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    DROPPED,
    HANDLED,
    IGNORED,
    KILLED,
    MS,
    PROGRAM,
    RUNC,
    RUNC_AGAIN,
    SHELL_FORM,
    TAKEN,
    Container,
    S,
    exited,
    flat,
    story,
)

BOX = Container()
LIMITED = Container(grace_limit_s=30.0)
HOST = Container(2, host_pid=True)
INIT = Container(argv=PROGRAM).init


def fed(*steps):
    """The containers, and the one of the first step, after these."""
    containers = Containers()
    for observation in flat(*steps):
        containers.feed(observation)
        containers.ended(observation)
    return containers.of(flat(*steps)[0])


def names(members):
    return [m.task.comm for m in members]


def removed(box, at):
    """Its cgroup's end."""
    event = Event(at, at, Kind.CGROUP_RMDIR, cgroup_id=box.init.cgroup_id)
    return Observation(event, box.exec(at, box.init).workload)


# ---- what is forgotten


def test_a_container_whose_cgroup_is_gone_is_remembered_for_a_minute():
    containers, other = Containers(), Container(5)
    for observation in flat(BOX.exec(1, INIT), other.exec(2, other.init), removed(BOX, S)):
        containers.feed(observation)
    assert len(list(containers)) == 2
    containers.feed(removed(Container(6), 60 * S))
    assert len(list(containers)) == 2
    containers.feed(removed(Container(7), 62 * S))
    assert [c.workload.cgroup_id for c in containers] == [other.init.cgroup_id]


def test_what_is_told_late_of_a_forgotten_one_does_not_make_it_known_again():
    containers, late = Containers(), BOX.exec(1, INIT)
    for observation in (late, removed(BOX, S), removed(Container(7), 62 * S)):
        containers.feed(observation)
    assert containers.of(late).workload == late.workload
    assert not list(containers)


def test_so_is_one_whose_story_is_told():
    containers = Containers()
    for observation in flat(BOX.exec(1, INIT), removed(BOX, S)):
        containers.feed(observation)
    containers.retire(next(iter(containers)))
    assert containers.of(BOX.exec(3, INIT)).main is not None
    containers.feed(removed(Container(7), 62 * S))
    assert containers.of(BOX.exec(3, INIT)).main is None


def test_who_was_told_to_end_long_ago_is_forgotten_and_who_was_not_stays():
    """php-fpm ends idle children by SIGQUIT: they exit with 0, of which there is no record."""
    containers, lives = Containers(), BOX.child(1)
    steps = [
        BOX.exec(1, INIT),
        BOX.term(2),
        BOX.exec(3, lives),
        BOX.signal(4, signals.SIGQUIT, task=BOX.child(2), **BLOCKED),
    ]
    steps += [BOX.signal(n * 10 * S, signals.SIGQUIT, task=BOX.child(10 + n), **HANDLED) for n in range(60, 1060)]
    for observation in flat(*steps):
        containers.feed(observation)
    (container,) = containers
    assert len(container.members) <= 2 * 64
    assert {INIT.key, lives.key, BOX.child(2).key, BOX.child(10 + 1059).key} <= set(container.members)


def test_of_others_ends_only_those_that_may_still_explain_something_are_kept():
    """A probe that fails each ten seconds."""
    container = fed(
        BOX.exec(1, INIT),
        *[BOX.exit(n * 5 * S, exited(1), BOX.child(n)) for n in range(2, 100)],
        BOX.exit(500 * S, exited(1)),
    )
    assert [death.event.time_ns // S for death in container.deaths] == [485, 490, 495]


def test_a_shell_that_entered_and_was_interrupted_is_remembered_however_many_others_go():
    """What is started in it later came in with it."""
    containers, shell = Containers(), BOX.child(1, "bash", RUNC)
    steps = [
        BOX.exec(1, INIT),
        BOX.exec(2, shell, cgroup_entered=True),
        BOX.signal(3, signals.SIGINT, task=shell, **HANDLED),
    ]
    steps += [BOX.signal(n * 10 * S, signals.SIGQUIT, task=BOX.child(10 + n), **HANDLED) for n in range(1, 500)]
    for observation in flat(*steps):
        containers.feed(observation)
    (container,) = containers
    assert container.members[shell.key].entered


# ---- the main process and its argv


def test_argv_is_remembered_for_events_that_do_not_have_it():
    container = fed(BOX.exec(1, INIT), BOX.term(2))
    assert container.known(BOX.init).argv == PROGRAM
    assert container.known(Container(2).init) == Container(2).init
    assert container.is_main(BOX.init)
    assert not container.is_main(BOX.child())
    assert not container.is_main(None)


def test_a_new_program_replaces_the_old_ones_argv():
    again = dataclasses.replace(INIT, argv=("/usr/bin/app", "--other"))
    assert fed(BOX.exec(1, INIT), BOX.exec(2, again)).known(BOX.init).argv == ("/usr/bin/app", "--other")


def test_a_process_that_becomes_another_program_has_its_name():
    before, after = BOX.child(1, "runc:[2:INIT]"), BOX.child(1, "app")
    container = fed(BOX.term(1, task=before), BOX.term(2, task=after))
    assert names(container.others()) == ["app"]
    known = BOX.child(1, "app", argv=("app", "--now"))
    container = fed(BOX.exec(1, known), BOX.term(2, task=BOX.child(1, "app-worker-0")))
    assert container.known(BOX.child(1)).argv == ("app", "--now")


def test_whether_default_actions_apply_to_it_is_another_matter():
    assert fed(BOX.exec(1, BOX.init)).main_is_init
    assert not fed(HOST.exec(1, HOST.init)).main_is_init


def test_what_is_no_container_is_none():
    for kind in (WorkloadKind.SANDBOX, WorkloadKind.UNIT, WorkloadKind.HOST, WorkloadKind.SESSION):
        assert fed(Container(kind=kind).term(1)) is None
    assert Containers().of(dataclasses.replace(BOX.term(1), workload=None)) is None


# ---- who lives there


def test_others_are_all_but_the_main_process_the_oldest_first():
    one, two = BOX.child(1, "one"), BOX.child(2, "two")
    container = fed(BOX.exec(1, INIT), BOX.exec(2, two), BOX.exec(3, one))
    assert names(container.others()) == ["one", "two"]


def test_who_exits_is_gone_and_a_zombie_was_never_there():
    one, two = BOX.child(1, "one"), BOX.child(2, "two")
    assert names(fed(BOX.exec(1, one), BOX.exec(2, two), BOX.exit(3, exited(0), one)).others()) == ["two"]
    assert names(fed(BOX.exec(1, one), BOX.zombie(2, two)).others()) == ["one"]


def test_a_listing_says_who_has_gone_unnoticed():
    old, new = BOX.child(1, "old"), BOX.child(2, "new")
    assert names(fed(BOX.exec(1, old), BOX.snapshot(9, BOX.init, new)).others()) == ["new"]


def test_a_listing_may_tell_a_child_before_its_main_process():
    assert names(fed(BOX.snapshot(1, BOX.child(comm="one"), INIT)).others()) == ["one"]


def test_residents_did_not_enter_from_outside_nor_did_their_ancestors():
    probe, worker = BOX.guest(50, "probe"), BOX.child(1, "worker")
    of_probe, of_worker = BOX.child(51, "sleep", parent=probe), BOX.child(2, "thread", parent=worker)
    container = fed(BOX.exec(1, INIT), [BOX.exec(2, t) for t in (probe, worker, of_probe, of_worker)])
    assert names(container.residents()) == ["worker", "thread"]
    assert len(container.others()) == 4


def test_the_main_process_entered_too_and_its_children_did_not():
    worker = HOST.child(1, "worker")
    assert names(fed(HOST.exec(1, HOST.init), HOST.exec(2, worker)).residents()) == ["worker"]


def test_members_are_bounded_and_the_main_process_is_never_forgotten():
    steps = [BOX.exec(1, INIT)]
    steps += [BOX.exec(1 + k, BOX.child(k, pid=10_000 + k)) for k in range(1, 3 * module._MEMBERS_MAX)]
    container = fed(steps)
    assert len(container.members) == module._MEMBERS_MAX
    assert INIT.key in container.members


def test_entries_are_bounded_and_a_command_that_entered_before_is_known():
    steps = [BOX.exec(k, BOX.guest(50 + k, argv=("probe",))) for k in range(200)]
    container = fed(steps)
    assert len(container.entries) <= 64
    running, *probes = container.entries.values()
    assert not running.repeated  # the first, which may be a hook that runs for minutes
    assert all(e.repeated for e in probes)


def test_containers_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MAX", 50)
    containers = Containers()
    for n in range(1, 500):
        containers.feed(Container(n).term(n))
    assert len(list(containers)) <= 51


# ---- what it was asked


@pytest.mark.parametrize("signo", [signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, 37])
def test_these_ask_a_container_to_stop(signo):
    assert is_stop_signal(BOX.signal(0, signo))


@pytest.mark.parametrize("signo", [s for s in range(1, 65) if s not in {2, 3, 15, 37}])
def test_all_others_only_if_they_are_the_configured_stop_signal(signo):
    assert not is_stop_signal(BOX.signal(0, signo, BASH))
    assert is_stop_signal(Container(stop_signal=signo).signal(0, signo))


@pytest.mark.parametrize(
    "observation",
    [
        BOX.term(0, sender=BOX.child()),
        BOX.term(0, sender=None),
        BOX.term(0, task=BOX.child()),
        BOX.term(0, task=BOX.nested()),
        BOX.term(0, teardown=True, sender=None),
        BOX.term(0, exiting=True, result=Result.IGNORED, disposition=HANDLED["disposition"]),
        BOX.term(0, leaving=True),
        BOX.signal(0, signals.SIGHUP, BASH),
        BOX.signal(0, signals.number("USR1"), BASH),
        HOST.term(0, sender=HOST.child()),
    ],
)
def test_what_asks_the_main_process_for_nothing_is_no_request(observation):
    container = fed(observation)
    assert container.stop.requests == []


@pytest.mark.parametrize("box", [BOX, HOST])
def test_a_signal_that_kills_at_once_says_exiting_of_itself_and_is_a_request_all_the_same(box):
    assert len(fed(box.term(0, exiting=True)).stop.requests) == 1


@pytest.mark.parametrize("result", [Result.OVERFLOW, Result.IGNORED, Result.LOSE_INFO])
def test_a_kill_that_did_not_arrive_is_none(result):
    assert not kills(BOX.kill(0, result=result).event)
    assert fed(BOX.kill(0, result=result)).stop.kill is None


def test_the_first_kill_counts():
    first = BOX.kill(1)
    assert fed(first, BOX.kill(2, BASH)).stop.kill is first


def test_a_kill_belongs_to_the_latest_stop_signal_that_fits():
    mine, other, again = BOX.term(1, RUNC), BOX.term(2, BASH), BOX.term(3, RUNC)
    assert fed(mine, other, BOX.kill(9, RUNC_AGAIN)).stop.request_of_kill() is mine
    assert fed(mine, other, again, BOX.kill(9, RUNC_AGAIN)).stop.request_of_kill() is again
    assert fed(mine, other, BOX.kill(9, BASH)).stop.request_of_kill() is other
    assert fed(mine, BOX.kill(9, BASH)).stop.request_of_kill() is None


def test_a_stop_signal_after_the_kill_is_none_of_its():
    assert fed(LIMITED.kill(1), LIMITED.term(2)).stop.request_of_kill() is None


@pytest.mark.parametrize(("box", "sender", "window_s"), [(LIMITED, BASH, 35), (LIMITED, RUNC, 600), (BOX, BASH, 600)])
def test_a_request_is_forgotten_when_it_is_too_old_to_be_the_reason(box, sender, window_s):
    """A runtime may have been told to wait longer than is configured."""
    stop = fed(box.term(S, sender)).stop
    assert stop.request(S + window_s * S) is not None
    assert stop.request(S + window_s * S + 1) is None


@pytest.mark.parametrize("signo", [signals.SIGINT, signals.SIGQUIT])
def test_what_is_also_sent_for_something_else_is_forgotten_after_a_minute(signo):
    stop = fed(BOX.signal(S, signo)).stop
    assert stop.request(S + 60 * S) is not None
    assert stop.request(S + 60 * S + 1) is None
    assert fed(Container(stop_signal=signo).signal(S, signo)).stop.request(S + 61 * S) is not None


def test_without_a_kill_the_latest_stop_signal_counts():
    late = BOX.term(2, BASH)
    assert fed(BOX.term(1), late).stop.request(3) is late
    assert fed(BOX.exec(1, INIT)).stop.request(3) is None
    assert fed(BOX.term(1, BASH), BOX.kill(2)).stop.request(3) is None


def test_sixteen_stop_signals_are_remembered_the_first_and_the_latest():
    stop = fed([BOX.term(n) for n in range(100)]).stop
    assert [r.event.time_ns for r in stop.requests] == [0, *range(85, 100)]


def test_only_deliveries_of_what_was_asked_are_kept():
    stop = fed(BOX.deliver(0), BOX.term(1, **HANDLED), BOX.deliver(2, signals.SIGCHLD), BOX.deliver(3)).stop
    assert [d.time_ns for d in stop.deliveries] == [3]
    assert stop.delivered(stop.requests[0])


@pytest.mark.parametrize(
    ("fields", "listing", "delivered"),
    [
        (TAKEN, None, True),
        (BLOCKED, None, False),
        (BLOCKED, 0, True),
        (BLOCKED, signals.SIGTERM, False),
        (BLOCKED, signals.SIGINT, True),
        (DROPPED, 0, False),
        (IGNORED, 0, False),
    ],
)
def test_taken_is_what_was_queued_and_does_not_pend_any_more(fields, listing, delivered):
    steps = [BOX.term(1, **fields), [] if listing is None else BOX.snapshot(2, BOX.init, pending=listing)]
    stop = fed(steps).stop
    assert stop.delivered(stop.requests[0]) is delivered


def test_who_was_told_since_it_was_asked_to_stop():
    before, told, itself, late = (BOX.child(k) for k in (1, 2, 3, 4))
    container = fed(
        BOX.exec(1, INIT),
        [BOX.exec(2, task) for task in (before, told, itself, late)],
        BOX.term(3, BOX.init, task=before, **HANDLED),
        BOX.term(4, **HANDLED),
        BOX.term(5, BOX.init, task=told, **HANDLED),
        BOX.signal(6, signals.SIGABRT, itself, task=itself),
        BOX.kill(7, BOX.init, task=late),
        BOX.signal(8, signals.SIGCHLD, None, task=late),
    )
    assert [m.task.key for m in container.others() if m.asked] == [told.key]


# ---- the OOM killer's marks


def test_a_mark_belongs_to_the_kill_just_before_it():
    assert fed(BOX.kill(S, None), BOX.oom(S + 100 * MS)).stop.oom
    assert not fed(BOX.kill(S, None), BOX.oom(S + 100 * MS + 1)).stop.oom
    assert not fed(BOX.oom(S), BOX.kill(S + 1, None)).stop.oom
    assert not fed(BOX.kill(S, None), BOX.oom(S + 1, BOX.child())).stop.oom
    restarted = dataclasses.replace(BOX.init, start_ns=99)
    assert not fed(BOX.kill(S, None), BOX.oom(S + 1, restarted)).stop.oom


def test_a_mark_of_a_child_is_the_containers_and_not_the_main_processs():
    container = fed(BOX.kill(S, None, task=BOX.child()), BOX.oom(S + 1, BOX.child()))
    assert container.stop.oom is None
    assert container.oom_near(S, BOX.child().key)
    assert not container.oom_near(S, BOX.init.key)
    assert not container.oom_near(2 * S)


def test_the_listing_of_a_stop_corrects_who_is_still_there():
    probe = BOX.guest(1, "pgrep")
    init, worker = Container(argv=SHELL_FORM).init, BOX.child(2, "gunicorn")
    shutdown, (dropped, *_) = story(
        BOX.exec(S, init),
        BOX.exec(2 * S, probe),  # its exit is lost
        BOX.term(60 * S, **DROPPED),
        BOX.snapshot(60 * S + MS, init, worker),
        BOX.kill(61 * S),
        BOX.exit(61 * S + 1, KILLED),
        BOX.exit(61 * S + 2, KILLED, worker),
    )
    assert "gunicorn (pid 3) was never told" in dropped.message
    assert [p.task.comm for p in shutdown.processes] == ["init", "gunicorn"]


def test_a_runtimes_signal_asks_to_stop_while_nobody_told_what_is_declared():
    """podman stop of an image with STOPSIGNAL SIGUSR1, and no socket to ask; `docker kill -s HUP` may be a reload."""
    usr1 = signals.number("USR1")
    assert is_stop_signal(BOX.signal(0, usr1))
    assert not is_stop_signal(Container(asked=True).signal(0, usr1))
    assert not is_stop_signal(BOX.signal(0, signals.SIGURG))
    assert is_sent_otherwise(BOX.signal(0, usr1))


def test_however_many_cgroups_go_those_of_containers_are_forgotten_in_their_time():
    containers = Containers()
    for observation in flat(BOX.exec(1, INIT), removed(BOX, S)):
        containers.feed(observation)
    for n in range(20_000):  # of nobody's containers
        event = Event(2 * S + n, 2 * S + n, Kind.CGROUP_RMDIR, cgroup_id=10**6 + n)
        containers.feed(Observation(event))
    assert len(list(containers)) == 1
    containers.feed(removed(Container(7), 62 * S))
    assert not list(containers)
