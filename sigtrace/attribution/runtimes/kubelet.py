"""What the kubelet writes on containers: labels and annotations (pkg/kubelet/kuberuntime/labels.go). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sigtrace.attribution.runtimes.values import NoAnswer, at, clean, number, parse_json, text
from sigtrace.model.workload import PreStop, PreStopKind

_CONTAINER: Final = "io.kubernetes.container.name"
_POD: Final = "io.kubernetes.pod.name"
_NAMESPACE: Final = "io.kubernetes.pod.namespace"
_UID: Final = "io.kubernetes.pod.uid"
LABELS: Final = frozenset({_CONTAINER, _POD, _NAMESPACE, _UID})

_GRACE: Final = "io.kubernetes.pod.terminationGracePeriod"
#: Only on a container that was made while its pod was being deleted; then it is what the kubelet goes by.
_DELETION_GRACE: Final = "io.kubernetes.pod.deletionGracePeriod"
_RESTARTS: Final = "io.kubernetes.container.restartCount"
_PRE_STOP: Final = "io.kubernetes.container.preStopHandler"
#: OpenTelemetry's Kubernetes attributes: a pod's own choice of service.name.
_SERVICE: Final = "resource.opentelemetry.io/service.name"
ANNOTATIONS: Final = frozenset({_GRACE, _DELETION_GRACE, _RESTARTS, _PRE_STOP, _SERVICE})

#: The Job controller's labels on its pods (batch/v1 LabelJobName; the shorter one before Kubernetes 1.27).
JOB: Final = frozenset({"batch.kubernetes.io/job-name", "job-name"})

#: Words of a preStop command that are kept, and bytes of the annotation that are read.
_WORDS_MAX: Final = 64
_HANDLER_MAX: Final = 64 << 10
_SECONDS_MAX: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Marks:
    """What the labels and annotations say; None for what they do not."""

    container: str | None
    pod: str | None
    namespace: str | None
    uid: str | None
    grace_s: float | None
    restarts: int | None
    pre_stop: PreStop | None
    service: str | None


def read(labels: Mapping[str, str], annotations: Mapping[str, str]) -> Marks:
    """Whatever is wrong is None: a strange annotation costs itself alone."""
    grace = _count(annotations.get(_DELETION_GRACE))
    if grace is None:
        grace = _count(annotations.get(_GRACE))
    return Marks(
        text(labels.get(_CONTAINER)),
        text(labels.get(_POD)),
        text(labels.get(_NAMESPACE)),
        text(labels.get(_UID)),
        None if grace is None else float(grace),
        _count(annotations.get(_RESTARTS)),
        _pre_stop(annotations.get(_PRE_STOP)),
        text(annotations.get(_SERVICE)),
    )


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and re.fullmatch("[0-9]{1,9}", value) else None


def _pre_stop(handler: str | None) -> PreStop | None:
    """The annotation is the JSON of a core/v1 LifecycleHandler."""
    if not handler or len(handler) > _HANDLER_MAX:
        return None
    try:
        value = parse_json(handler)
    except NoAnswer:
        return None
    if isinstance(words := at(value, "exec", "command"), list):
        return PreStop(PreStopKind.EXEC, tuple(clean(word) for word in words[:_WORDS_MAX]))
    if at(value, "httpGet") is not None:
        return PreStop(PreStopKind.HTTP)
    if at(value, "sleep") is not None:
        return PreStop(PreStopKind.SLEEP, sleep_s=number(at(value, "sleep", "seconds"), _SECONDS_MAX))
    return None
