"""Signals of the daemon."""

import signal
import threading
from types import SimpleNamespace

import pytest

from sigtrace.service.life import Signals, wake_main


@pytest.fixture
def signals():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with Signals() as taken:
        yield taken
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_each_is_given_once_and_none_interrupts(signals):
    # To this thread: one that another test left behind does not block it, and it would end all of them.
    signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
    assert signals.next(1) == signal.SIGHUP
    assert signals.next(0) == 0


@pytest.mark.parametrize("rubbish", [437918234, -243843872, 0, 1 << 30])
def test_a_siginfo_that_nobody_filled_is_no_signal(signals, monkeypatch, rubbish):
    """As CPython gives it back after SIGSTOP and SIGCONT."""
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: SimpleNamespace(si_signo=rubbish))
    assert signals.next(0) == 0


def test_another_thread_can_wake_it(signals):
    threading.Thread(target=wake_main).start()
    assert signals.next(30) == 0
    assert not signal.sigpending() & {signal.SIGCHLD}, "it was for this that it woke"
