"""What attribution adds to an event in the steady state: python -m benchmarks.attribution

A thousand pods whose names are known; CPU time of `observe` with the observation it makes, medians of 7 rounds.
"""

import gc
import statistics
import time

from sigtrace.attribution.attributor import Attributor
from sigtrace.attribution.runtimes.base import RuntimeInfo
from sigtrace.attribution.runtimes.lookup import Runtimes
from sigtrace.model.event import Disposition, Event, Kind, Result, Task
from sigtrace.model.workload import WorkloadKind

PODS = 1_000
EVENTS = 100_000
ROUNDS = 7
HOST = 100_001


class Paths:
    """In place of attribution.cgroups.Cgroups."""

    def path(self, cgroup, _now_ns):
        if cgroup == HOST:
            return "/system.slice/containerd.service"
        uid = f"8712f785_1a3e_41ec_a00b_{cgroup:012x}"
        return f"/kubepods.slice/kubepods-pod{uid}.slice/cri-containerd-{cgroup:064x}.scope"

    def id_of(self, path):
        return int(path.rpartition("-")[2].removesuffix(".scope"), 16)


def names():
    known = Runtimes([])
    for n in range(1, PODS + 1):
        entry = known._table.begin(f"{n:064x}", "containerd", 0.0)  # noqa: SLF001 - as the thread would fill it
        entry.info = RuntimeInfo(
            entry_id := f"{n:064x}",
            "containerd",
            WorkloadKind.CONTAINER,
            name=entry_id[-4:],
            pod="web",
            main_pid=n * 10,
        )
    return known


def event(i, kind, *, main):
    n = 1 + i % PODS
    pid = n * 10 if main else n * 10 + 1
    task = Task(pid, 5, "worker", pid, 1 if main else 7, 4026532000 + n, 0, n)
    if kind is Kind.EXIT:
        return Event(i, i, kind, task)
    sent = {"signo": 15, "result": Result.DELIVERED, "disposition": Disposition.HANDLER}
    runc = Task(77, 3, "runc", cgroup_id=HOST)
    return Event(i, i, kind, task, runc, ns_init=main, container_init=main, outside=main, **sent)


def main():
    attributor = Attributor(Paths(), "node", names=names(), on_main=lambda *_: None, on_stop_signal=lambda _: None)
    for what, kind, is_main in (
        ("a signal to a main process", Kind.SIGNAL_GENERATE, True),
        ("a signal to a worker", Kind.SIGNAL_GENERATE, False),
        ("an exit", Kind.EXIT, False),
    ):
        events = [event(i, kind, main=is_main) for i in range(EVENTS)]
        for one in events[: 2 * PODS]:
            attributor.observe(one)
        rounds = []
        for _ in range(ROUNDS):
            gc.collect()
            gc.disable()
            began = time.process_time_ns()
            for one in events:
                attributor.observe(one)
            rounds.append((time.process_time_ns() - began) / EVENTS / 1000)
            gc.enable()
        print(f"{what}: {statistics.median(rounds):.2f} us ({min(rounds):.2f} to {max(rounds):.2f})")


if __name__ == "__main__":
    main()
