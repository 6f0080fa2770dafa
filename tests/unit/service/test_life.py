"""Signals of the daemon."""

import os
import signal
from types import SimpleNamespace

import pytest

from sigtrace.service.life import Signals


@pytest.fixture
def signals():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with Signals() as taken:
        yield taken
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_each_is_given_once_and_none_interrupts(signals):
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.next(1) == signal.SIGHUP
    assert signals.next(0) == 0


@pytest.mark.parametrize("rubbish", [437918234, -243843872, 0, 1 << 30])
def test_a_siginfo_that_nobody_filled_is_no_signal(signals, monkeypatch, rubbish):
    """As CPython gives it back after SIGSTOP and SIGCONT."""
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: SimpleNamespace(si_signo=rubbish))
    assert signals.next(0) == 0
