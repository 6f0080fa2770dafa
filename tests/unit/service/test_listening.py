"""One agent a node, at a socket in a folder that is root's alone."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from sigtrace.errors import HostError, RunError, UsageError
from sigtrace.service.listening import DEFAULT_SOCKET, Lock, agent_socket, listen, make_folder, unlink_if_ours

#: Takes the lock, says so, and ends on SIGTERM as an agent does; or doesn't.
HOLDER = """
import signal, sys
from sigtrace.service.listening import Lock
lock = Lock(sys.argv[1])
lock.take()
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the lock."""
    started = []

    def hold(how="willing"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "agent.sock"), how], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_socket_is_where_it_is_given_else_where_the_variable_says_else_at_its_place(monkeypatch):
    monkeypatch.delenv("SIGTRACE_SOCKET", raising=False)
    assert agent_socket() == DEFAULT_SOCKET
    monkeypatch.setenv("SIGTRACE_SOCKET", "/tmp/x")
    assert agent_socket() == "/tmp/x"
    assert agent_socket("/tmp/y") == "/tmp/y"


@pytest.mark.parametrize("path", ["/tmp/" + "x" * 120, "/tmp/a\0b"])
def test_a_path_that_no_socket_can_have_is_wrong_usage(path):
    with pytest.raises(UsageError, match="can be no socket"):
        agent_socket(path)


def test_a_second_agent_is_told_who_the_first_is(tmp_path, holder):
    first = holder()
    lock = Lock(str(tmp_path / "agent.sock"))
    with pytest.raises(RunError, match=rf"an agent runs on this node already \(pid {first.pid}, .*--replace") as raised:
        lock.take()
    assert raised.value.exit_code == 4
    lock.release()
    assert first.poll() is None
    assert (tmp_path / "agent.lock").read_text() == f"{first.pid}\n"


def test_the_lock_ends_with_who_holds_it_however_that_ends(tmp_path, holder):
    first = holder()
    first.kill()
    first.wait()
    lock = Lock(str(tmp_path / "agent.sock"))
    assert lock.take() == 0
    assert (tmp_path / "agent.lock").read_text() == f"{os.getpid()}\n"
    lock.release()
    again = Lock(str(tmp_path / "agent.sock"))
    assert again.take() == 0
    again.release()


def test_replace_asks_the_first_to_end_and_waits_for_that(tmp_path, holder):
    first = holder()
    lock = Lock(str(tmp_path / "agent.sock"))
    assert lock.take(replace=True) == first.pid
    assert first.wait(10) == -signal.SIGTERM
    lock.release()


def test_replace_does_not_kill_one_that_does_not_end(tmp_path, holder, monkeypatch):
    monkeypatch.setattr("sigtrace.service.listening._REPLACE_S", 0.2)
    first = holder("deaf")
    lock = Lock(str(tmp_path / "agent.sock"))
    with pytest.raises(RunError, match=f"pid {first.pid} was asked to end and did not"):
        lock.take(replace=True)
    assert first.poll() is None
    lock.release()


def test_nobody_is_signalled_whose_pid_stands_in_the_file_of_an_agent_that_has_gone(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "agent.lock").write_text(f"{stranger.pid}\n")
        lock = Lock(str(tmp_path / "agent.sock"))
        assert lock.take(replace=True) == 0
        assert stranger.poll() is None
        stranger.kill()
    lock.release()


@pytest.mark.parametrize("text", ["", "-1", "1", "x", "9" * 30, "4711 0"])
def test_a_file_that_names_nobody_makes_nobody_be_signalled(tmp_path, holder, monkeypatch, text):
    monkeypatch.setattr("sigtrace.service.listening._REPLACE_S", 0.1)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: pytest.fail("signalled"))
    holder()
    (tmp_path / "agent.lock").write_text(text)
    lock = Lock(str(tmp_path / "agent.sock"))
    with pytest.raises(RunError):
        lock.take(replace=True)
    lock.release()


# ---- the folder


def test_the_folder_is_made_for_its_owner_alone(tmp_path):
    make_folder(str(tmp_path / "a" / "b" / "agent.sock"))
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_folder_that_all_may_write_to_is_closed_if_it_is_ours(tmp_path):
    (tmp_path / "emptyDir").mkdir()
    (tmp_path / "emptyDir").chmod(0o777)
    make_folder(str(tmp_path / "emptyDir" / "agent.sock"))
    assert stat.S_IMODE((tmp_path / "emptyDir").stat().st_mode) == 0o700


def test_a_folder_as_tmp_is_left_as_it_is(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    make_folder(str(tmp_path / "shared" / "agent.sock"))
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o1777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away: run it as root")
def test_a_folder_that_another_may_write_to_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    (tmp_path / "theirs").chmod(0o777)
    with pytest.raises(HostError, match="others can write"):
        make_folder(str(tmp_path / "theirs" / "agent.sock"))


def test_a_folder_that_can_not_be_is_a_host_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot use the folder"):
        make_folder(str(tmp_path / "file" / "agent.sock"))


def test_a_path_as_long_as_a_socket_may_have_can_be_listened_at(tmp_path):
    folder = str(tmp_path / "x")
    path = f"{folder}/{'s' * (107 - len(folder) - 1)}"
    assert len(agent_socket(path)) == 107
    listener = listen(path)
    assert stat.S_ISSOCK(os.lstat(path).st_mode)
    listener.close()


def test_only_a_socket_of_ones_own_is_removed(tmp_path):
    path = tmp_path / "agent.sock"
    path.touch()
    unlink_if_ours(str(path), path.stat().st_ino + 1)
    assert path.exists()
    unlink_if_ours(str(path), path.stat().st_ino)
    assert not path.exists()


def test_no_thread_is_left_behind_by_all_this():
    assert [t.name for t in threading.enumerate() if t.name.startswith("service")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_folder_of_another_user_is_not_used_whatever_its_mode(tmp_path):
    """Its owner could put a socket of theirs in place of the agent's."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, 65534, 65534)
    with pytest.raises(HostError, match="belongs to uid 65534"):
        make_folder(str(theirs / "agent.sock"))
