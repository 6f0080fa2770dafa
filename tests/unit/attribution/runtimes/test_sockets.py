"""Where sockets are looked for."""

import os
import socket
from pathlib import Path

import pytest

from sigtrace.attribution.runtimes import sockets
from sigtrace.attribution.runtimes.base import Api, SocketState
from sigtrace.attribution.runtimes.sockets import Socket
from sigtrace.errors import UsageError


@pytest.fixture
def listen(short):
    """Makes a socket below the folder."""
    opened = []

    def at(place: str) -> Path:
        path = short / place
        path.parent.mkdir(parents=True, exist_ok=True)
        opened.append(socket.socket(socket.AF_UNIX))
        opened[-1].bind(str(path))
        return path

    yield at
    for one in opened:
        one.close()


def test_sockets_are_found_at_the_usual_places_below_each_root(short, listen):
    containerd, podman = listen("run/containerd/containerd.sock"), listen("host/run/podman/podman.sock")
    found = sockets.find([str(short), f"{short}/host"])
    assert found == [Socket(Api.CRI, str(containerd)), Socket(Api.DOCKER, str(podman))]


def test_one_that_two_names_lead_to_is_found_once(short, listen):
    docker = listen("run/docker.sock")
    (short / "var").mkdir()
    os.symlink("../run", short / "var/run")
    assert sockets.find([str(short)]) == [Socket(Api.DOCKER, str(docker))]


def test_what_is_no_socket_is_passed_over(short):
    (short / "run/crio").mkdir(parents=True)
    (short / "run/crio/crio.sock").write_text("", encoding="ascii")
    os.symlink("nowhere", short / "run/docker.sock")
    assert sockets.find([str(short)]) == []


def test_probing_says_who_is_there(server):
    def answer(connection):
        page = b'{"Version": "26.1"}' if b"/version" in server.requests[-1] else b"OK"
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + page)

    server.answer = answer
    status = sockets.probe(Socket(Api.DOCKER, server.path))
    assert (status.state, status.runtime, status.error) == (SocketState.CONNECTED, "docker 26.1", None)


def test_probing_says_what_is_wrong(short):
    status = sockets.probe(Socket(Api.DOCKER, str(short / "none")))
    assert (status.state, status.runtime) == (SocketState.FAILING, None)
    assert status.error == "GET /_ping: No such file or directory"


@pytest.mark.parametrize(
    ("text", "api", "path"),
    [
        ("/run/x.sock", Api.CRI, "/run/x.sock"),
        ("unix:///run/x.sock", Api.CRI, "/run/x.sock"),
        ("unix:/run/x.sock", Api.CRI, "/run/x.sock"),
        ("docker:/run/x.sock", Api.DOCKER, "/run/x.sock"),
        ("podman:unix:///run/x.sock", Api.DOCKER, "/run/x.sock"),
        ("cri:/run/docker.sock", Api.CRI, "/run/docker.sock"),
        ("/run/user/1000/podman/podman.sock", Api.DOCKER, "/run/user/1000/podman/podman.sock"),
        ("/var/run/docker.sock", Api.DOCKER, "/var/run/docker.sock"),
    ],
)
def test_a_given_socket_says_what_is_spoken_or_its_name_does(text, api, path):
    assert sockets.given([text]) == [Socket(api, path)]


@pytest.mark.parametrize("text", ["", "x.sock", "tcp://127.0.0.1:2375", "http:/x", "/a\0b", "/" + "x" * 107])
def test_what_can_be_no_socket_is_refused(text):
    with pytest.raises(UsageError):
        sockets.given([text])
