"""CRI v1 over gRPC: containerd, CRI-O. grpcio (the extra ``cri``) is imported when a socket is opened."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import quote

from sigtrace.attribution.runtimes import cri_v1
from sigtrace.attribution.runtimes.base import RuntimeInfo
from sigtrace.attribution.runtimes.values import NoAnswer, clean
from sigtrace.errors import HostError

T = TypeVar("T")

#: Seconds that one call may take.
TIMEOUT_S: Final = 2.0
#: Bytes of one answer. A list has about 2 KB a container.
_ANSWER_MAX: Final = 16 << 20
#: Pods and images whose details are kept: they serve several containers.
_PODS_MAX: Final = 500

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _ANSWER_MAX),
    # Go's servers refuse the socket's path as an authority.
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    # Otherwise a new channel inherits the back-off of the one that failed.
    ("grpc.use_local_subchannel_pool", 1),
)

#: Codes after which the next question would fare no better. With any other one the runtime has answered.
_BROKEN: Final = frozenset(
    "CANCELLED DEADLINE_EXCEEDED PERMISSION_DENIED RESOURCE_EXHAUSTED UNIMPLEMENTED UNAVAILABLE UNAUTHENTICATED".split()
)


class CriClient:
    """One CRI socket. See base.Client."""

    def __init__(self, path: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """``path``: of the socket; ``timeout_s``: for one call, seconds."""
        self._path = path
        self._timeout_s = timeout_s
        self._grpc: Any = None
        self._channel: Any = None
        self._runtime = "unknown"
        self._pods: dict[str, RuntimeInfo | None] = {}
        self._stop_signals: dict[str, int | None] = {}

    def open(self) -> str:
        """See base.Client.open."""
        self.close()
        self._grpc = _grpc()
        if not os.path.exists(self._path):
            raise NoAnswer(f"{self._path} does not exist")
        self._channel = self._grpc.insecure_channel(f"unix:{quote(self._path)}", options=_OPTIONS)
        name, version = cri_v1.version(self._call(cri_v1.RUNTIME_SERVICE + "Version", b""))
        self._runtime = name
        return f"{name} {version}".strip()

    def check(self) -> None:
        """See base.Client.check."""
        self._call(cri_v1.RUNTIME_SERVICE + "Version", b"")

    def close(self) -> None:
        """See base.Client.close."""
        self._pods.clear()
        self._stop_signals.clear()
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def listing(self) -> list[RuntimeInfo]:
        """See base.Client.listing."""
        pods = self._call(cri_v1.RUNTIME_SERVICE + "ListPodSandbox", cri_v1.ready_sandboxes_request())
        containers = self._call(cri_v1.RUNTIME_SERVICE + "ListContainers", cri_v1.running_containers_request())
        return cri_v1.sandboxes(pods, self._runtime) + cri_v1.containers(containers, self._runtime)

    def fetch(self, container_id: str) -> RuntimeInfo | None:
        """See base.Client.fetch. A sandbox's id is no container's, so that it is asked for second."""
        status = self._container(container_id)
        if status is None:
            return self._sandbox(container_id)
        info = status.info
        if info.stop_signal is None and status.image_ref:
            info = replace(info, stop_signal=self._stop_signal(status.image_ref))
        pod = self._pod(info.sandbox_id) if info.sandbox_id else None
        if pod is None:
            return info
        return replace(
            info,
            pod=info.pod or pod.pod,
            namespace=info.namespace or pod.namespace,
            pod_uid=info.pod_uid or pod.pod_uid,
            service_name=info.service_name or pod.service_name,
            job=pod.job,
        )

    def _container(self, container_id: str) -> cri_v1.Status | None:
        if not self._is_listed("ListContainers", container_id):
            return None
        raw = self._maybe(cri_v1.RUNTIME_SERVICE + "ContainerStatus", cri_v1.status_request(container_id))
        return cri_v1.container_status(raw, self._runtime, container_id) if raw is not None else None

    def _sandbox(self, sandbox_id: str) -> RuntimeInfo | None:
        if not self._is_listed("ListPodSandbox", sandbox_id):
            return None
        raw = self._maybe(cri_v1.RUNTIME_SERVICE + "PodSandboxStatus", cri_v1.status_request(sandbox_id))
        return cri_v1.sandbox_status(raw, self._runtime, sandbox_id) if raw is not None else None

    def _is_listed(self, method: str, container_id: str) -> bool:
        raw = self._maybe(cri_v1.RUNTIME_SERVICE + method, cri_v1.find_request(container_id))
        return raw is not None and cri_v1.names(raw, container_id)

    def _pod(self, sandbox_id: str) -> RuntimeInfo | None:
        if sandbox_id in self._pods:
            return self._pods.get(sandbox_id)
        pod = self._sandbox(sandbox_id)
        _keep(self._pods, sandbox_id, pod)
        return pod

    def _stop_signal(self, image: str) -> int | None:
        if image in self._stop_signals:
            return self._stop_signals.get(image)
        raw = self._maybe(cri_v1.IMAGE_SERVICE + "ImageStatus", cri_v1.image_status_request(image))
        signo = cri_v1.image_stop_signal(raw) if raw is not None else None
        _keep(self._stop_signals, image, signo)
        return signo

    def _maybe(self, method: str, request: bytes) -> bytes | None:
        """The answer; None if the runtime says that it doesn't know, or that this one makes it trouble."""
        try:
            return self._call(method, request)
        except _RefusedError:
            return None

    def _call(self, method: str, request: bytes) -> bytes:
        channel = self._channel
        if channel is None:
            raise NoAnswer(f"{self._path} is not open")
        # Neither (de)serializer: bytes go out and come in.
        call = channel.unary_unary(method)
        try:
            answer: object = call(request, timeout=self._timeout_s)
        except self._grpc.RpcError as error:
            code, words = error.code().name, clean(error.details() or "")
            if code == "UNIMPLEMENTED":
                words = f"no CRI v1 on this socket (Docker's own containerd has it switched off): {words}"
            kind = NoAnswer if code in _BROKEN else _RefusedError
            raise kind(f"{method.rpartition('/')[2]}: {code.lower().replace('_', ' ')}: {words}") from error
        except ValueError as error:  # the channel was closed meanwhile
            raise NoAnswer(str(error)) from error
        if not isinstance(answer, bytes):
            raise NoAnswer(f"{method} answered no bytes")
        return answer


class _RefusedError(NoAnswer):
    """The runtime answered, with an error: about this question, not about itself."""


def _keep(cache: dict[str, T], key: str, value: T) -> None:
    """By several threads: each step is one operation, and to lose an entry is no loss."""
    if len(cache) >= _PODS_MAX:
        with contextlib.suppress(StopIteration, RuntimeError):  # another thread was there
            cache.pop(next(iter(cache)), None)
    cache[key] = value


def _grpc() -> Any:
    """The package; its own log would write over the screen, so it is silenced unless the user asks for it."""
    given = os.environ.get("GRPC_VERBOSITY")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc  # type: ignore[import-untyped] # its stubs are a package of their own
    except ImportError as error:
        raise HostError(
            "CRI needs the package grpcio, which is not installed", next_step="pip install grpcio"
        ) from error
    finally:
        if given is None:
            del os.environ["GRPC_VERBOSITY"]  # a traced command must not find it
    return grpc
