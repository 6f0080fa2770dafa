"""One socket's threads."""

import threading

import pytest

from sigtrace.attribution.runtimes import questions
from sigtrace.attribution.runtimes import worker as module
from sigtrace.attribution.runtimes.base import SocketState
from sigtrace.attribution.runtimes.questions import AGAIN_S
from sigtrace.attribution.runtimes.values import NoAnswer
from sigtrace.attribution.runtimes.worker import Found, Listed, Settled, Unknown, Worker
from sigtrace.errors import HostError
from tests.unit.attribution.runtimes.fakes import FakeClient, ident, info, socket


@pytest.fixture
def client():
    return FakeClient()


@pytest.fixture
def told():
    return []


@pytest.fixture
def worker(client, told, monkeypatch):
    monkeypatch.setattr(questions, "AGAIN_S", tuple(0.001 for _ in AGAIN_S))
    monkeypatch.setattr(questions, "_AFTER_BREAK_S", 0.001)
    monkeypatch.setattr(module, "_BACK_OFF_S", (0.001, 0.004))
    one = Worker(socket(), client, told.append)
    yield one
    client.gate.set()
    one.stop()
    assert one.join(5)


def of(kind, told):
    return [one for one in told if isinstance(one, kind)]


def test_it_lists_what_runs_and_then_answers(worker, client, told, wait_until):
    client.running, client.known = [info(1)], {ident(2): info(2)}
    worker.start()
    worker.want(ident(2))
    wait_until(lambda: of(Found, told))
    assert of(Listed, told)[0].infos == [info(1)]
    assert of(Found, told)[0].info == info(2)
    assert (worker.status.state, worker.status.listed) == (SocketState.CONNECTED, True)
    assert worker.status.runtime == "fake 1"


def test_a_container_that_is_not_known_yet_is_asked_for_again(worker, client, told, wait_until):
    client.known, client.after = {ident(1): info(1)}, 3
    worker.start()
    worker.want(ident(1))
    wait_until(lambda: of(Found, told))
    assert client.asked == [ident(1)] * 4
    assert not of(Unknown, told)


def test_one_that_stays_unknown_is_given_up(worker, client, told, wait_until):
    worker.start()
    worker.want(ident(1))
    wait_until(lambda: of(Unknown, told))
    assert len(client.asked) == 1 + len(AGAIN_S)


def test_one_that_is_starting_is_told_at_once_and_asked_again_for_its_main_process(worker, client, told, wait_until):
    client.known = {ident(1): info(1, starting=True, main_pid=None)}
    worker.start()
    worker.want(ident(1))
    wait_until(lambda: of(Found, told))
    client.known = {ident(1): info(1)}
    wait_until(lambda: of(Found, told)[-1].info.main_pid == 101)


def test_a_broken_socket_is_tried_again_until_it_works(worker, client, told, wait_until):
    client.broken = NoAnswer("connection refused")
    worker.start()
    worker.want(ident(1))
    wait_until(lambda: worker.failures > 3)
    assert worker.status.state is SocketState.FAILING
    assert worker.status.error == "connection refused"
    assert 0 < worker.status.retry_s <= 0.004
    since = worker.status.since
    client.known, client.broken = {ident(1): info(1)}, None
    wait_until(lambda: of(Found, told))
    assert worker.status.state is SocketState.CONNECTED
    assert worker.status.error is None
    assert worker.status.since >= since


def test_a_question_that_breaks_the_socket_is_dropped_and_others_are_answered(worker, client, told, wait_until):
    fetch = client.fetch
    client.known = {ident(2): info(2)}

    def breaking(container_id):
        if container_id == ident(1):
            raise NoAnswer("deadline exceeded")
        return fetch(container_id)

    client.fetch = breaking
    worker.start()
    worker.want(ident(1))
    worker.want(ident(2))
    wait_until(lambda: of(Unknown, told) and of(Found, told))
    assert of(Unknown, told)[0].container_id == ident(1)
    assert of(Found, told)[0].info == info(2)


def test_what_breaks_late_on_an_earlier_connection_does_not_end_the_next_one(worker, client, told, wait_until):
    gate, lists = threading.Event(), []

    def listing():
        lists.append(1)
        if len(lists) == 1:
            gate.wait(20)
            raise NoAnswer("deadline exceeded")
        return []

    client.listing = listing
    worker.start()
    wait_until(lambda: lists)
    client.broken = NoAnswer("connection refused")
    worker.want(ident(1))
    wait_until(lambda: worker.status.state is SocketState.FAILING)
    client.broken = None
    wait_until(lambda: of(Listed, told) and of(Unknown, told))
    before = worker.failures
    gate.set()
    wait_until(lambda: worker.failures > before)
    client.known = {ident(2): info(2)}
    worker.want(ident(2))
    wait_until(lambda: of(Found, told))
    assert worker._connection == 2


