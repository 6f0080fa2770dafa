"""Fuzz targets: what container runtimes and collectors answer."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import fields
from unittest import mock

from sigtrace.attribution.runtimes import cri_v1, docker, kubelet, unixhttp
from sigtrace.attribution.runtimes.base import RuntimeInfo
from sigtrace.attribution.runtimes.protobuf import Message, encode
from sigtrace.attribution.runtimes.table import merge
from sigtrace.attribution.runtimes.values import NoAnswer
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.sinks.otlp import answers, http_client, responses
from sigtrace.sinks.otlp.endpoint import Endpoint, Signal
from sigtrace.sinks.prometheus import exposition
from tests.fuzz.check import BrokenError, harmless, parts
from tests.fuzz.host import tell

__all__ = ["TARGETS"]
ID = "ab" * 32
_GIVE_UP_S = 5.0


def checked(info: RuntimeInfo | None) -> None:
    """As everything shows it."""
    if info is None:
        return
    for field in fields(info):
        value = getattr(info, field.name)
        if isinstance(value, str):
            harmless(value)
            if len(value) > 256 * 10:
                raise BrokenError(f"{field.name} of {len(value)} characters")
    if info.pre_stop:
        harmless(*info.pre_stop.command)
    workload = merge(Workload(WorkloadKind.CONTAINER, 7, "/c", container_id=ID), info)
    tell(Observation(Event(1, 10**18, Kind.SIGNAL_GENERATE, Task(5, 6, "x"), signo=15), workload))
    harmless(exposition.escape(exposition.clean(workload.image or "")))


def cri(data: bytes) -> None:
    """Each answer of CRI."""
    for read in (
        lambda: cri_v1.containers(data, "r"),
        lambda: cri_v1.sandboxes(data, "r"),
        lambda: [found.info] if (found := cri_v1.container_status(data, "r", ID)) else [],
        lambda: [cri_v1.sandbox_status(data, "r", ID)],
        lambda: cri_v1.image_stop_signal(data) and [],
        lambda: harmless(*cri_v1.version(data)),
        lambda: cri_v1.names(data, ID) and [],
    ):
        try:
            for info in read() or ():
                checked(info)
        except NoAnswer as error:
            harmless(str(error))


def cri_details(data: bytes) -> None:
    """The JSON and the texts in an answer of CRI that is one."""
    details, name, note = parts(data, 3)
    labels = {key: note.decode("utf-8", "replace") for key in [*kubelet.LABELS, *kubelet.ANNOTATIONS]}
    status = {1: ID, 2: {1: name}, 3: 1, 8: {1: name, 18: note}, 12: labels, 13: labels}
    raw = encode({1: status, 2: {"info": details.decode("utf-8", "replace")}})
    cri(raw)
    cri(
        encode({1: {1: ID, 2: {1: name, 2: note, 3: name}, 8: labels}, 2: {"info": details.decode("utf-8", "replace")}})
    )


def protobuf(data: bytes) -> None:
    """What is a message comes back the same."""
    try:
        Message(data)
    except NoAnswer as error:
        harmless(str(error))


def marks(data: bytes) -> None:
    """Annotations of a pod are its owner's to write."""
    texts = [one.decode("utf-8", "surrogateescape") for one in parts(data, 3)]
    names = [*sorted(kubelet.LABELS), *sorted(kubelet.ANNOTATIONS)]
    given = {name: texts[n % 3] for n, name in enumerate(names)}
    found = kubelet.read(given, given)
    harmless(found.container, found.pod, found.namespace, found.uid, found.service)
    if found.pre_stop:
        harmless(*found.pre_stop.command)


def docker_json(data: bytes) -> None:
    """Docker's and Podman's answers, of any JSON."""
    for headers in ({}, {"libpod-api-version": "4.9.3"}):
        client = docker.DockerClient("/nowhere")
        with mock.patch.object(docker.unixhttp, "get", lambda *_, headers=headers: (200, headers, data)):
            try:
                client.open()
                for info in client.listing():
                    checked(info)
                checked(client.fetch(ID))
            except NoAnswer as error:
                harmless(str(error))


@contextlib.contextmanager
def answering(data: bytes, kind: type[socket.socket] = socket.socket):
    """Our end of a connection to somebody who says this, whatever is asked, and then no more."""
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    near = kind(fileno=ours.detach())
    with near, theirs:
        theirs.settimeout(5)
        theirs.sendall(data[: 1 << 17])
        theirs.shutdown(socket.SHUT_WR)
        yield near


def docker_http(data: bytes) -> None:
    """The same below JSON: HTTP."""

    with answering(data, unixhttp._Socket) as sock:

        def connect(connection: unixhttp._Connection) -> None:
            sock.deadline = connection._deadline
            connection.sock = sock

        with mock.patch.object(unixhttp._Connection, "connect", connect):
            try:
                unixhttp.get("/nowhere", "/_ping", _GIVE_UP_S)
            except NoAnswer as error:
                harmless(str(error))


def collector(data: bytes) -> None:
    """What a collector answers to a request: bytes of HTTP."""
    client = http_client.HttpClient(Endpoint("http://127.0.0.1:9/v1/traces"), Signal.TRACES)
    with answering(data) as sock:

        def connect(connection: http_client.http.client.HTTPConnection) -> None:
            connection.sock = sock

        with mock.patch.object(http_client.http.client.HTTPConnection, "connect", connect):
            answer = client.send(b"body", _GIVE_UP_S)
            client.close()
    harmless(answer.why)
    if isinstance(answer, answers.Later) and not 0 <= (answer.after_s or 0) <= answers.PAUSE_MAX_S:
        raise BrokenError(f"{answer}")


def collector_words(data: bytes) -> None:
    """Messages and headers of a collector, one by one."""
    for signal in Signal:
        rejected, why = responses.partial_success(data, signal)
        harmless(answers.said(why))
        if rejected < 0:
            raise BrokenError(f"{rejected} rejected")
    harmless(answers.said(responses.message_of(data)), answers.said(data, ("secret",)))
    delay = responses.retry_delay(data)
    for value in (delay, answers.retry_after(data.decode("latin-1"))):
        if value is not None:
            answers.pause_s(answers.Later("", value), 3, 1.0)


TARGETS = {
    "cri": cri,
    "cri-details": cri_details,
    "protobuf": protobuf,
    "marks": marks,
    "docker-json": docker_json,
    "docker-http": docker_http,
    "collector": collector,
    "collector-words": collector_words,
}
