"""Docker Engine's REST API, and Podman's own (libpod): Docker's has no word for pods and infra containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sigtrace.attribution.runtimes import kubelet, unixhttp
from sigtrace.attribution.runtimes.base import RuntimeInfo
from sigtrace.attribution.runtimes.values import (
    NoAnswer,
    at,
    clean,
    is_container_id,
    number,
    parse_json,
    pid,
    strings,
    text,
)
from sigtrace.model import signals
from sigtrace.model.workload import WorkloadKind

#: Seconds that one question may take. Podman answers about a container only when nobody else works on it.
TIMEOUT_S: Final = 2.0
#: Docker's when a container has none of its own (moby, container.DefaultStopTimeout).
_DOCKER_STOP_S: Final = 10.0
_SECONDS_MAX: Final = 1_000_000_000
_COUNT_MAX: Final = 1 << 31
#: Containers of one list that are read, and pods whose names are kept.
_LIST_MAX: Final = 10_000
_PODS_MAX: Final = 1_000

#: cri-dockerd keeps annotations among the labels, so named, and sandboxes apart by a label.
_PREFIX: Final = "annotation."
_PREFIXED: Final = frozenset(_PREFIX + name for name in kubelet.ANNOTATIONS)
_TYPE: Final = "io.kubernetes.docker.type"
_LABELS: Final = kubelet.LABELS | _PREFIXED | {_TYPE}


class DockerClient:
    """One socket of Docker or Podman. See base.Client."""

    def __init__(self, path: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """``path``: of the socket; ``timeout_s``: for one question, seconds."""
        self._path = path
        self._timeout_s = timeout_s
        self._libpod: str | None = None
        """the start of libpod's paths; None: it is Docker"""
        self._pods: dict[str, str | None] = {}

    def open(self) -> str:
        """See base.Client.open."""
        self._pods.clear()
        libpod = self._ping().get("libpod-api-version")
        if libpod is None:
            self._libpod = None
            return f"docker {clean(at(self._get('/version'), 'Version'))}".strip()
        if not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", libpod):
            raise NoAnswer(f"GET /_ping: a version {clean(libpod)} of libpod's API")
        self._libpod = f"/v{libpod}/libpod"
        return f"podman {libpod}"

    def check(self) -> None:
        """See base.Client.check."""
        self._ping()

    def _ping(self) -> Mapping[str, str]:
        status, headers, _ = unixhttp.get(self._path, "/_ping", self._timeout_s)
        if status != 200:
            raise NoAnswer(f"GET /_ping: status {status}")
        return headers

    def close(self) -> None:
        """See base.Client.close. Each question has a connection of its own, so that there is nothing to do."""

    def listing(self) -> list[RuntimeInfo]:
        """See base.Client.listing."""
        answer = self._get(f"{self._libpod or ''}/containers/json")
        if not isinstance(answer, list):
            raise NoAnswer("a list of containers that is no list")
        named = (self._named(one) for one in answer[:_LIST_MAX])
        return [info for info in named if info]

    def _named(self, one: object) -> RuntimeInfo | None:
        names = at(one, "Names")
        name = text(names[0]) if isinstance(names, list) and names else None
        image, labels = text(at(one, "Image")), at(one, "Labels")
        if self._libpod is None:
            return _info(at(one, "Id"), "docker", name, image, labels)
        return _info(at(one, "Id"), "podman", name, image, labels, _podman(one, text(at(one, "PodName"))))

    def fetch(self, container_id: str) -> RuntimeInfo | None:
        """See base.Client.fetch."""
        answer = self._get(f"{self._libpod or ''}/containers/{container_id}/json", doubtful=True)
        if answer is None or at(answer, "Id") != container_id:
            return None
        return self._of_docker(answer) if self._libpod is None else self._of_podman(answer)

    @staticmethod
    def _of_docker(answer: object) -> RuntimeInfo | None:
        config = at(answer, "Config")
        info = _info(
            at(answer, "Id"), "docker", text(at(answer, "Name")), text(at(config, "Image")), at(config, "Labels")
        )
        if info is None:
            return None
        grace = info.grace_limit_s
        if grace is None and info.pod is None:
            own = number(at(config, "StopTimeout"), _SECONDS_MAX)
            grace = _DOCKER_STOP_S if own is None else float(own)
        return replace(
            info,
            main_pid=pid(at(answer, "State", "Pid")),
            starting=at(answer, "State", "Status") == "created",
            restart_count=_restarts(info, answer),
            grace_limit_s=grace,
            stop_signal=_signal(at(config, "StopSignal")),
        )

    def _of_podman(self, answer: object) -> RuntimeInfo | None:
        config = at(answer, "Config")
        pod = at(answer, "Pod")
        info = _info(
            at(answer, "Id"),
            "podman",
            text(at(answer, "Name")),
            text(at(answer, "ImageName")),
            at(config, "Labels"),
            _podman(answer, self._pod(pod) if is_container_id(pod) else None),
        )
        if info is None:
            return None
        stop_s = number(at(config, "StopTimeout"), _SECONDS_MAX)
        return replace(
            info,
            main_pid=pid(at(answer, "State", "Pid")),
            starting=at(answer, "State", "Status") in ("created", "configured", "initialized"),
            restart_count=_restarts(info, answer),
            grace_limit_s=None if stop_s is None else float(stop_s),
            stop_signal=_signal(at(config, "StopSignal")),
        )

    def _pod(self, pod_id: object) -> str | None:
        key = str(pod_id)
        if key in self._pods:
            return self._pods.get(key)
        name = text(at(self._get(f"{self._libpod}/pods/{key}/json", doubtful=True), "Name"))
        if len(self._pods) >= _PODS_MAX:
            self._pods.clear()
        self._pods[key] = name
        return name

    def _get(self, target: str, *, doubtful: bool = False) -> object:
        """The JSON; None where the server says that there is no such thing.

        ``doubtful``: any error means that. Podman says 500 for a container that goes while it is asked about.
        """
        status, _, body = unixhttp.get(self._path, target, self._timeout_s)
        if status == 404 or (doubtful and status >= 400):
            return None
        if status != 200:
            raise NoAnswer(f"GET {target}: status {status}")
        return parse_json(body)


