"""What the agent's log says of who names containers."""

from dataclasses import replace

import pytest

from sigtrace.agent.naming import Naming
from sigtrace.attribution.runtimes.base import Api, SocketState, SocketStatus
from sigtrace.service.log import Log

PATH = "/run/containerd/containerd.sock"
WAITING = SocketStatus(PATH, Api.CRI)
CONNECTED = SocketStatus(PATH, Api.CRI, SocketState.CONNECTED, "containerd 1.6.20", listed=True)
HANGS = replace(CONNECTED, listed=False)
FAILING = SocketStatus(PATH, Api.CRI, SocketState.FAILING, error="nobody listens")


@pytest.fixture
def naming():
    return Naming(Log())


@pytest.fixture
def said(naming, capsys):
    def look(*sockets, dropped=0):
        naming.look(sockets, dropped)
        return capsys.readouterr().err.splitlines()

    return look


def test_each_change_is_said_once(said):
    assert said(WAITING) == []
    assert said(CONNECTED) == [f'sigtrace: containers are named by="containerd 1.6.20" socket={PATH}']
    assert said(CONNECTED) == []
    assert said(FAILING) == [
        f"sigtrace: warning: {PATH}: nobody listens; whom it alone can name goes by an id",
    ]
    assert said(FAILING) == []
    assert len(said(CONNECTED)) == 1


def test_one_that_says_who_it_is_and_not_what_runs_is_told_once(said):
    lines = [line for sockets in [(HANGS,), (FAILING,)] * 5 for line in said(*sockets)]
    assert lines == [f"sigtrace: warning: {PATH}: nobody listens; whom it alone can name goes by an id"]


def test_that_nobody_names_them_is_said_at_the_start(said):
    assert said() == ["sigtrace: no runtime's socket found: containers go by ids"]
    assert said() == []
    assert len(said(CONNECTED)) == 1


def test_questions_that_were_dropped_are_said_as_they_become_more(said):
    assert said(CONNECTED, dropped=1200)[1:] == [
        "sigtrace: warning: 1,200 questions for containers' names were not asked: too many waited already",
    ]
    assert said(CONNECTED, dropped=1200) == []
    (line,) = said(CONNECTED, dropped=1203)
    assert line.startswith("sigtrace: warning: 3 questions ")


def test_what_a_socket_answers_does_not_reach_the_terminal(said):
    hostile = SocketStatus(PATH, Api.CRI, SocketState.FAILING, error="\x1b[2J\nsigtrace: ready")
    (line,) = said(hostile)
    assert line.startswith("sigtrace: warning: ")
    assert line.isprintable()
