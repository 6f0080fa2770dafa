"""The sink: verdicts become spans. Findings about a container's end wait for it, as in ``watch``."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from sigtrace.model import ids, signals
from sigtrace.model.event import Event, Kind
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.sinks.otlp.delivery import Tell
from sigtrace.sinks.otlp.exporter import Exporter
from sigtrace.sinks.otlp.queues import part_of_request
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.spans import Alone, Origin, Sibling, Telling, Tree, fill_telling

#: Findings about a main process wait so long for its shutdown, then they are told alone.
_HOLD_NS: Final = 120_000_000_000
#: Main processes whose findings wait, at most; and pods that are known to stop.
_HELD_MAX: Final = 2_000
_HELD_OF_ONE: Final = 32
_PODS_MAX: Final = 2_000
_IN_POD_MAX: Final = 64
#: Containers of a pod that stop within this stop together.
_TOGETHER_NS: Final = 120_000_000_000


def encoded(telling: Telling, origin: Origin) -> bytes:
    """Its part of a request."""
    message = ResourceSpans()
    fill_telling(message, telling, origin)
    return part_of_request(message)


class Pods:
    """Which containers of a pod stop at the same time: their shutdowns are linked. Bounded."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._pods: OrderedDict[str, OrderedDict[str, tuple[int, Sibling]]] = OrderedDict()
        """by pod uid, by trace id: when it was last seen to stop"""

    def note(self, observation: Observation) -> None:
        """Whether a main process is asked to stop, killed, or gone."""
        event, workload = observation.event, observation.workload
        if not observation.main or event.task is None or workload is None:
            return
        if workload.pod_uid and workload.is_container and _stops(event, workload):
            trace_id = ids.shutdown_trace_id(self._boot_id, workload, event.task)
            pod = self._pods.setdefault(workload.pod_uid, OrderedDict())
            self._pods.move_to_end(workload.pod_uid)
            pod[trace_id] = (event.time_ns, Sibling(trace_id, workload.container_name))
            if len(pod) > _IN_POD_MAX:
                pod.popitem(last=False)
            self._forget(event.time_ns)

    def _forget(self, now_ns: int) -> None:
        """Those of which no container has stopped lately."""
        while self._pods:
            oldest = next(iter(self._pods.values()))
            at_ns = max(at_ns for at_ns, _ in oldest.values())
            if len(self._pods) <= _PODS_MAX and at_ns + 2 * _TOGETHER_NS >= now_ns:
                return
            self._pods.popitem(last=False)

    def siblings(self, shutdown: Shutdown) -> tuple[Sibling, ...]:
        """The others of its pod that stop with it."""
        own = ids.shutdown_trace_id(self._boot_id, shutdown.workload, shutdown.main)
        pod = self._pods.get(shutdown.workload.pod_uid or "", OrderedDict())
        together = [one for at_ns, one in pod.values() if abs(at_ns - shutdown.time_ns) <= _TOGETHER_NS]
        return tuple([one for one in together if one.trace_id != own])


def _stops(event: Event, workload: Workload) -> bool:
    if event.kind is Kind.EXIT:
        return True
    asked = (signals.SIGKILL, workload.stop_signal or signals.SIGTERM)
    return event.kind is Kind.SIGNAL_GENERATE and event.outside and event.signo in asked


class Otlp:
    """A :class:`sigtrace.sinks.base.Sink`. Never blocks; what is dropped is in the exporter's ledger."""

    def __init__(
        self,
        settings: OtlpSettings,
        boot_id: str,
        node: str,
        *,
        tell: Tell,
        settled: Callable[[Iterable[Verdict]], None] | None = None,
    ) -> None:
        """``boot_id``: of the boot that is watched or was recorded; empty if not known.

        ``settled``: takes, in any thread, verdicts that the collector has or will never have. Raises UsageError: a
        certificate that is none, gRPC without grpcio.
        """
        self.exporter = Exporter(settings, tell=tell)
        self._origin = Origin(boot_id, node, settings)
        self._tell = tell
        self._exited = settings.exited
        self._settled = settled
        self._pods = Pods(boot_id)
        self._held: OrderedDict[tuple[int, int], list[Finding]] = OrderedDict()
        self._off = settings.traces is None
        self._closed = False

    def observation(self, observation: Observation) -> None:
        """Whose containers stop together."""
        if observation.main and not self._off:
            self._pods.note(observation)

    def verdict(self, verdict: Verdict) -> None:
        """A finding or a shutdown."""
        if self._off or (verdict.workload is not None and verdict.workload.kind is WorkloadKind.SANDBOX):
            return
        if isinstance(verdict, Shutdown):
            findings = self._held.pop(verdict.main.key, [])
            if verdict.outcome == "exited" and not self._exited:
                self._alone(findings)
                return
            self._put(Tree(verdict, tuple(findings), self._pods.siblings(verdict)))
        elif ids.in_shutdown(verdict) and verdict.subject:
            held = self._held.setdefault(verdict.subject.key, [])
            held.append(verdict)
            # The shutdown may never come.
            if verdict.code == "stop-unanswered" or len(held) > _HELD_OF_ONE:
                self._alone(self._held.pop(verdict.subject.key))
            elif len(self._held) > _HELD_MAX:
                self._alone(self._held.popitem(last=False)[1])
        else:
            self._put(Alone(verdict))

    def pass_time(self, now_ns: int) -> None:
        """What waited too long for its shutdown is told alone."""
        while self._held and next(iter(self._held.values()))[0].time_ns + _HOLD_NS < now_ns:
            self._alone(self._held.popitem(last=False)[1])

    def _alone(self, findings: list[Finding]) -> None:
        for finding in findings:
            self._put(Alone(finding))

    def _put(self, telling: Telling) -> None:
        settled = functools.partial(self._settled, _verdicts_of(telling)) if self._settled else None
        self.exporter.put_spans(telling.count, functools.partial(encoded, telling, self._origin), settled)

    def take_dropped(self) -> int:
        """Nothing: an event is not lost because a collector is. See the exporter's ledger."""
        return 0

    def close(self, deadline_s: float | None = None) -> None:
        """Sends what it still has within the deadline (s), and tells what could not be sent."""
        if self._closed:
            return
        self._closed = True
        while self._held:
            self._alone(self._held.popitem(last=False)[1])
        if lost := self.exporter.close(deadline_s):
            self._tell(f"OTLP: {lost}")


def _verdicts_of(telling: Telling) -> tuple[Verdict, ...]:
    return (telling.finding,) if isinstance(telling, Alone) else (telling.shutdown, *telling.findings)
