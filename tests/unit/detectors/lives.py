"""How containers live and end: stories for the tests of all detectors together.

A story has lanes: the events of one come in their order, as one CPU, or cause and effect, gives them. Those of two
that are less than a millisecond apart may come in any order.
"""

from __future__ import annotations

import dataclasses

from sigtrace.model import signals
from sigtrace.model.workload import Observation, OomScope
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    IGNORED,
    KILLED,
    MS,
    SCRIPT,
    SEGFAULT,
    SHELL_FORM,
    TAKEN,
    Container,
    S,
    exited,
    flat,
    killed_by,
)


def _start(box: Container, at: int, argv=("app",), comm="init"):
    main = dataclasses.replace(box.init, argv=argv, comm=comm)
    return main, [box.exec(at, main)]


def _torn_down(box: Container, at: int, *tasks):
    return [o for task in tasks for o in (box.teardown(at, task), box.exit(at + 10_000, KILLED, task))]


def dropped(box: Container, at: int):
    main, start = _start(box, at, SHELL_FORM, "sh")
    child = box.child(comm="gunicorn")
    yield start
    yield [box.term(at + MS, **DROPPED), box.snapshot(at + 20 * MS, main, child)]
    yield [box.kill(at + 2 * S), box.exit(at + 2 * S + MS, KILLED), _torn_down(box, at + 2 * S + 2 * MS, child)]


def graceful(box: Container, at: int):
    main, start = _start(box, at)
    yield [*start, box.term(at + MS, **HANDLED), box.deliver(at + MS + 1000), box.snapshot(at + 20 * MS, main)]
    yield [box.exit(at + 90 * MS, exited(0))]


def taken(box: Container, at: int):
    """Tini passes it on to a child without a handler."""
    _, start = _start(box, at, ("tini", "app"), "tini")
    child = box.child(comm="app")
    yield [*start, box.term(at + MS, **TAKEN), box.term(at + 2 * MS, box.init, task=child, **BY_DEFAULT)]
    yield [box.exit(at + 3 * MS, killed_by(signals.SIGTERM), child), box.exit(at + 4 * MS, exited(143))]


def kept_waiting(box: Container, at: int):
    main, start = _start(box, at, SCRIPT, "sh")
    child = box.child(comm="app")
    yield [*start, box.term(at + MS, **HANDLED), box.deliver(at + MS + 1000), box.snapshot(at + 20 * MS, main, child)]
    yield [box.kill(at + 3 * S), box.exit(at + 3 * S + MS, KILLED), _torn_down(box, at + 3 * S + 2 * MS, child)]


def exited_first(box: Container, at: int):
    main, start = _start(box, at)
    workers = [box.child(k) for k in (1, 2)]
    yield [
        *start,
        box.term(at + MS, **HANDLED),
        box.deliver(at + MS + 1000),
        box.snapshot(at + 20 * MS, main, *workers),
    ]
    yield [box.exit(at + 50 * MS, exited(0))]
    for task in workers:
        yield _torn_down(box, at + 51 * MS, task)


def pending(box: Container, at: int):
    main, start = _start(box, at)
    listings = [box.snapshot(at + t, main, pending=signals.SIGTERM) for t in (20 * MS, 150 * MS, S, 5 * S)]
    yield [*start, box.term(at + MS, **BLOCKED)]
    yield listings
    yield [box.kill(at + 6 * S), box.exit(at + 6 * S + MS, KILLED)]


def ignored(box: Container, at: int):
    yield [*_start(box, at)[1], box.term(at + MS, **IGNORED)]
    yield [box.kill(at + 4 * S), box.exit(at + 4 * S + MS, KILLED)]


def oom(box: Container, at: int):
    yield [*_start(box, at)[1], box.kill(at + S, None), box.oom(at + S + 40_000, scope=OomScope.CONTAINER)]
    yield [box.exit(at + S + 5 * MS, KILLED)]


def oom_group(box: Container, at: int):
    child = box.child()
    yield [
        *_start(box, at)[1],
        box.kill(at + S, None, task=child),
        box.oom(at + S + 40_000, child, group=True),
        box.kill(at + S + 60_000, None),
        box.oom(at + S + 90_000, group=True),
    ]
    yield [box.exit(at + S + MS, KILLED, child)]
    yield [box.exit(at + S + MS, KILLED)]


def oom_relayed(box: Container, at: int):
    child = box.child(comm="java")
    yield [*_start(box, at, ("sh", "-c", "java"))[1], box.exec(at + 1000, child)]
    yield [box.kill(at + S, None, task=child), box.oom(at + S + 40_000, child)]
    yield [box.exit(at + S + MS, KILLED, child), box.exit(at + S + 3 * MS, exited(137))]


def killed(box: Container, at: int):
    child = box.child()
    yield [*_start(box, at)[1], box.exec(at + 1000, child), box.kill(at + S, BASH), box.exit(at + S + MS, KILLED)]
    yield _torn_down(box, at + S + 2 * MS, child)