@pytest.mark.parametrize("error", [HostError("no grpcio", next_step="install it"), ValueError("a bug\x1b[2J")])
def test_any_error_is_a_status_and_never_the_end(worker, client, told, wait_until, error):
    client.broken = error
    worker.start()
    wait_until(lambda: worker.failures > 1)
    assert worker.status.error in ("no grpcio: install it", "ValueError: a bug\\x1b[2J")
    client.broken = None
    wait_until(lambda: of(Listed, told))


def test_what_ran_before_is_asked_for_after_what_is_urgent(worker, client, told, wait_until, monkeypatch):
    monkeypatch.setattr(module, "_WIDTH", 1)
    client.gate.clear()
    worker.start()
    wait_until(lambda: client.opened)
    client.known = {ident(n): info(n) for n in range(1, 4)}
    worker.want(ident(1), urgent=False)
    worker.want(ident(2), urgent=False)
    worker.want(ident(3))
    client.gate.set()
    wait_until(lambda: len(of(Found, told)) == 3)
    assert client.asked == [ident(3), ident(1), ident(2)]


def test_its_first_try_is_over_when_all_that_ran_are_known(worker, client, told, wait_until):
    client.running, client.known = [info(1), info(2)], {ident(n): info(n) for n in (1, 2)}
    worker.start()
    wait_until(lambda: of(Settled, told))
    assert [type(one) for one in told] == [Listed, Found, Found, Settled]


def test_what_is_known_is_not_asked_for_with_each_list(worker, client, told, wait_until, monkeypatch):
    monkeypatch.setattr(module, "_LIST_S", 0.001)
    client.running, client.known = [info(1)], {ident(1): info(1)}
    worker.start()
    wait_until(lambda: len(of(Listed, told)) > 5)
    assert client.asked == [ident(1)]


@pytest.mark.parametrize("broken", [None, NoAnswer("x")])
def test_its_first_try_is_over_too_if_nothing_runs_or_nobody_answers(worker, client, told, wait_until, broken):
    client.broken = broken
    worker.start()
    wait_until(lambda: of(Settled, told))


def test_a_question_that_hangs_keeps_no_other_waiting(worker, client, told, wait_until):
    """As Podman does it: it answers for a container when nobody else works on it."""
    fetch, gate = client.fetch, threading.Event()

    def hanging(container_id):
        if container_id == ident(1):
            gate.wait(20)
        return fetch(container_id)

    client.fetch, client.known = hanging, {ident(n): info(n) for n in range(1, 5)}
    worker.start()
    for number in range(1, 5):
        worker.want(ident(number))
    wait_until(lambda: len(of(Found, told)) == 3)
    gate.set()
    wait_until(lambda: len(of(Found, told)) == 4)


def test_few_of_those_that_are_not_urgent_are_asked_at_once(worker, client, told, wait_until):
    worker.start()
    wait_until(lambda: of(Settled, told))
    client.gate.clear()
    client.known = {ident(n): info(n) for n in range(9)}
    for number in range(8):
        worker.want(ident(number), urgent=False)
    wait_until(lambda: len(client.asked) == module._CALM)
    worker.want(ident(8))
    wait_until(lambda: ident(8) in client.asked)
    assert len(client.asked) == module._CALM + 1
    client.gate.set()
    wait_until(lambda: len(of(Found, told)) == 9)


def test_no_more_are_asked_at_once_than_is_allowed(worker, client, told, wait_until):
    worker.start()
    wait_until(lambda: of(Settled, told))
    client.gate.clear()
    client.known = {ident(n): info(n) for n in range(50)}
    for number in range(50):
        worker.want(ident(number))
    wait_until(lambda: len(client.asked) == module._WIDTH)
    client.gate.set()
    wait_until(lambda: len(of(Found, told)) == 50)
    assert len(worker._threads) == 1 + module._WIDTH


def test_questions_that_are_too_many_are_refused(worker, monkeypatch):
    monkeypatch.setattr(module, "MAX", 2)
    assert [worker.want(ident(n)) for n in range(3)] == [True, True, False]
    worker.start()


def test_questions_that_are_too_many_for_a_dead_socket_are_counted(worker, client, told, wait_until, monkeypatch):
    monkeypatch.setattr(questions, "MAX", 2)
    client.broken = NoAnswer("connection refused")
    worker.start()
    for n in range(5):
        worker.want(ident(n))
    wait_until(lambda: len(of(Unknown, told)) == 3)
    assert worker.dropped == 3


def test_one_that_says_who_it_is_and_hangs_at_what_runs_has_listed_nothing(worker, client, wait_until, monkeypatch):
    def hang():
        raise NoAnswer("no answer within 2 s")

    monkeypatch.setattr(client, "listing", hang)
    worker.start()
    wait_until(lambda: worker.failures > 2)
    assert not worker.status.listed


def test_the_back_off_grows_and_ends_growing(client, told):
    worker = Worker(socket(), client, told.append)
    waits = []
    for _ in range(12):
        worker._failed("x")
        waits.append(worker.status.retry_s)
    assert waits[:4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == 10.0


def test_the_client_is_closed_at_the_end(worker, client):
    worker.start()
    worker.stop()
    assert client.closed.wait(5)