def _info(
    container_id: object,
    runtime: str,
    name: str | None,
    image: str | None,
    labels: object,
    podman: tuple[WorkloadKind, str | None] | None = None,
) -> RuntimeInfo | None:
    if not isinstance(container_id, str) or not is_container_id(container_id):
        return None
    known = strings(labels, _LABELS)
    marks = kubelet.read(known, {key.removeprefix(_PREFIX): known[key] for key in _PREFIXED & known.keys()})
    kind = WorkloadKind.SANDBOX if known.get(_TYPE) == "podsandbox" else WorkloadKind.CONTAINER
    pod = marks.pod
    if podman:
        kind, pod = podman[0], pod or podman[1]
    name = marks.container or (name.removeprefix("/") if name else None)
    return RuntimeInfo(
        container_id,
        runtime,
        kind,
        name=None if kind is WorkloadKind.SANDBOX and marks.pod else name,
        image=image,
        pod=pod,
        namespace=marks.namespace,
        pod_uid=marks.uid,
        service_name=marks.service,
        restart_count=marks.restarts,
        grace_limit_s=marks.grace_s,
        pre_stop=marks.pre_stop,
    )


def _podman(answer: object, pod: str | None) -> tuple[WorkloadKind, str | None]:
    """Kind and pod: an infra container is a pod's pause."""
    return (WorkloadKind.SANDBOX if at(answer, "IsInfra") is True else WorkloadKind.CONTAINER), pod


def _restarts(info: RuntimeInfo, answer: object) -> int | None:
    """The kubelet makes a new container instead of starting one again, so that its own count goes first."""
    if info.restart_count is not None:
        return info.restart_count
    return number(at(answer, "RestartCount"), _COUNT_MAX)


def _signal(value: object) -> int | None:
    """Podman says a number (since 5 a name), Docker a name, or nothing for SIGTERM."""
    if value is None or value in ("", 0):
        return signals.SIGTERM
    try:
        return signals.number(str(value)) if isinstance(value, str | int) else None
    except ValueError:
        return None
