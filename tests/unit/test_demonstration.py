"""The demo's own judgement of a verdict."""

import dataclasses
from types import SimpleNamespace

import pytest

from sigtrace.demonstration import Verdicts, mismatch, titles
from sigtrace.errors import RunError
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.waitstatus import WaitStatus
from tests.unit.detectors.events import DROPPED, Container, S, killed_by, story

BOX = Container()
SHUTDOWN, FINDINGS = story(BOX.term(S, **DROPPED), BOX.kill(2 * S), BOX.exit(3 * S, killed_by(9)))
EXPECTED = SimpleNamespace(
    expect=SimpleNamespace(
        findings=frozenset((f.code, f.cause) for f in FINDINGS), outcome="escalated", cause="dropped"
    )
)
RESULT = SimpleNamespace(as_expected=True, wait_status=killed_by(9))


def test_what_was_expected_has_no_difference():
    assert mismatch(EXPECTED, RESULT, SHUTDOWN, FINDINGS) == ""


@pytest.mark.parametrize(
    ("result", "shutdown", "findings", "words"),
    [
        ({"as_expected": False}, {}, FINDINGS, "the container itself"),
        ({}, {}, FINDINGS[:1], "findings"),
        ({}, {}, [*FINDINGS, FINDINGS[0]], "findings"),
        ({}, {"outcome": "graceful"}, FINDINGS, "outcome graceful/dropped, not escalated/dropped"),
        ({}, {"cause": "slow"}, FINDINGS, "outcome escalated/slow"),
        ({}, {"wait_status": WaitStatus(0)}, FINDINGS, "status exit 0"),
    ],
)
def test_each_difference_is_said(result, shutdown, findings, words):
    lab = SimpleNamespace(**vars(RESULT) | result)
    assert words in mismatch(EXPECTED, lab, dataclasses.replace(SHUTDOWN, **shutdown), findings)


def test_a_shutdown_is_waited_for_by_its_cgroup():
    verdicts = Verdicts()
    for verdict in (*FINDINGS, SHUTDOWN):
        verdicts.verdict(verdict)
    assert verdicts.wait_for_shutdown(BOX.workload.cgroup_id) == (SHUTDOWN, FINDINGS)


def test_a_verdict_that_does_not_come_is_an_error(monkeypatch):
    monkeypatch.setattr("sigtrace.demonstration._PATIENCE_S", 0.01)
    with pytest.raises(RunError, match="no verdict came"):
        Verdicts().wait_for_shutdown(5)


def test_every_scenario_has_a_title_of_one_line():
    assert list(titles()) == list(SCENARIOS)
    assert all(title and "\n" not in title for title in titles().values())
