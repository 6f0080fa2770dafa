"""Children of the lab, however whoever started it meets their ends."""

import os
import signal

import pytest

from sigtrace.lab.process import Child


@pytest.fixture
def reaped_by_the_kernel():
    """As after a shell's ``trap "" CHLD``."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("reaped_by_the_kernel")
def test_a_child_that_ended_before_we_could_hold_it_has_ended(monkeypatch, wait_until):
    hold = os.pidfd_open

    def too_late(pid):
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="it to be reaped")
        return hold(pid)

    monkeypatch.setattr(os, "pidfd_open", too_late)
    with open(os.devnull, "r+b") as nothing:
        child = Child(["true"], {"PATH": os.environ["PATH"]}, *[nothing.fileno()] * 3)
    child.kill()
    assert child.wait(5, "its end") == 0
