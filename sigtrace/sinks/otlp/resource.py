"""Whose a span or a series is, as OTLP resources: a container, or sigtrace itself.

Semantic conventions: resource/k8s, container, service, host. What is not known is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sigtrace import __version__
from sigtrace.model.workload import Workload
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.otlp.wire import Value, fill

if TYPE_CHECKING:
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

#: Of OTEL_RESOURCE_ATTRIBUTES these are about the agent, and no container's: its pod, its service, its process.
_AGENTS_OWN: Final = (
    "service.",
    "container.",
    "process.",
    "telemetry.",
    "k8s.pod.",
    "k8s.container.",
    "k8s.namespace.",
)
_AGENTS_WORKLOAD: Final = tuple(
    f"k8s.{kind}." for kind in "daemonset deployment replicaset statefulset job cronjob".split()
)


@dataclass(frozen=True, slots=True)
class Image:
    """The parts of an image's name."""

    name: str | None = None
    tag: str | None = None
    digest: str | None = None
    """the whole ``name@sha256:…``"""
    id: str | None = None


def image_of(image: str | None) -> Image:
    """``registry:5000/app:1.2@sha256:…`` in its parts (reference grammar of distribution/reference)."""
    if not image:
        return Image()
    if image.startswith("sha256:"):
        return Image(id=image)
    name, at, digest = image.partition("@")
    slash = name.rfind("/")
    base, colon, tag = name[slash + 1 :].partition(":")
    name = name[: slash + 1] + base
    return Image(name or None, tag if colon and tag else None, f"{name}@{digest}" if at and digest else None)


def container_attributes(workload: Workload, settings: OtlpSettings) -> dict[str, Value]:
    """Of a container; of a unit, a session or the host what there is."""
    image = image_of(workload.image)
    own: dict[str, Value | None] = {
        "service.name": _service(workload),
        "host.name": workload.node,
        "k8s.node.name": workload.node if workload.pod else None,
        "k8s.namespace.name": workload.namespace,
        "k8s.pod.name": workload.pod,
        "k8s.pod.uid": workload.pod_uid,
        "k8s.container.name": workload.container_name if workload.pod else None,
        "k8s.container.restart_count": workload.restart_count,
        "container.id": workload.container_id,
        "container.name": workload.container_name,
        "container.runtime.name": workload.runtime,
        "container.image.name": image.name,
        "container.image.tags": [image.tag] if image.tag else None,
        "container.image.repo_digests": [image.digest] if image.digest else None,
        "container.image.id": image.id,
    }
    shared = {k: v for k, v in settings.resource.items() if not k.startswith((*_AGENTS_OWN, *_AGENTS_WORKLOAD))}
    return {**shared, **{key: value for key, value in own.items() if value not in (None, "")}}


def _service(workload: Workload) -> str:
    return (
        workload.service_name
        or workload.container_name
        or (workload.container_id or "")[:12]
        or (workload.cgroup or "").rstrip("/").rpartition("/")[2]
        or "unknown_service"
    )


def agent_attributes(settings: OtlpSettings, node: str) -> dict[str, str]:
    """Of sigtrace itself; OTEL_RESOURCE_ATTRIBUTES goes over what is found here, but for OTEL_SERVICE_NAME."""
    own = {"service.version": __version__, "host.name": node} if node else {"service.version": __version__}
    return {**own, **settings.resource, "service.name": settings.service_name}


def fill_container(resource: Resource, workload: Workload, settings: OtlpSettings) -> None:
    """The resource of what concerns a container."""
    fill(resource.attributes, container_attributes(workload, settings))


def fill_agent(resource: Resource, settings: OtlpSettings, node: str) -> None:
    """The resource of what concerns sigtrace."""
    fill(resource.attributes, agent_attributes(settings, node))


def container_resource(workload: Workload, settings: OtlpSettings) -> Resource:
    """As a message of its own."""
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    resource = Resource()
    fill_container(resource, workload, settings)
    return resource


def agent_resource(settings: OtlpSettings, node: str) -> Resource:
    """As a message of its own."""
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    resource = Resource()
    fill_agent(resource, settings, node)
    return resource
