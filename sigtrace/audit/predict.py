"""What the kernel would do with a signal: sig_ignored, complete_signal and get_signal (kernel/signal.c), in advance.

tests/kernel/test_audit.py sends the signals and holds the predictions against what happens; docs/audit.md has the rules
as a table.
"""

from __future__ import annotations

from typing import Final

from sigtrace.audit.rows import Prediction, WouldBe
from sigtrace.model import signals
from sigtrace.model.event import Event, Masks
from sigtrace.model.signals import DefaultAction

_UNCATCHABLE: Final = frozenset({signals.SIGKILL, signals.SIGSTOP})

Threads = tuple[tuple[int, int], ...]
"""(blocked, real_blocked) of the leader, then of each thread whose masks are others"""


def threads_of(masks: Masks) -> Threads:
    """The masks of its threads, the leader's first."""
    return masks.threads or ((masks.blocked, masks.real_blocked),)


def predict(event: Event, signo: int) -> Prediction:
    """What becomes of a signal from outside to the process of this TASK event. The first rule that fits decides."""
    masks = event.masks
    if masks is None or event.zombie:
        return _unknown("not-seen")
    if event.exiting:
        return _unknown("exiting")
    if event.ptraced:
        return _unknown("traced")
    if signo in _UNCATCHABLE:
        # A v1 freezer keeps even SIGKILL until the thaw, v2 does not.
        return _unknown("frozen") if event.frozen else Prediction(WouldBe.DEFAULT, "uncatchable")
    return _meets(event, masks, threads_of(masks), signo)


def _unknown(cause: str) -> Prediction:
    return Prediction(WouldBe.UNKNOWN, cause)


def _meets(event: Event, masks: Masks, threads: Threads, signo: int) -> Prediction:
    """Of a signal that can be blocked and handled."""
    default = not signals.in_mask(masks.caught | masks.ignored, signo)
    action = signals.default_action(signo)
    spared = event.ns_init and default
    nothing = default and action in (DefaultAction.IGNORE, DefaultAction.CONTINUE)
    # Whether it is thrown away at once is up to the leader alone, whatever other threads wait for.
    leader_blocks, leader_waits = _has(threads[0], signo)
    if not leader_blocks and not leader_waits:
        if signals.in_mask(masks.ignored, signo) or nothing:
            return Prediction(WouldBe.IGNORED, "ignored-by-default" if nothing else "sig-ign")
        if spared:
            return Prediction(WouldBe.DROPPED, "no-handler")  # stopped or frozen all the same
    held = "stopped" if event.stopped else "frozen" if event.frozen else ""
    if taken := taken_by(masks, threads, signo):
        return Prediction(WouldBe.PENDING, held) if held else Prediction(WouldBe.TAKEN, taken)
    states = [_has(thread, signo) for thread in threads]
    if all(blocks for blocks, _ in states):
        return Prediction(WouldBe.PENDING, "blocked")  # even if it is ignored: that may change before it is unblocked
    if leader_blocks and any(waits for _, waits in states):
        return _unknown("threads")  # one waits for it, one would get it otherwise: the kernel takes any
    if signals.in_mask(masks.caught, signo):
        return Prediction(WouldBe.PENDING, held) if held else Prediction(WouldBe.HANDLED, "handler")
    if signals.in_mask(masks.ignored, signo) or nothing:
        return Prediction(WouldBe.IGNORED, "ignored-by-default" if nothing else "sig-ign")
    if event.stopped:
        return Prediction(WouldBe.PENDING, "stopped")
    if event.frozen:
        return _unknown("frozen")  # a v1 freezer keeps it until the thaw; what v2 has frozen dies of it
    if spared and action is DefaultAction.STOP:
        return Prediction(WouldBe.DROPPED, "no-handler")
    # Of an init whose leader blocks it some kernels decide that it is fatal for the thread that does not, and others
    # drop it there; 6.18.44 was seen to do either (docs/kernel-notes.md).
    return _unknown("another-thread") if spared else Prediction(WouldBe.DEFAULT, "default-action")


def _has(thread: tuple[int, int], signo: int) -> tuple[bool, bool]:
    """Whether the thread blocks the signal, and whether it waits for it."""
    blocked, real_blocked = thread
    return signals.in_mask(blocked, signo), signals.in_mask(real_blocked & ~blocked, signo)


def taken_by(masks: Masks, threads: Threads, signo: int) -> str:
    """How the program fetches the signal itself, if it surely does: ``sigwait``, ``signalfd``, or empty."""
    states = [_has(thread, signo) for thread in threads]
    leader_waits = states[0][1]
    if leader_waits or (any(waits for _, waits in states) and all(blocks or waits for blocks, waits in states)):
        return "sigwait"
    # What a thread leaves unblocked is delivered before anybody reads it.
    if all(blocks for blocks, _ in states) and signals.in_mask(masks.signalfd, signo):
        return "signalfd"
    return ""


def waited(masks: Masks) -> int:
    """The signals that a thread waits for in sigtimedwait, bit (signo - 1)."""
    mask = 0
    for blocked, real_blocked in threads_of(masks):
        mask |= real_blocked & ~blocked
    return mask
