"""The messages of CRI v1 that are used, by field number (k8s.io/cri-api, pkg/apis/runtime/v1/api.proto). Pure.

What a runtime adds under ``info`` with ``verbose`` is JSON of its own: containerd and CRI-O both have ``pid`` and
``sandboxID`` there, and an image's OCI configuration under ``imageSpec``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sigtrace.attribution.runtimes import kubelet
from sigtrace.attribution.runtimes.base import RuntimeInfo
from sigtrace.attribution.runtimes.protobuf import Message, encode
from sigtrace.attribution.runtimes.values import NoAnswer, at, clean, is_container_id, parse_json, pid
from sigtrace.model import signals
from sigtrace.model.workload import WorkloadKind

RUNTIME_SERVICE: Final = "/runtime.v1.RuntimeService/"
IMAGE_SERVICE: Final = "/runtime.v1.ImageService/"

#: ContainerState.
_CREATED, _RUNNING = 0, 1

#: enum Signal, since Kubernetes 1.33: 1 is SIGABRT, then by name; the real-time ones last.
_SIGNALS: Final = (
    *"ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS".split(),
    *"TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN".split(),
    *(f"RTMIN+{n}" for n in range(1, 16)),
    *(f"RTMAX-{n}" for n in range(14, 0, -1)),
    "RTMAX",
)


@dataclass(frozen=True, slots=True)
class Status:
    """A container or sandbox, and what has to be asked for elsewhere."""

    info: RuntimeInfo
    image_ref: str | None = None
    """names the image for ImageStatus; only if the stop signal is not known yet"""


def version(raw: bytes) -> tuple[str, str]:
    """VersionResponse: (``containerd``, ``1.6.20``)."""
    answer = Message(raw)
    return clean(answer.raw(2)) or "unknown", clean(answer.raw(3))


def running_containers_request() -> bytes:
    """ListContainersRequest: those that run."""
    return encode({1: {2: {1: _RUNNING}}})


def ready_sandboxes_request() -> bytes:
    """ListPodSandboxRequest: those that are ready. SANDBOX_READY is 0, so that its wrapper is empty."""
    return encode({1: {2: {}}})


def find_request(container_id: str) -> bytes:
    """ListContainersRequest and ListPodSandboxRequest for one: no error in the runtime's log if it is unknown."""
    return encode({1: {1: container_id}})


def status_request(container_id: str) -> bytes:
    """ContainerStatusRequest and PodSandboxStatusRequest, verbose."""
    return encode({1: container_id, 2: True})


def image_status_request(image_ref: str) -> bytes:
    """ImageStatusRequest, verbose."""
    return encode({1: {1: image_ref}, 2: True})


def containers(raw: bytes, runtime: str) -> list[RuntimeInfo]:
    """ListContainersResponse. One that makes no sense is left out."""
    found = []
    for one in Message(raw).messages(1):
        info = _container(one, runtime, one.mapping(8, kubelet.LABELS), one.mapping(9, kubelet.ANNOTATIONS), 3, 4, 5)
        if info:
            found.append(info)
    return found


def names(raw: bytes, container_id: str) -> bool:
    """Whether a ListContainersResponse or ListPodSandboxResponse has this one."""
    return any(one.raw(1) == container_id.encode() for one in Message(raw).messages(1))


def sandboxes(raw: bytes, runtime: str) -> list[RuntimeInfo]:
    """ListPodSandboxResponse."""
    found = (
        _sandbox(one, runtime, one.mapping(5, kubelet.JOB), one.mapping(6, kubelet.ANNOTATIONS))
        for one in Message(raw).messages(1)
    )
    return [info for info in found if info]


