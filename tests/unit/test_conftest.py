"""The guards in tests/conftest.py, tried on test folders of their own."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
INI = "[pytest]\nstrict_markers = true\nmarkers =\n unit\n contract\n kernel\n containers\n vm\n"


@pytest.fixture
def tests_folder(pytester, monkeypatch):
    monkeypatch.delenv("SIGTRACE_KERNEL_TESTS", raising=False)
    pytester.makeini(INI)
    tests = pytester.mkdir("tests")
    (tests / "conftest.py").write_text(CONFTEST.read_text())

    def make(folder: str, source: str) -> None:
        (tests / folder).mkdir(exist_ok=True)
        (tests / folder / f"test_{folder}.py").write_text(f"import pytest\n{source}\n")

    return make


@pytest.fixture
def run(pytester):
    # hypothesis would be imported anew for each run
    quick = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    return lambda *options: pytester.runpytest_inprocess("-ra", *quick, *options)


@pytest.fixture
def no_guard(monkeypatch, pytester):
    """The folder's conftest takes every host for one with BPF."""
    conftest = pytester.path / "tests" / "conftest.py"
    conftest.write_text(conftest.read_text() + "\ndef why_no_bpf():\n    return None\n")


def test_the_folder_gives_the_marker(tests_folder, run):
    for folder in ("unit", "contract", "vm"):
        tests_folder(folder, "def test_a(): pass")
    run("-m", "contract").assert_outcomes(passed=1, deselected=2)


def test_a_kernel_test_without_root_is_skipped_with_the_fix(tests_folder, run, monkeypatch):
    tests_folder("kernel", "def test_a(): pass")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    result = run()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines("SKIPPED*sudo make test*")


def test_a_contract_test_skips_only_where_it_needs_bpf(tests_folder, run, monkeypatch):
    tests_folder("contract", "def test_a(): pass\ndef test_b(bpf_host): pass")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    run().assert_outcomes(passed=1, skipped=1)


def test_a_skip_may_hide_nothing_in_ci(tests_folder, run, monkeypatch, no_guard):
    for folder in ("kernel", "contract", "containers"):
        tests_folder(folder, "def test_a(): pytest.skip('no runtime: install podman')")
    run().assert_outcomes(skipped=3)
    monkeypatch.setenv("SIGTRACE_KERNEL_TESTS", "1")
    result = run()
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines("*forbids skipping this: no runtime: install podman*")


def test_nor_may_the_missing_root(tests_folder, run, monkeypatch):
    tests_folder("kernel", "def test_a(): pass")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("SIGTRACE_KERNEL_TESTS", "1")
    result = run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines("*forbids skipping this: needs root*")


def test_nor_may_a_file_skip_itself(tests_folder, run, monkeypatch):
    tests_folder("kernel", "pytest.skip('not here', allow_module_level=True)")
    assert run().ret == pytest.ExitCode.NO_TESTS_COLLECTED
    monkeypatch.setenv("SIGTRACE_KERNEL_TESTS", "1")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*forbids skipping this: not here*")


def test_a_unit_test_may_skip_and_a_kernel_test_may_be_expected_to_fail(tests_folder, run, monkeypatch, no_guard):
    tests_folder("unit", "def test_a(): pytest.skip('no')")
    tests_folder("kernel", "@pytest.mark.xfail\ndef test_a(): assert False")
    monkeypatch.setenv("SIGTRACE_KERNEL_TESTS", "1")
    run().assert_outcomes(skipped=1, xfailed=1)


def test_wait_until_returns_the_first_true_value(wait_until):
    values = iter([None, 0, "third"])
    assert wait_until(lambda: next(values)) == "third"


def test_wait_until_says_what_it_waited_for(wait_until):
    with pytest.raises(pytest.fail.Exception, match=r"waited 0\.01 s for the moon; last value: \[\]"):
        wait_until(list, timeout=0.01, what="the moon")
