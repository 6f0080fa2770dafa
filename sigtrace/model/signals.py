"""Signal numbers, names, default actions and masks, as Linux has them on x86-64 and arm64 (signal(7)).

The numbers are written out rather than taken from :mod:`signal`: a recording is read on any machine.
"""

from __future__ import annotations

import re
from enum import StrEnum

_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29}

SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL = range(1, 10)
SIGSEGV, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP = 11, 13, 14, 15, 17, 18, 19
SIGURG, SIGWINCH, SIGSYS = 23, 28, 31
#: glibc keeps 32 and 33 for itself; the kernel counts real-time signals from 32 to 64.
SIGRTMIN, SIGRTMAX = 34, 64

MAX_SIGNO = 64

_CORE = frozenset({3, 4, 5, 6, 7, 8, 11, 24, 25, 31})
_IGNORED = frozenset({17, 18, 23, 28})
_STOPPING = frozenset({19, 20, 21, 22})

#: What runtimes, service managers and people send to ask a process to end.
STOP_SIGNALS = frozenset({SIGHUP, SIGINT, SIGQUIT, SIGTERM})


_FAULTS = frozenset({SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS})


class DefaultAction(StrEnum):
    """What the kernel does with a signal at SIG_DFL."""

    TERMINATE = "terminate"
    CORE = "core"
    IGNORE = "ignore"
    STOP = "stop"
    CONTINUE = "continue"


def name(signo: int) -> str:
    """``15`` → ``SIGTERM``, ``37`` → ``SIGRTMIN+3``; a number that is no signal → ``signal 99``."""
    if 1 <= signo <= len(_NAMES):
        return "SIG" + _NAMES[signo - 1]
    if SIGRTMIN <= signo <= SIGRTMAX:
        if signo == SIGRTMIN:
            return "SIGRTMIN"
        return f"SIGRTMIN+{signo - SIGRTMIN}" if signo < SIGRTMAX else "SIGRTMAX"
    return f"signal {signo}"


def number(text: str) -> int:
    """``SIGTERM``, ``term``, ``15``, ``RTMIN+3``, ``RTMAX-1`` → the number.

    Raises ValueError for what is no signal.
    """
    word = text.strip().upper().removeprefix("SIG")
    if re.fullmatch(r"[0-9]{1,3}", word):
        signo = int(word)
    elif word in _ALIASES:
        signo = _ALIASES[word]
    elif word in _NAMES:
        signo = _NAMES.index(word) + 1
    elif match := re.fullmatch(r"RTMIN(?:\+([0-9]{1,2}))?", word):
        signo = SIGRTMIN + int(match[1] or 0)
    elif match := re.fullmatch(r"RTMAX(?:-([0-9]{1,2}))?", word):
        signo = SIGRTMAX - int(match[1] or 0)
        signo = 0 if signo < SIGRTMIN else signo
    else:
        signo = 0
    if not 1 <= signo <= MAX_SIGNO:
        raise ValueError(f"{text!r} is not a signal")
    return signo


def default_action(signo: int) -> DefaultAction:
    """What happens to an ordinary process without a handler; an init of a PID namespace is spared it."""
    if signo == SIGCONT:
        return DefaultAction.CONTINUE
    if signo in _CORE:
        return DefaultAction.CORE
    if signo in _IGNORED:
        return DefaultAction.IGNORE
    if signo in _STOPPING:
        return DefaultAction.STOP
    return DefaultAction.TERMINATE


def is_fatal(signo: int) -> bool:
    """Whether its default action ends the process."""
    return default_action(signo) in (DefaultAction.TERMINATE, DefaultAction.CORE)


def is_fault(signo: int) -> bool:
    """Whether a program that does something wrong gets it."""
    return signo in _FAULTS


def mask_signals(mask: int) -> list[int]:
    """The signals of a mask as /proc/PID/status shows it (SigCgt and its like): bit 0 is signal 1."""
    return [signo for signo in range(1, MAX_SIGNO + 1) if mask >> (signo - 1) & 1]


def in_mask(mask: int, signo: int) -> bool:
    """Whether the signal's bit stands in the mask."""
    return bool(mask >> (signo - 1) & 1)
