"""The table of scenarios says nothing that the catalogue of findings does not know, and leaves out little of it."""

import re

import pytest

from sigtrace.lab.needs import unmet
from sigtrace.lab.scenario import PidNamespace
from sigtrace.lab.scenarios import GROUPS, SCENARIOS, TOUR
from sigtrace.model.codes import CODES, OUTCOMES
from sigtrace.model.signals import SIGKILL

#: No scenario can make them: what is lost is not the container's doing, and some causes take a kernel or a runtime of
#: their own.
WITHOUT_SCENARIO = {"events-lost"}


def test_names_are_unique_and_fit_a_host_name_with_what_the_lab_appends():
    names = [scenario.name for scenarios in GROUPS.values() for scenario in scenarios]
    assert len(names) == len(set(names)) == len(SCENARIOS)
    assert all(
        re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name) and len(name) <= 64 - len("-123456-pause") for name in names
    )


def test_the_tour_is_made_of_scenarios():
    assert set(TOUR) <= set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_it_expects_is_in_the_catalogue(name):
    expect = SCENARIOS[name].expect
    for code, cause in expect.findings:
        assert cause in CODES[code].causes
    outcome = OUTCOMES[expect.outcome]
    assert expect.cause is None or expect.cause in outcome.causes


def test_every_code_has_a_scenario():
    shown = {code for scenario in SCENARIOS.values() for code, _ in scenario.expect.findings}
    assert shown == set(CODES) - WITHOUT_SCENARIO


def test_every_cause_of_an_escalation_has_a_scenario():
    shown = {s.expect.cause for s in SCENARIOS.values() if s.expect.outcome == "escalated"}
    assert shown == set(OUTCOMES["escalated"].causes) - {"unknown"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_sigkill_from_the_host_ends_it_with_137_and_nothing_comes_after(name):
    expect = SCENARIOS[name].expect
    if SIGKILL in expect.sent:
        assert (expect.status_code, expect.relayed, expect.sent[-1]) == (137, False, SIGKILL)
    else:
        assert expect.outcome not in {"escalated", "killed"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_its_programs_are_its_files_or_tools_it_needs(name):
    scenario = SCENARIOS[name]
    given = {"sh", "app-server", "python3", "sleep"}  # by the lab, and by coreutils
    assert scenario.argv[0].removeprefix("./") in given | set(scenario.files) | set(scenario.needs)
    for word in scenario.argv:
        if re.fullmatch(r"[a-z]+\.(conf|py|sh)", word):
            assert word in scenario.files


@pytest.mark.parametrize("name", SCENARIOS)
def test_its_python_compiles(name):
    for file, text in SCENARIOS[name].files.items():
        if file.endswith(".py"):
            compile(text, file, "exec")


def test_a_need_is_implied_by_what_a_scenario_uses():
    assert SCENARIOS["tini"].needs == ("tini",)
    assert SCENARIOS["cgroup-kill"].needs == ("v2", "cgroup.kill")
    assert SCENARIOS["oom-group"].needs == ("memory", "memory.oom.group")
    assert SCENARIOS["exec-form"].needs == ()
    assert SCENARIOS["shared-pid"].pid_namespace is PidNamespace.SHARED


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        ("v2", "cgroups of version 2 are not mounted"),
        ("cgroup.kill", "cgroups of version 2 are not mounted"),
        ("memory", "no cgroup hierarchy with the memory controller is mounted"),
        ("memory.oom.group", "memory.oom.group is of cgroups of version 2, and here"),
        ("no-such-init", "the lab needs no-such-init, which is not installed: install the package no-such-init"),
    ],
)
def test_what_is_missing_is_said(need, reason, monkeypatch):
    monkeypatch.setattr("sigtrace.lab.needs.find_other", lambda _: None)
    monkeypatch.setattr("sigtrace.lab.needs.find_memory", lambda: None)
    assert unmet(("sh", need)).startswith(reason)


def test_a_kernel_without_cgroup_kill_is_told_from_one_without_version_2(monkeypatch):
    monkeypatch.setattr("sigtrace.lab.needs.find_other", lambda _: object())
    monkeypatch.setattr("sigtrace.lab.needs.can_kill", lambda: False)
    assert unmet(("cgroup.kill",)) == "this kernel has no cgroup.kill, which came with Linux 5.14"


def test_nothing_missing_is_nothing_said():
    assert unmet(()) == unmet(("sh",)) == ""
