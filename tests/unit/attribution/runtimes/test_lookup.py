"""Names for the capture, which never waits for them."""

import pytest

from sigtrace.attribution.runtimes import lookup as module
from sigtrace.attribution.runtimes import questions
from sigtrace.attribution.runtimes import worker as worker_module
from sigtrace.attribution.runtimes.base import Api, SocketState
from sigtrace.attribution.runtimes.lookup import Runtimes, may_know
from sigtrace.attribution.runtimes.values import NoAnswer
from sigtrace.model.workload import Workload, WorkloadKind
from tests.unit.attribution.runtimes.fakes import FakeClient, ident, info, socket, workload


class Node:
    """Sockets with a fake client each, and the runtimes that ask them."""

    def __init__(self) -> None:
        self.clients: dict[str, FakeClient] = {}
        self.opened: list[Runtimes] = []

    def client(self, name: str) -> FakeClient:
        return self.clients.setdefault(name, FakeClient())

    def runtimes(self, *names: str, **more) -> Runtimes:
        sockets = [socket(name, Api.DOCKER if name == "docker" else Api.CRI) for name in names]
        one = Runtimes(sockets, client=lambda s: self.client(s.path[5:-5]), **more)
        self.opened.append(one)
        return one


@pytest.fixture
def node(monkeypatch):
    monkeypatch.setattr(questions, "AGAIN_S", (0.001, 0.001))
    monkeypatch.setattr(questions, "_AFTER_BREAK_S", 0.001)
    monkeypatch.setattr(worker_module, "_BACK_OFF_S", (0.001, 0.004))
    one = Node()
    yield one
    for client in one.clients.values():
        client.gate.set()
    for runtimes in one.opened:
        runtimes.close(5)
        assert not runtimes._thread.is_alive()
        assert all(worker.join(5) for worker in runtimes._workers.values())


def test_what_runs_at_the_start_is_known_when_it_has_settled(node):
    client = node.client("s")
    client.running = [info(1, main_pid=None)]
    client.known = {ident(1): info(1, stop_signal=3)}
    runtimes = node.runtimes("s").start()
    assert runtimes.settle(10)
    after = runtimes.get(workload(1))
    assert (after.container_name, after.stop_signal) == ("c1", 3)
    assert runtimes.info(ident(1)).main_pid == 101


def test_with_no_socket_it_settles_at_once_and_names_nothing(node):
    runtimes = node.runtimes().start()
    assert runtimes.settle(10)
    asked = workload(1)
    assert runtimes.get(asked) is asked
    assert runtimes.status() == []


def test_a_prefetched_container_gets_its_names(node, wait_until):
    node.client("s").known = {ident(1): info(1)}
    runtimes = node.runtimes("s").start()
    runtimes.prefetch(ident(1), "containerd")
    wait_until(lambda: runtimes.info(ident(1)))
    assert runtimes.get(workload(1)).container_name == "c1"
    assert (runtimes.counters.wanted, runtimes.counters.found, runtimes.counters.given_up) == (1, 1, 0)


def test_one_that_nobody_announced_is_asked_for_when_its_first_event_comes(node, wait_until):
    client = node.client("s")
    client.known = {ident(1): info(1)}
    runtimes = node.runtimes("s").start()
    assert runtimes.settle(10)
    asked = workload(1)
    wait_until(lambda: runtimes.get(asked).container_name == "c1")
    assert client.asked == [ident(1)]


def test_it_never_waits_for_a_runtime_that_hangs(node, wait_until):
    """The gate is closed: had anything here waited for the runtime, the test would hang."""
    client = node.client("s")
    client.gate.clear()
    runtimes = node.runtimes("s").start()
    wait_until(lambda: client.opened)
    runtimes.prefetch(ident(1))
    asked = workload(1)
    assert runtimes.get(asked) is asked
    runtimes.gone(ident(1))
    assert runtimes.status()[0].state is SocketState.WAITING
    assert not runtimes.settle(0)


def test_a_socket_that_hangs_keeps_no_other_from_answering(node, wait_until):
    node.client("slow").gate.clear()
    node.client("s").known = {ident(1): info(1)}
    runtimes = node.runtimes("slow", "s").start()
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.info(ident(1)))


def test_one_that_no_runtime_knows_is_counted_once(node, wait_until):
    runtimes = node.runtimes("s", "t").start()
    assert runtimes.settle(10)
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.counters.given_up)
    assert (runtimes.counters.given_up, runtimes.counters.found) == (1, 0)


def test_a_container_that_starts_again_is_asked_for_again(node, wait_until):
    client = node.client("s")
    client.known = {ident(1): info(1, restart_count=0)}
    runtimes = node.runtimes("s").start()
    runtimes.prefetch(ident(1))
    asked = workload(1)
    wait_until(lambda: runtimes.get(asked).container_name)
    client.known = {ident(1): info(1, restart_count=1, main_pid=999)}
    runtimes.gone(ident(1))
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.info(ident(1)).restart_count == 1)
    assert runtimes.info(ident(1)).main_pid == 999


def test_the_main_process_of_its_last_run_is_none_of_its_next(node, wait_until):
    """A runtime answers only once the start is over; with the host's PID namespace nothing else tells before."""
    client = node.client("s")
    client.known = {ident(1): info(1, main_pid=101)}
    runtimes = node.runtimes("s").start()
    assert runtimes.settle(10)  # a list asks again for whom nobody has named: that answer would pass the gate
    runtimes.prefetch(ident(1))
    asked = workload(1)
    wait_until(lambda: runtimes.get(asked).main_pid == 101)
    client.gate.clear()
    client.known = {ident(1): info(1, main_pid=999)}
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.get(asked).main_pid is None)
    assert runtimes.get(asked).container_name == "c1"
    client.gate.set()
    wait_until(lambda: runtimes.get(asked).main_pid == 999)


