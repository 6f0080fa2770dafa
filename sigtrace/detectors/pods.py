"""Whether a pod goes, or only one container of it.

A kubelet that ends a pod asks all its containers at once (sidecars once the others have ended), and its sandbox when
all have ended; one that restarts a container (a failed probe, say) asks that one alone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sigtrace.detectors.container import Container
from sigtrace.detectors.containers import Containers
from sigtrace.model import signals
from sigtrace.model.event import Kind
from sigtrace.model.workload import Observation

#: A runtime that stops a pod comes to its other containers and its sandbox within this of a container's end.
SCOPE_NS: Final = 500_000_000
#: What runtimes end a pause container with.
_ENDING: Final = (signals.SIGINT, signals.SIGQUIT, signals.SIGKILL, signals.SIGTERM)
_PODS_MAX: Final = 10_000
#: So long after its sandbox has exited nothing more of a pod ends. It may have died before containers that take time.
_GONE_NS: Final = 3_600_000_000_000


class Pods:
    """By uid: whether the sandbox was asked to end."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._going: OrderedDict[str, bool] = OrderedDict()
        self._gone: OrderedDict[str, int] = OrderedDict()
        """when sandboxes exited, the oldest first"""

    def note(self, sandbox: Observation) -> None:
        """Something happened to a pod's sandbox; it is asked to end only when all of the pod goes."""
        event, uid = sandbox.event, sandbox.workload.pod_uid if sandbox.workload else None
        if not uid or not sandbox.main:
            return
        asks = event.kind is Kind.SIGNAL_GENERATE and event.outside and event.signo in _ENDING
        begins = event.kind is Kind.EXEC  # a sandbox in place of one that had gone
        self._going[uid] = not begins and (event.kind is Kind.EXIT or asks or self._going.get(uid, False))
        if event.kind is Kind.EXIT:
            self._gone[uid] = event.time_ns
        elif begins:
            self._gone.pop(uid, None)
        while self._gone and next(iter(self._gone.values())) + _GONE_NS < event.time_ns:
            self._going.pop(self._gone.popitem(last=False)[0], None)
        if len(self._going) > _PODS_MAX:
            self._going.popitem(last=False)

    def scope_of(self, container: Container, now_ns: int, *, waited: bool) -> str | None:
        """``pod``, ``container``, or None for not known.

        ``waited``: it was asked to end, and SCOPE_NS have passed since it did.
        """
        uid = container.workload.pod_uid
        going = self._going.get(uid) if uid else None
        if going or going is None or not waited:
            return "pod" if going else None
        others = [c for c in self._containers if c is not container and c.workload.pod_uid == uid and c.main]
        alive = [c for c in others if c.exit is None]
        if alive and all(c.stopping(now_ns) for c in alive):
            return "pod"
        if any(c.workload.pre_stop for c in alive):
            return None  # its hook may be at work: it is asked when that is over
        if container.workload.runtime == "cri-o":
            return None  # it takes down the network first, and comes to the sandbox when it likes
        return "container"
