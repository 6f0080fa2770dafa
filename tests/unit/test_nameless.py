"""A choice by names where nobody knows any: said at the start, or the user waits for ever."""

import pytest

from sigtrace import commands
from sigtrace.attribution.runtimes.base import Api
from sigtrace.attribution.runtimes.sockets import Socket
from sigtrace.model.filter import WorkloadFilter

POD = WorkloadFilter(pod="api-0")


@pytest.fixture
def sockets(monkeypatch):
    """What is found at the usual places."""
    found = []
    monkeypatch.setattr(commands, "find", lambda: found)
    return found


def test_names_without_a_runtime_to_ask_are_said_to_match_nothing_with_what_to_do(sockets):
    reason = commands.nameless(POD, ())
    assert "--pod api-0 may match nothing" in reason
    assert "--runtime-socket" in reason


def test_with_a_runtime_found_or_given_there_is_nothing_to_say(sockets):
    assert commands.nameless(POD, ("cri:/run/x.sock",)) == ""
    sockets.append(Socket(Api.CRI, "/run/containerd/containerd.sock"))
    assert commands.nameless(POD, ()) == ""


def test_ids_need_no_runtime(sockets):
    assert commands.nameless(WorkloadFilter("0123abcd"), ()) == ""
    assert commands.nameless(WorkloadFilter(), ()) == ""
