"""Where the screens' data come from: an agent's socket that comes and goes, and a recording at any speed."""

import dataclasses
import json
import subprocess
import sys
import time

import pytest

from sigtrace.errors import RunError, UsageError
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.overview import SnapshotEncoder
from sigtrace.service import client
from sigtrace.service.protocol import PROTOCOL, Hello
from sigtrace.service.server import Server
from sigtrace.service.store import Store
from sigtrace.top import live, run
from sigtrace.top.live import AgentFeed
from sigtrace.top.played import Played
from sigtrace.tui.cells import ordered
from tests.recordings import FOLDER
from tests.unit.tui.scene import SNAPSHOT, STOPPED, VERDICTS, WEB
from tests.unit.tui.terminal import Terminal

PREFORK = str(FOLDER / "prefork.sigtrace")
ZOMBIES = str(FOLDER / "never-waits.sigtrace")
ANYTHING = WorkloadFilter()


@pytest.mark.parametrize(
    ("given", "whose"),
    [
        ({}, "agent"),
        ({"local": True}, "capture"),
        ({"backend": "ptrace"}, "capture"),
        ({"sockets": ("cri:/run/x.sock",)}, "capture"),
        ({"socket": "/run/x.sock", "backend": "ptrace"}, "agent"),  # it was named
        ({"socket": "/run/x.sock", "local": True}, "capture"),
    ],
)
def test_an_agent_is_read_unless_something_else_is_asked_for(monkeypatch, given, whose):
    monkeypatch.setattr(client, "is_there", lambda _: True)
    monkeypatch.setattr(live, "AgentFeed", lambda *_: "agent")
    monkeypatch.setattr(live, "CaptureFeed", lambda *_: "capture")
    asked = {"plain": False, "local": False, "socket": None, "replay": None, "speed": 1.0, "backend": "auto"}
    assert run._feed(**{**asked, "chosen": ANYTHING, "sockets": (), **given}) == whose


class Agent:
    """A service whose snapshot a test sets."""

    def __init__(self, path):
        self.path = str(path)
        self.snapshot = SNAPSHOT
        self.raw = None
        self._encoder = SnapshotEncoder()
        store = Store(None, lambda _: None)
        store.open(time.time_ns())
        self._server = Server(
            self.path,
            store,
            Hello("0.1", PROTOCOL, 1, "n1", "boot"),
            status=lambda status: status,
            tell=lambda _: None,
            snapshot=self._frame,
        )
        self._server.start()
        for verdict in VERDICTS:
            self._server.offer(verdict)

    def _frame(self):
        return self.raw or json.dumps(self._encoder.plain(self.snapshot)).encode()

    def close(self):
        self._server.close()


@pytest.fixture
def agent(tmp_path):
    found = Agent(tmp_path / "agent.sock")
    yield found
    found.close()


@pytest.fixture
def feed(agent):
    found = AgentFeed(agent.path, ANYTHING)
    yield found
    found.close()


def test_what_the_agent_shows_is_shown_and_goes_on(agent, feed, wait_until):
    assert wait_until(feed.newest) == SNAPSHOT
    agent.snapshot = dataclasses.replace(SNAPSHOT, events=99_999)
    wait_until(lambda: feed.newest().events == 99_999)
    assert feed.state == ""


def test_an_agent_that_went_is_said_and_one_that_comes_is_read(agent, feed, wait_until):
    wait_until(feed.newest)
    agent.close()
    assert "trying again" in wait_until(lambda: feed.state)
    assert feed.newest() == SNAPSHOT
    again = Agent(agent.path)
    try:
        again.snapshot = dataclasses.replace(SNAPSHOT, events=7)
        wait_until(lambda: feed.newest().events == 7 and not feed.state, timeout=10)
    finally:
        again.close()


@pytest.mark.parametrize("raw", [b'{"v": 9}', b"[]", b'{"v": 1, "rows": 3, "briefs": []}'])
def test_an_agent_that_sends_no_snapshot_is_said(agent, feed, wait_until, raw):
    wait_until(feed.newest)
    agent.raw = raw
    assert "no snapshot" in wait_until(lambda: feed.state)
    assert feed.newest() == SNAPSHOT


