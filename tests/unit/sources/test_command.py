"""A command that waits until it is traced."""

import os
import signal
import sys

import pytest

from sigtrace.errors import RunError
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.sources.command import Command


def ended(command, wait_until):
    wait_until(command.poll)
    return command.status


def test_it_runs_only_when_it_is_released(tmp_path, wait_until):
    proof = tmp_path / "ran"
    command = Command(["touch", str(proof)])
    assert not command.poll()
    assert not proof.exists()
    command.release()
    assert ended(command, wait_until) == WaitStatus(0)
    assert proof.exists()


def test_its_status_is_the_commands(wait_until):
    command = Command([sys.executable, "-c", "import sys; sys.exit(42)"])
    command.release()
    assert ended(command, wait_until).exit_code == 42


def test_a_signal_is_passed_on_and_not_after_its_end(wait_until):
    command = Command(["sleep", "60"])
    command.release()
    command.signal(signal.SIGTERM)
    assert ended(command, wait_until).signal == signal.SIGTERM
    command.signal(signal.SIGTERM)


def test_signals_that_python_ignores_or_handles_are_at_their_defaults_in_it(wait_until):
    script = "kill -PIPE $$; exit 1"
    command = Command(["sh", "-c", script])
    command.release()
    assert ended(command, wait_until).signal == signal.SIGPIPE


@pytest.mark.parametrize("program", ["/nonexistent/program", "no-such-program-anywhere", "/etc/passwd"])
def test_what_cannot_be_executed_is_said_with_its_name_and_ends_with_127(program):
    command = Command([program])
    with pytest.raises(RunError, match=program):
        command.release()
    assert command.poll()
    assert command.status.exit_code == 127


def test_an_abandoned_one_never_runs_and_leaves_no_zombie(tmp_path):
    proof = tmp_path / "ran"
    command = Command(["touch", str(proof)])
    command.abandon()
    command.abandon()
    assert not proof.exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(command.pid, os.WNOHANG)


def test_abandoning_what_was_released_does_nothing(wait_until):
    command = Command(["true"])
    command.release()
    command.abandon()
    assert ended(command, wait_until).exit_code == 0


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_no_descriptor_is_left():
    before = open_files()
    Command(["true"]).abandon()
    assert open_files() == before
