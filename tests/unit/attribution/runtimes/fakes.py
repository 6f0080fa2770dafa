"""A runtime that does as it is told."""

import threading

from sigtrace.attribution.runtimes.base import Api, RuntimeInfo
from sigtrace.attribution.runtimes.sockets import Socket
from sigtrace.attribution.runtimes.values import NoAnswer
from sigtrace.model.workload import Workload, WorkloadKind


def ident(number: int) -> str:
    return f"{number:064x}"


def info(number: int = 1, **more) -> RuntimeInfo:
    given = {"runtime": "containerd", "kind": WorkloadKind.CONTAINER, "name": f"c{number}", "main_pid": 100 + number}
    return RuntimeInfo(ident(number), **{**given, **more})


def workload(number: int = 1, **more) -> Workload:
    return Workload(WorkloadKind.CONTAINER, number, f"/c{number}", container_id=ident(number), **more)


def socket(name: str = "s", api: Api = Api.CRI) -> Socket:
    return Socket(api, f"/run/{name}.sock")


class FakeClient:
    """``known``: what it tells, by id; ``broken``: why it answers nothing; ``gate``: closed, it hangs."""

    def __init__(self) -> None:
        self.known: dict[str, RuntimeInfo] = {}
        self.running: list[RuntimeInfo] = []
        self.broken: Exception | None = None
        self.after = 0
        """how often an id is unknown before it is known"""
        self.asked: list[str] = []
        self.opened = 0
        self.closed = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def _pass(self) -> None:
        if not self.gate.wait(20):
            raise NoAnswer("the gate stayed closed")
        if self.broken:
            raise self.broken

    def open(self) -> str:
        self.opened += 1
        self._pass()
        return "fake 1"

    def check(self) -> None:
        self._pass()

    def listing(self) -> list[RuntimeInfo]:
        self._pass()
        return list(self.running)

    def fetch(self, container_id: str) -> RuntimeInfo | None:
        self.asked.append(container_id)
        self._pass()
        if self.asked.count(container_id) <= self.after:
            return None
        return self.known.get(container_id)

    def close(self) -> None:
        self.closed.set()