def test_verdicts_come_in_full_from_the_agent(feed, wait_until):
    wait_until(feed.newest)
    wait_until(lambda: len(feed.verdicts()) == len(VERDICTS))
    assert STOPPED in feed.verdicts()


def test_a_choice_is_kept_to(agent, wait_until):
    chosen = AgentFeed(agent.path, WorkloadFilter(container="web"))
    try:
        found = wait_until(chosen.newest)
        assert [row.workload for row in found.rows] == [WEB]
        assert chosen.newest() is chosen.newest()
    finally:
        chosen.close()


def top(*args):
    command = [sys.executable, "-m", "sigtrace.cli.main", "top", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_once_prints_a_plain_frame_of_the_agent(agent):
    ran = top("--once", "--socket", agent.path)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("sigtrace top  4 containers")
    assert [line[2:15] for line in lines[2:4]] == ["default/api-7", "default/shop-"]
    assert "\x1b" not in ran.stdout
    assert all(len(line) <= 80 for line in lines)


def test_json_is_the_snapshot(agent):
    ran = top("-o", "json", "--socket", agent.path, "--container", "web")
    assert ran.returncode == 0
    snapshot = json.loads(ran.stdout)
    assert [row["workload"]["container_name"] for row in snapshot["rows"]] == ["web"]
    assert snapshot["v"] == 1


def test_without_an_agent_a_socket_that_was_asked_for_is_an_error(tmp_path):
    ran = top("--once", "--socket", str(tmp_path / "none"))
    assert ran.returncode == 3
    assert "no agent runs" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_screen_lives_through_an_agent_s_restart(agent, wait_until):
    with Terminal("top", "--socket", agent.path, columns=110) as terminal:
        at = terminal.until(b"shop-0")
        agent.close()
        at = terminal.until(b"agent gone", at)
        again = Agent(agent.path)
        again.snapshot = dataclasses.replace(SNAPSHOT, node="n2")
        try:
            terminal.until(b"n2", at)
            terminal.type(b"q")
            assert terminal.ended() == 0
            assert terminal.is_restored()
        finally:
            again.close()


@pytest.fixture
def play():
    opened = []

    def start(path, speed=1000.0, **chosen):
        opened.append(Played(path, WorkloadFilter(**chosen), speed))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_recording_is_played_to_its_end(play, wait_until):
    played = play(PREFORK)
    wait_until(lambda: played.place[1] is not None)
    snapshot = played.newest()
    assert [row.masked > 0 for row in snapshot.rows] == [True]
    assert snapshot.briefs
    assert len(played.verdicts()) == len(snapshot.briefs)
    assert snapshot.rate is None


def test_going_back_and_on_again_shows_the_same(play, wait_until):
    played = play(ZOMBIES)
    wait_until(lambda: played.place[1] is not None)
    end, whole = played.newest(), played.place[1]
    played.paused = True
    played.seek(-whole)
    wait_until(lambda: played.place[0] == 0 and not played.newest().briefs)
    played.seek(whole * 2)
    wait_until(lambda: played.place[0] == whole and played.newest().briefs)
    assert wait_until(lambda: played.newest() == end or None)


def test_what_is_held_stands_still_and_a_place_is_found(play, wait_until):
    played = play(ZOMBIES, speed=0.125)
    played.paused = True
    wait_until(played.newest)
    played.seek(0.2)
    wait_until(lambda: played.place[0] == pytest.approx(0.2))


def test_a_recording_that_is_none_is_refused_before_there_is_a_screen(tmp_path):
    path = tmp_path / "none"
    path.write_bytes(b"nothing")
    with pytest.raises(RunError):
        Played(str(path), ANYTHING)
    with pytest.raises(UsageError):
        Played(str(tmp_path / "missing"), ANYTHING)


def test_once_of_a_recording_is_how_it_ended():
    ran = top("--once", "--replay", PREFORK)
    assert ran.returncode == 0
    assert "prefork" in ran.stdout
    assert "crashes are hidden" in ran.stdout


def test_trouble_of_each_recording_is_on_top(play, wait_until):
    played = play(str(FOLDER / "shell-form.sigtrace"))
    wait_until(lambda: played.place[1] is not None)
    rows = ordered(played.newest().rows, "t", reverse=False)
    assert rows[0].worst == max(row.worst or 0 for row in rows)
