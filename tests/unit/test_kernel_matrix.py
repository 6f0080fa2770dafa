"""docs/kernels.md can't go stale, and the matrix that writes it says what is wrong. No kernel is booted here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sigtrace.lab.scenarios import SCENARIOS
from tests.vm import matrix
from tests.vm.page import MARKS, Column, column, differences, page, read_tests, rows_of
from tests.vm.results import name_of

RESULTS = """\
{"test": "test_exits.py::test_good", "outcome": "passed", "reason": "", "seconds": 0.1}
{"test": "test_exits.py::test_bad[1]", "outcome": "failed", "reason": "", "seconds": 0.1}
{"test": "test_exits.py::test_torn", "outcome": "passed", "reason": "", "seconds": 0.1}
{"test": "test_exits.py::test_torn", "outcome": "failed", "reason": "", "seconds": 0.1}
{"test": "test_exits.py::test_not_here", "outcome": "skipped", "reason": "needs 5.14", "seconds": 0.1}
{"end": true}
"""
RESULTS_OF_ONE = f'{RESULTS.splitlines()[0]}\n{{"end": true}}\n'


def told(name, **other):
    return {"name": name, "state": "right", "why": "", "verdict": "graceful", "pid1": ["exit 0"], **other}


def with_scenarios(name="6.1", release="6.1.0-56-amd64", **changed):
    """A kernel on which all is right but for what is changed."""
    all_right = {name: told(name, **changed.get(name.replace("-", "_"), {})) for name in SCENARIOS}
    return Column(name, "bookworm", release, scenarios=all_right, tests=read_tests(RESULTS_OF_ONE))


def test_the_page_in_docs_has_a_row_for_each_scenario_and_a_column_for_each_kernel():
    text = matrix.PAGE.read_text(encoding="utf-8")
    assert rows_of(text) == list(SCENARIOS)
    head = next(line for line in text.splitlines() if line.startswith("| scenario |"))
    names = [word.strip() for word in head.strip("| ").split("|")]
    assert names[2:] == list(matrix.KERNELS)


def test_whatever_is_not_right_in_the_page_in_docs_has_its_reason_there():
    text = matrix.PAGE.read_text(encoding="utf-8")
    assert "NOT EXPLAINED" not in text
    table, _, notes = text.partition("\n| scenario |")[2].partition("\n\n")
    for line in table.splitlines()[2:]:
        name, _, *marks = (cell.strip() for cell in line.strip("|").split("|"))
        for kernel, mark in zip(matrix.KERNELS, marks, strict=True):
            assert mark == MARKS["right"] or f"- {kernel}, {name}: " in notes, line


def test_a_page_with_other_rows_is_stale(capsys):
    text = page([with_scenarios()], "cgroups v2")
    assert matrix.check(text) == 0
    assert matrix.check(text.replace("| shell-form |", "| old-name |")) == 1
    assert "['old-name', 'shell-form']" in capsys.readouterr().out


def test_what_pytest_reported_is_counted_with_its_reasons():
    tests = read_tests(RESULTS)
    assert tests.passed == 1
    assert tests.failed == ("test_exits.py::test_bad[1]", "test_exits.py::test_torn")
    assert tests.skipped == {"test_exits.py::test_not_here": "needs 5.14"}


def test_tests_that_did_not_come_to_their_turn_are_counted_on_the_page_and_are_no_success(capsys):
    for cut in (RESULTS_OF_ONE, RESULTS_OF_ONE.splitlines()[0]):
        one = replace(with_scenarios(), tests=read_tests(f'{{"planned": 190}}\n{cut}'))
        assert not one.good
        assert not matrix.settled([one])
        text = page([one], "")
        assert "| 1 | 0 | 0 | 189 |" in text
        assert "- 6.1: not all ran: 189 of the tests did not come to their turn" in text


def test_a_kernel_without_tests_has_no_zeros_on_the_page():
    assert "| – | – | – | – |" in page([replace(with_scenarios(), tests=None, tested=False)], "")


def test_a_parameter_with_a_slash_is_part_of_its_tests_name():
    assert name_of("tests/contract/test_sources.py::test_a[x, /proc]") == "test_sources.py::test_a[x, /proc]"
    assert name_of("test_sources.py::test_a[x::/y]") == "test_sources.py::test_a[x::/y]"


def test_each_module_of_the_kernel_tests_runs_on_all_kernels_or_is_left_out_for_a_reason_that_the_page_gives():
    there = {path.stem.removeprefix("test_") for path in (matrix.REPOSITORY / "tests/kernel").glob("test_*.py")}
    run = [Path(one).stem.removeprefix("test_") for one in matrix.TESTS if one.startswith("tests/kernel/")]
    left_out = [name for names in matrix.LEFT_OUT.values() for name in names]
    assert sorted(run + [name for name in left_out if "::" not in name]) == sorted(there)
    text = page([with_scenarios()], "", matrix.LEFT_OUT)
    assert [name for name in left_out if name not in text] == []


def test_a_handful_of_the_tests_never_becomes_the_page(tmp_path, capsys):
    with pytest.raises(SystemExit):
        matrix.main(["--short", "--write", str(tmp_path / "kernels.md")])
    assert "--short runs a handful of the tests" in capsys.readouterr().err


def test_a_kernel_that_left_nothing_is_not_good(tmp_path):
    assert not column("6.1", "bookworm", "6.1.0", 10, "", tmp_path).good
    (tmp_path / "scenarios.json").write_text(
        json.dumps({"object": "ab", "scenarios": [told(name) for name in SCENARIOS]})
    )
    assert not column("6.1", "bookworm", "6.1.0", 10, "", tmp_path).good
    (tmp_path / "tests.jsonl").write_text(RESULTS_OF_ONE)
    assert column("6.1", "bookworm", "6.1.0", 10, "", tmp_path).good


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"scenarios": {}}, id="no scenarios"),
        pytest.param({"tests": None}, id="no tests"),
        pytest.param({"tests": read_tests(RESULTS)}, id="a test that failed"),
        pytest.param({"tests": read_tests(RESULTS_OF_ONE.splitlines()[0])}, id="tests that were cut short"),
        pytest.param({"note": "died before the command"}, id="died"),
    ],
)
def test_what_is_missing_is_not_good(bad, capsys):
    assert with_scenarios().good
    one = replace(with_scenarios(), **bad)
    assert not one.good
    assert not matrix.settled([one])


@pytest.mark.parametrize("state", ["wrong", "failed"])
def test_a_scenario_that_went_wrong_is_told_with_its_reason(state, capsys):
    one = with_scenarios(shell_form={"state": state, "why": "outcome graceful"})
    assert not matrix.settled([one])
    assert "shell-form: outcome graceful" in capsys.readouterr().out
    text = page([one], "")
    assert "| shell-form | graceful | ✗ |" in text
    assert "- 6.1, shell-form: outcome graceful" in text


def test_what_a_kernel_cannot_do_is_no_fault_and_has_its_reason_in_the_page():
    one = with_scenarios(cgroup_kill={"state": "needs", "why": "no cgroup.kill", "verdict": ""})
    assert matrix.settled([one])
    text = page([one], "")
    assert "| cgroup-kill |  | – |" in text
    assert "- 6.1, cgroup-kill: no cgroup.kill" in text


def test_a_kernel_that_cannot_be_had_is_loud_and_no_fault():
    gone = Column("7.x", "forky", note="SKIPPED: no suite forky")
    assert matrix.settled([with_scenarios(), gone])
    assert "| 7.x (forky) | SKIPPED: no suite forky |" in page([gone], "")


def test_kernels_that_do_something_else_to_pid_1_have_to_be_explained(monkeypatch, capsys):
    both = [with_scenarios(), with_scenarios("6.12", shell_form={"pid1": ["exit 0", "deliver SIGTERM"]})]
    assert differences(both) == {"shell-form": {"6.1": (), "6.12": ("deliver SIGTERM",)}}
    assert not matrix.settled(both)
    assert "NOT EXPLAINED" in page(both, "")
    monkeypatch.setitem(matrix.EXPLAINED, "shell-form", "As of 6.2 it is so.")
    assert matrix.settled(both)
    assert "6.12: deliver SIGTERM. As of 6.2 it is so." in page(both, "")


def test_two_objects_are_no_matrix(capsys):
    assert not matrix.settled([replace(with_scenarios(), object="ab"), replace(with_scenarios("6.12"), object="cd")])
    assert "2 different objects" in capsys.readouterr().out


def test_what_an_earlier_run_left_is_the_same_column(tmp_path):
    (tmp_path / "scenarios.json").write_text(json.dumps({"object": "ab", "scenarios": [told("tini")]}))
    one = column("6.1", "bookworm", "6.1.0", 10, "why", tmp_path, tested=False)
    one.save(tmp_path)
    assert Column.load(tmp_path) == one
