"""The lab's own judgement of a run, which sigtrace has no part in."""

import dataclasses
import signal

import pytest

from sigtrace.lab.record import Sent, Stop
from sigtrace.lab.scenario import Expectation, Result
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.waitstatus import WaitStatus

TERM, KILL = signal.SIGTERM, signal.SIGKILL


def result(expect, raw, *sent, seen=None, output=""):
    stop = Stop(tuple(Sent(signo, n) for n, signo in enumerate(sent, 1)), exited_ns=9, wait_status=WaitStatus(raw))
    scenario = dataclasses.replace(SCENARIOS["exec-form"], expect=expect)
    return Result(scenario, "box", 5, 100, 0, 1, seen or {}, 0.3, stop, output)


def expectation(code, *sent, **more):
    return Expectation(frozenset(), "graceful", None, code, sent=sent, **more)


@pytest.mark.parametrize(
    ("expect", "raw", "sent"),
    [
        (expectation(0, TERM), 0, [TERM]),
        (expectation(137, TERM, KILL), 9, [TERM, KILL]),
        (expectation(137, relayed=True), 137 << 8, []),
        (expectation(139), 11, []),
        (expectation(139), 11 | 0x80, []),
        (expectation(3), 3 << 8, []),
    ],
)
def test_what_was_expected_is_no_surprise(expect, raw, sent):
    run = result(expect, raw, *sent)
    assert run.surprises == []
    assert run.as_expected


@pytest.mark.parametrize(
    ("expect", "raw", "sent", "surprise"),
    [
        (expectation(0, TERM), 1 << 8, [TERM], "it ended with exit 1"),
        (expectation(137), 137 << 8, [], "it ended with exit 137"),
        (expectation(137, relayed=True), 9, [], "it ended with exit 137 = 128 + SIGKILL"),
        (expectation(0, TERM), 0, [TERM, KILL], "PID 1 was sent [15, 9], not [15]"),
        (expectation(0, TERM), 0, [], "PID 1 was sent [], not [15]"),
        (expectation(0, seen={"zombies": 3}), 0, [], "zombies: 2, not 3"),
        (expectation(0, seen={"oom_kills": 1}), 0, [], "oom_kills: None, not 1"),
        (expectation(0, said={"bye": 1}), 0, [], "'bye' was said 2 times, not 1"),
        (expectation(0, said={"hello": 1}), 0, [], "'hello' was said 0 times, not 1"),
    ],
)
def test_each_surprise_is_said(expect, raw, sent, surprise):
    run = result(expect, raw, *sent, seen={"zombies": 2}, output="bye bye")
    assert run.surprises == [surprise]
    assert not run.as_expected