def container_status(raw: bytes, runtime: str, asked: str) -> Status | None:
    """ContainerStatusResponse, verbose; None if it is about another container than was asked for."""
    answer = Message(raw)
    status = answer.message(1)
    labels, annotations = status.mapping(12, kubelet.LABELS), status.mapping(13, kubelet.ANNOTATIONS)
    info = _container(status, runtime, labels, annotations, 2, 8, 9)
    if info is None or info.container_id != asked:
        return None
    details = _details(answer)
    sandbox = at(details, "sandboxID")
    state = status.integer(3)
    stop = status.integer(19)
    info = replace(
        info,
        main_pid=pid(at(details, "pid")) if state == _RUNNING else None,
        starting=state == _CREATED,
        sandbox_id=str(sandbox) if is_container_id(sandbox) else None,
        stop_signal=signals.number(_SIGNALS[stop - 1]) if 1 <= stop <= len(_SIGNALS) else None,
    )
    return Status(info, None if info.stop_signal else clean(status.raw(9)) or None)


def sandbox_status(raw: bytes, runtime: str, asked: str) -> RuntimeInfo | None:
    """PodSandboxStatusResponse, verbose; None if it is about another sandbox than was asked for."""
    answer = Message(raw)
    status = answer.message(1)
    info = _sandbox(status, runtime, status.mapping(7, kubelet.JOB), status.mapping(8, kubelet.ANNOTATIONS))
    if info is None or info.container_id != asked:
        return None
    return replace(info, main_pid=pid(at(_details(answer), "pid")) if status.integer(3) == 0 else None)


def image_stop_signal(raw: bytes) -> int | None:
    """ImageStatusResponse, verbose: the image's STOPSIGNAL, SIGTERM if it has none; None if nothing is known of it."""
    config = at(_details(Message(raw)), "imageSpec", "config")
    if config is None:
        return None
    word = at(config, "StopSignal")
    if not isinstance(word, str) or not word:
        return signals.SIGTERM
    try:
        return signals.number(word)
    except ValueError:
        return None


def _details(answer: Message) -> object:
    """The JSON below ``info`` of a verbose answer; None if there is none, or none that can be read."""
    raw = answer.mapping(2, frozenset({"info"})).get("info")
    try:
        return parse_json(raw) if raw else None
    except NoAnswer:
        return None


def _container(
    message: Message,
    runtime: str,
    labels: dict[str, str],
    annotations: dict[str, str],
    metadata: int,
    image: int,
    image_ref: int,
) -> RuntimeInfo | None:
    """What Container and ContainerStatus have in common; ``metadata`` and so on are their fields' numbers."""
    container_id = message.raw(1).decode("ascii", "replace")
    if not is_container_id(container_id):
        return None
    marks = kubelet.read(labels, annotations)
    about = message.message(metadata)
    restarts = marks.restarts
    return RuntimeInfo(
        container_id,
        runtime,
        WorkloadKind.CONTAINER,
        name=about.text(1) or marks.container,
        image=_image(message.message(image), message.text(image_ref)),
        pod=marks.pod,
        namespace=marks.namespace,
        pod_uid=marks.uid,
        service_name=marks.service,
        restart_count=about.integer(2) if restarts is None else restarts,
        grace_limit_s=marks.grace_s,
        pre_stop=marks.pre_stop,
    )


def _image(spec: Message, ref: str | None) -> str | None:
    """What the user wrote, if the kubelet passed it on; a bare digest says less than the reference does."""
    name = spec.text(18) or spec.text(1)
    return ref or name if name is None or name.startswith("sha256:") else name


def _sandbox(
    message: Message, runtime: str, job_labels: dict[str, str], annotations: dict[str, str]
) -> RuntimeInfo | None:
    """What PodSandbox and PodSandboxStatus have in common: id, metadata and marks."""
    sandbox_id = message.raw(1).decode("ascii", "replace")
    if not is_container_id(sandbox_id):
        return None
    about = message.message(2)
    return RuntimeInfo(
        sandbox_id,
        runtime,
        WorkloadKind.SANDBOX,
        pod=about.text(1),
        pod_uid=about.text(2),
        namespace=about.text(3),
        sandbox_id=sandbox_id,
        service_name=kubelet.read({}, annotations).service,
        job=bool(job_labels),
    )