def cgroup_killed(box: Container, at: int):
    child = box.child()
    yield [*_start(box, at)[1], box.exec(at + 1000, child)]
    yield [box.cgroup_kill(at + S, task=child), box.cgroup_kill(at + S + 9000)]
    yield [box.exit(at + S + MS, KILLED)]
    yield [box.exit(at + S + MS, KILLED, child)]


def from_inside(box: Container, at: int):
    yield [*_start(box, at)[1], box.kill(at + MS, sender=box.child(), **DROPPED), box.exit(at + S, exited(0))]


def crashed(box: Container, at: int):
    yield [*_start(box, at)[1], box.fault(at + S), box.exit(at + S + 1000, SEGFAULT)]


def job(box: Container, at: int):
    yield [*_start(box, at)[1], box.exit(at + S, exited(0))]


def crash_loop(box: Container, at: int):
    main, start = _start(box, at, ("gunicorn",), "gunicorn")
    lives = [box.child(k, "gunicorn", start_ns=at + k * S) for k in range(1, 6)]
    yield [*start, [box.exit(at + (k + 1) * S, SEGFAULT, task) for k, task in enumerate(lives, 1)]]
    yield [box.term(at + 9 * S, **HANDLED), box.deliver(at + 9 * S + 1000), box.snapshot(at + 9 * S + 20 * MS, main)]
    yield [box.exit(at + 9 * S + 90 * MS, exited(0))]


def zombies(box: Container, at: int):
    main, start = _start(box, at)
    dead = [box.child(k, "sleep") for k in range(1, 5)]
    yield start
    yield [[box.zombie(at + 12 * S, task, main, exit_ns=at + S) for task in dead], box.exit(at + 14 * S, exited(0))]
    yield [box.reap(at + 15 * S, task) for task in dead]


def hung_worker(box: Container, at: int):
    child = box.child()
    abort = box.signal(at + S, signals.SIGABRT, box.init, task=child, **HANDLED)
    yield [*_start(box, at)[1], box.exec(at + 1000, child), abort, box.kill(at + 2 * S, box.init, task=child)]
    yield [box.exit(at + 2 * S + MS, KILLED, child)]
    yield [box.exit(at + 5 * S, exited(0))]


def pre_stop(box: Container, at: int):
    hook = box.guest(argv=("sleep", "2"))
    yield [*_start(box, at)[1], box.exec(at + MS, hook), box.exit(at + 2 * S, exited(0), hook)]
    yield [box.term(at + 2 * S + MS, **HANDLED), box.deliver(at + 2 * S + 2 * MS), box.exit(at + 3 * S, exited(0))]


def unanswered(box: Container, at: int):
    yield [*_start(box, at)[1], box.term(at + MS, **DROPPED), box.exit(at + 90 * S, exited(0))]


#: name → (story, findings, outcome)
LIVES = {
    "dropped": (dropped, ["signal-dropped/shell-form", "killed/grace-expired"], "escalated/dropped"),
    "graceful": (graceful, [], "graceful/None"),
    "taken": (taken, [], "terminated/no-handler"),
    "kept waiting": (
        kept_waiting,
        ["signal-not-forwarded/main-kept-waiting", "killed/grace-expired"],
        "escalated/not-forwarded",
    ),
    "exited first": (exited_first, ["signal-not-forwarded/main-exited-first"], "incomplete/main-exited-first"),
    "pending": (pending, ["signal-pending/blocked", "killed/grace-expired"], "escalated/pending"),
    "ignored": (ignored, ["signal-ignored/sig-ign", "killed/grace-expired"], "escalated/ignored"),
    "oom": (oom, ["killed/oom"], "oom/main-process"),
    "oom group": (oom_group, ["killed/oom"], "oom/group"),
    "oom relayed": (oom_relayed, ["killed/oom"], "oom/relayed"),
    "killed": (killed, ["killed/manual"], "killed/manual"),
    "cgroup.kill": (cgroup_killed, ["killed/no-stop-signal"], "killed/no-stop-signal"),
    "from inside": (from_inside, ["signal-dropped/from-inside"], "exited/None"),
    "crashed": (crashed, ["crashed/fatal-signal"], "crashed/fatal-signal"),
    "job": (job, [], "exited/None"),
    "crash loop": (crash_loop, ["crash-masked/supervisor-restarts"] * 2, "graceful/None"),
    "zombies": (zombies, ["zombie-unreaped/pid1-does-not-reap"], "exited/None"),
    "hung worker": (hung_worker, ["killed/by-parent"], "exited/None"),
    "preStop": (pre_stop, [], "graceful/None"),
    "unanswered": (unanswered, ["signal-dropped/no-handler", "stop-unanswered/dropped"], "exited/None"),
}
LONGEST = 100 * S


def lanes(name: str, box: Container, at: int) -> list[list[Observation]]:
    return [flat(lane) for lane in LIVES[name][0](box, at)]


def whole(name: str, box: Container, at: int) -> list[Observation]:
    """In time order."""
    return sorted(flat(lanes(name, box, at)), key=lambda o: o.event.time_ns)
