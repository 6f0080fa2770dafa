"""The demo's own judgement of a verdict."""

import contextlib
import dataclasses
import re
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from sigtrace.cli.demo import demo
from sigtrace.demonstration import Verdicts, groups, mismatch, run, titles, tour
from sigtrace.errors import HostError, RunError, UsageError
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
RESULT = SimpleNamespace(surprises=[], wait_status=killed_by(9))


def test_what_was_expected_has_no_difference():
    assert mismatch(EXPECTED, RESULT, SHUTDOWN, FINDINGS) == ""


def test_what_repeats_may_be_told_when_it_begins_and_when_it_ends():
    told = [*FINDINGS, dataclasses.replace(FINDINGS[0], count=7)]
    assert mismatch(EXPECTED, RESULT, SHUTDOWN, told) == ""


@pytest.mark.parametrize(
    ("result", "shutdown", "findings", "words"),
    [
        ({"surprises": ["zombies: 2, not 3"]}, {}, FINDINGS, "the container itself was not as intended: zombies: 2"),
        ({}, {}, FINDINGS[:1], "findings"),
        ({}, {}, [*FINDINGS, FINDINGS[0]], "findings told twice"),
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


def test_every_scenario_has_a_title_of_one_line_and_a_group():
    assert list(titles()) == list(SCENARIOS) == [name for names in groups().values() for name in names]
    assert all(title and "\n" not in title for title in titles().values())


def test_the_tour_is_ten_scenarios_of_different_findings():
    assert len(tour()) == len(set(tour())) == 10
    causes = [pair for name in tour() for pair in SCENARIOS[name].expect.findings]
    assert len({code for code, _ in causes}) >= 5


@pytest.fixture
def stage(monkeypatch):
    """Where the demo runs without a kernel: no capture, each scenario ends as it should unless it is in ``wrong``."""

    stage = SimpleNamespace(wrong=[], unmet={}, ran=[])

    def run_scenario(scenario, container):
        stage.ran.append(scenario.name)
        return SimpleNamespace(cgroup_id=1, **vars(RESULT))

    def difference(scenario, *_):
        return "all is wrong" if scenario.name in stage.wrong else ""

    def unmet(needs):
        return next((why for name, why in stage.unmet.items() if SCENARIOS[name].needs == needs), "")

    monkeypatch.setattr("sigtrace.demonstration.Capture", lambda *_, **__: contextlib.nullcontext(Ready()))
    monkeypatch.setattr("sigtrace.demonstration.run_in_background", lambda _: lambda: None)
    monkeypatch.setattr("sigtrace.demonstration.run_scenario", run_scenario)
    monkeypatch.setattr("sigtrace.demonstration.Verdicts.wait_for_shutdown", lambda *_: (SHUTDOWN, FINDINGS))
    monkeypatch.setattr("sigtrace.demonstration.mismatch", difference)
    monkeypatch.setattr("sigtrace.demonstration.unmet", unmet)
    return stage


class Ready:
    def ready(self):
        pass


def test_right_verdicts_end_with_0(stage, capsys):
    assert run(("exec-form", "script"), "auto") == 0
    assert stage.ran == ["exec-form", "script"]
    assert "2 containers stopped, 2 right verdicts, in " in capsys.readouterr().out


def test_a_wrong_verdict_is_said_and_ends_with_1(stage, capsys):
    stage.wrong = ["script"]
    assert run(("exec-form", "script"), "auto") == 1
    said = capsys.readouterr().out
    assert "WRONG: all is wrong" in said
    assert "1 of 2 verdicts were wrong" in said


def test_what_the_host_cannot_run_is_skipped_and_the_reason_told(stage, capsys):
    stage.unmet = {"oom-group": "no memory controller"}
    assert run(("exec-form", "oom-group", "script"), "auto") == 0
    assert stage.ran == ["exec-form", "script"]
    said = capsys.readouterr().out
    assert "skipped: no memory controller" in said
    assert "2 right verdicts, 1 skipped, in " in said


def test_if_all_had_to_be_skipped_the_host_cannot(stage):
    stage.unmet = {"oom-group": "no memory controller"}
    with pytest.raises(HostError, match="oom-group: can't be run here: choose another"):
        run(("oom-group",), "auto")
    assert not stage.ran


@pytest.fixture
def invoke(monkeypatch):
    """`sigtrace demo` with these arguments; what it would run."""
    asked = []
    monkeypatch.setattr("sigtrace.demonstration.run", lambda names, backend: asked.extend(names) or 0)

    def invoke(*arguments):
        done = CliRunner().invoke(demo, arguments, standalone_mode=False)
        if done.exception:
            raise done.exception
        return asked, done.output

    return invoke


def test_without_names_it_makes_the_tour(invoke):
    assert invoke()[0] == list(tour())


def test_all_are_all(invoke):
    assert invoke("--all")[0] == list(SCENARIOS)


def test_what_is_named_is_run_in_that_order(invoke):
    assert invoke("oom", "tini")[0] == ["oom", "tini"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["tini", "--all"], "and --all: give either"), (["tini", "zzz"], "no scenario 'zzz': choose")],
)
def test_what_makes_no_sense_is_refused(invoke, arguments, words):
    with pytest.raises(UsageError, match=words):
        invoke(*arguments)


def test_the_list_has_every_scenario_once_in_its_group_with_the_tour_marked(invoke):
    asked, listed = invoke("--list")
    assert not asked
    assert re.findall(r"^[* ] ([a-z0-9-]+) ", listed, re.MULTILINE) == list(SCENARIOS)
    assert set(re.findall(r"^\* ([a-z0-9-]+) ", listed, re.MULTILINE)) == set(tour())
    assert re.findall(r"^([^* \n].*):$", listed, re.MULTILINE) == list(groups())
    assert max(map(len, listed.splitlines())) <= 80
