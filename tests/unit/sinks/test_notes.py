"""What is said beside a shutdown's verdict, and is no finding."""

import dataclasses

import pytest

from sigtrace.model import signals
from sigtrace.model.workload import PreStop, PreStopKind
from sigtrace.sinks.notes import notes
from sigtrace.sinks.story import shutdown_story
from sigtrace.sinks.style import Style
from tests.unit.detectors.events import BY_DEFAULT, HANDLED, MS, Container, S, exited, killed_by, story

POD = {"pod": "api-5c", "namespace": "default", "pod_uid": "6a4ce4a0", "asked": True, "grace_limit_s": 30.0}
KILLED = killed_by(signals.SIGKILL)
NO_HOOK = "no preStop hook"


def graceful(took=40 * MS, argv=("/srv/web",), **workload):
    box = Container(argv=argv, **POD | workload)
    steps = [box.exec(1, box.init), box.term(S, **HANDLED), box.deliver(S + 1), box.exit(S + took, exited(0))]
    return story(steps, until=60 * S)[0]


def slow(argv=("/srv/web",), comm="web", told=2 * S, **workload):
    """A main process that heard, and a worker that did not end in time."""
    box = Container(argv=argv, **POD | workload)
    box.init = dataclasses.replace(box.init, comm=comm)
    celery = box.child(7, "celery")
    steps = [
        box.exec(1, box.init),
        box.term(S, **HANDLED),
        box.deliver(S + 1),
        box.snapshot(S + MS, box.init, celery),
        box.term(S + told, box.init, task=celery, **HANDLED) if told else [],
        box.kill(31 * S),
        box.exit(31 * S + MS, KILLED),
        box.teardown(31 * S + MS, celery),
        box.exit(31 * S + 2 * MS, KILLED, celery),
    ]
    return story(steps, until=60 * S)[0]


def texts(shutdown):
    return [text for _, text in notes(shutdown)]


def test_a_fast_stop_of_a_pod_without_a_hook_says_what_clients_may_see():
    (note,) = texts(graceful())
    assert note.startswith(NO_HOOK)
    assert "SIGTERM" in note
    assert "preStop sleep" in note
    assert any(NO_HOOK in line for line in shutdown_story(graceful(), [], Style()))


@pytest.mark.parametrize(
    "stays",
    [
        {"pod": None, "pod_uid": None},  # no Kubernetes: nobody routes to it by endpoints
        {"asked": False},  # a hook may be declared, and nobody could say so
        {"job": True},
        {"pre_stop": PreStop(PreStopKind.SLEEP, sleep_s=5)},
        {"took": 1100 * MS},
    ],
)
def test_whoever_has_no_clients_to_lose_or_leaves_them_time_is_not_told_so(stays):
    assert not texts(graceful(**stays))


def test_what_ends_by_itself_is_not_told_so():
    box = Container(**POD)
    assert not texts(story(box.exec(1, box.init), box.exit(S, exited(0)))[0])


def test_one_that_ends_by_default_leaves_its_clients_as_well():
    box = Container(host_pid=True, **POD)
    end = box.exit(S + 1, killed_by(signals.SIGTERM))
    assert NO_HOOK in texts(story(box.exec(1, box.init), box.term(S, **BY_DEFAULT), end)[0])[0]


def test_of_a_slow_one_the_last_process_is_named_and_when_it_was_told():
    assert texts(slow()) == ["celery (pid 8): told 2.0 s after the stop signal, still at work when SIGKILL came"]


def test_also_if_it_was_never_told():
    assert texts(slow(told=0)) == ["celery (pid 8): never told, still at work when SIGKILL came"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("gunicorn", "--graceful-timeout", "30", "app"), "--graceful-timeout 30 equals the grace period of 30 s"),
        (("gunicorn", "--graceful-timeout=45", "app"), "--graceful-timeout 45 is longer than the grace period"),
        (("uvicorn", "--timeout-graceful-shutdown", "60"), "--timeout-graceful-shutdown 60 is longer"),
        (("gunicorn", "app"), "--graceful-timeout 30 equals"),  # its default
    ],
)
def test_a_timeout_of_its_own_that_is_not_below_the_grace_period_is_named(argv, words):
    assert any(words in text for text in texts(slow(argv=argv, comm=argv[0])))


@pytest.mark.parametrize(
    "argv", [("gunicorn", "--graceful-timeout", "20"), ("gunicorn", "--graceful-timeout"), ("web", "30"), ()]
)
def test_a_shorter_one_or_none_is_not(argv):
    comm = argv[0] if argv and "--graceful-timeout" in argv and len(argv) > 2 else "web"
    assert not any("its own" in text for text in texts(slow(argv=argv or None, comm=comm)))


def test_that_only_one_container_of_the_pod_was_stopped_is_said():
    shutdown = dataclasses.replace(graceful(), scope="container")
    assert texts(shutdown) == ["only this container was asked to stop; its pod stays"]