def test_names_return_when_the_socket_does(node, wait_until):
    client = node.client("s")
    runtimes = node.runtimes("s").start()
    assert runtimes.settle(10)
    client.broken = NoAnswer("connection refused")
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.status()[0].state is SocketState.FAILING)
    assert runtimes.status()[0].error == "connection refused"
    client.known = {ident(1): info(1)}
    client.broken = None
    asked = workload(1)
    wait_until(lambda: runtimes.get(asked).container_name == "c1")
    assert runtimes.status()[0].state is SocketState.CONNECTED


def test_what_was_known_stays_known_while_the_socket_is_gone(node, wait_until):
    client = node.client("s")
    client.known = {ident(1): info(1)}
    runtimes = node.runtimes("s").start()
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.info(ident(1)))
    client.broken = NoAnswer("gone")
    runtimes.prefetch(ident(2))
    wait_until(lambda: runtimes.status()[0].state is SocketState.FAILING)
    assert runtimes.get(workload(1)).container_name == "c1"


def test_a_second_runtime_cannot_rename_a_container(node, wait_until, monkeypatch):
    monkeypatch.setattr(worker_module, "_WIDTH", 1)  # so that answers come in the questions' order
    node.client("s").known = {ident(1): info(1, name="web")}
    runtimes = node.runtimes("s", "t").start()
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.info(ident(1)))
    node.client("s").known = {}
    node.client("t").known = {ident(1): info(1, name="liar"), ident(2): info(2)}
    runtimes.prefetch(ident(1))
    runtimes.prefetch(ident(2))
    wait_until(lambda: runtimes.info(ident(2)))
    assert runtimes.info(ident(1)).name == "web"


@pytest.mark.parametrize(
    ("api", "runtime", "may"),
    [
        (Api.CRI, "containerd", True),
        (Api.CRI, "docker", False),
        (Api.DOCKER, "podman", True),
        (Api.DOCKER, "cri-o", False),
        (Api.DOCKER, "unknown", True),
        (Api.CRI, None, True),
    ],
)
def test_only_sockets_that_may_know_it_are_asked(api, runtime, may):
    assert may_know(api, runtime) is may


def test_what_is_no_container_id_goes_to_no_socket(node, wait_until):
    client = node.client("s")
    client.known = {ident(1): info(1)}
    runtimes = node.runtimes("s").start()
    assert runtimes.settle(10)
    runtimes.prefetch("../../etc/passwd")
    runtimes.prefetch(ident(1))
    wait_until(lambda: runtimes.info(ident(1)))
    assert client.asked == [ident(1)]


def test_a_workload_without_a_container_id_stays_as_it_is(node):
    host = Workload(WorkloadKind.HOST, 1)
    assert node.runtimes("s").get(host) is host


def test_questions_beyond_the_queue_are_dropped_and_counted(node, monkeypatch):
    monkeypatch.setattr(module, "_QUEUE_MAX", 2)
    runtimes = node.runtimes("s")
    for number in range(5):
        runtimes.prefetch(ident(number))
        runtimes.get(workload(number))
        runtimes.gone(ident(number))
    assert runtimes.dropped() == 8
    runtimes.start()


def test_a_list_tells_which_are_gone(node, wait_until, monkeypatch):
    monkeypatch.setattr(worker_module, "_LIST_S", 0.001)
    client = node.client("s")
    client.running, client.known = [info(1)], {ident(1): info(1)}
    runtimes = node.runtimes("s").start()
    wait_until(lambda: runtimes.info(ident(1)))
    assert runtimes._entries[ident(1)].gone is None
    client.running = []
    wait_until(lambda: runtimes._entries[ident(1)].gone)
    assert runtimes.get(workload(1)).container_name == "c1"


def test_a_socket_that_appears_later_is_found(node, wait_until, monkeypatch):
    monkeypatch.setattr(module, "_HOUSEKEEPING_S", 0.001)
    node.client("s").known = {ident(1): info(1)}
    places = []
    runtimes = Runtimes(client=lambda s: node.client("s"), find=lambda: places)
    node.opened.append(runtimes)
    with runtimes:
        asked = workload(1)
        assert runtimes.get(asked) is asked
        places.append(socket("s"))
        wait_until(lambda: runtimes.get(asked).container_name == "c1")


def test_ending_it_ends_its_threads_also_before_it_began(node):
    runtimes = node.runtimes("s")
    runtimes.close()
    with node.runtimes("s") as other:
        assert other.settle(10)
    assert not other._thread.is_alive()


def test_those_that_went_before_us_are_asked_for_and_waited_for(node):
    client = node.client("s")
    client.known = {ident(1): info(1)}
    runtimes = node.runtimes("s").start()
    assert runtimes.settle(10)
    runtimes.settle_for([ident(1), ident(2)], 10)  # that nobody knows 2 is an answer, too
    assert runtimes.get(workload(1)).container_name == "c1"
    assert runtimes.get(workload(2)).container_name is None


def test_that_wait_has_an_end(node):
    node.client("s").gate.clear()
    runtimes = node.runtimes("s").start()
    runtimes.settle_for([ident(1)], 0.01)
    assert runtimes.get(workload(1)).container_name is None
