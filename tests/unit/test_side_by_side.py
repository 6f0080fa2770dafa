"""What `make test` runs: two pytests, of which no test, failure or interrupt is lost."""

import os
import signal
import subprocess
import sys

import pytest

from tests.side_by_side import ROOT

WAITS = "import sys, time; print('waits', flush=True); time.sleep(60)"
CATCHES = """
import pathlib, sys, time
try:
    print("waits", flush=True)
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(60)
except KeyboardInterrupt:
    print("cleaned up", flush=True)
    sys.exit(2)
"""
PROGRAM = """
import sys
from tests.side_by_side import side_by_side
python = [sys.executable, "-c"]
shown, beside, *began = sys.argv[1:]
sys.exit(side_by_side(("one", [*python, shown, *began[:1]]), ("two", [*python, beside, *began[1:]])))
"""


def says(words, status=0):
    return f"import sys; print({words!r}); sys.exit({status})"


def both(shown, beside):
    command = [sys.executable, "-c", PROGRAM, shown, beside]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_two_that_pass_are_a_pass():
    ran = both(says("1 passed"), says("2 passed"))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "1 passed\n\n---- two\n2 passed\n"


@pytest.mark.parametrize(("first", "second", "status"), [(0, 1, 1), (1, 0, 1), (3, 1, 3), (0, -9, 9)])
def test_one_that_fails_is_a_failure_and_its_words_are_the_last(first, second, status):
    killed = "import os; print('killed', flush=True); os.kill(os.getpid(), 9)"
    ran = both(says("first", first), killed if second < 0 else says("second", second))
    assert ran.returncode == status
    name = "two" if second else "one"
    *_, before, last = ran.stdout.splitlines()
    assert last == f"test: {name}: failed, exit status {second or first}"
    if not (first and second):
        assert before == {0: "first", 1: "second", -9: "killed"}[second]


def test_of_one_that_passed_only_its_summary_is_told_and_of_one_that_failed_all():
    report = "dots\n==== short test summary info ====\nSKIPPED a\n==== 9 passed ===="
    assert both(says("1 passed"), says(report)).stdout.splitlines()[2:] == ["---- two", *report.splitlines()[1:]]
    assert report in both(says("1 passed"), says(report, 1)).stdout


def test_of_one_that_hung_the_places_of_ours_are_the_last_words():
    stack = [
        "Timeout (0:02:00)!",
        "Thread 0x1 (most recent call first):",
        '  File "/usr/lib/python3.11/subprocess.py", line 1, in wait',
        f'  File "{ROOT}/tests/kernel/targets.py", line 90, in _wait',
        f'  File "{ROOT}/tests/kernel/test_exits.py", line 22, in test_it',
        f'  File "{ROOT}/.venv/lib/python3.11/site-packages/pluggy/_callers.py", line 1, in _multicall',
    ]
    *_, hung, inner, outer, last = both(says("\n".join(stack), 1), says("2 passed")).stdout.splitlines()
    assert (hung, inner, outer) == ("hung in:", *stack[3:5])
    assert last == "test: one: failed, exit status 1"
    assert "hung" not in both(says("\n".join(stack)), says("2 passed")).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_both_by_one_interrupt_each(number, tmp_path, wait_until):
    began = [tmp_path / "a", tmp_path / "b"]
    command = [sys.executable, "-c", PROGRAM, CATCHES, CATCHES, *map(str, began)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            wait_until(lambda: all(path.exists() for path in began), timeout=30)
            running.send_signal(number)
            written, _ = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 2
    assert written.count("cleaned up") >= 2


def test_what_holds_the_output_open_after_the_tests_does_not_keep_it(tmp_path):
    leaves = f"import subprocess; p = subprocess.Popen([{sys.executable!r}, '-c', {WAITS!r}]); print(p.pid)"
    ran = both(leaves, says("2 passed"))
    left = int(ran.stdout.splitlines()[0])
    try:
        assert ran.returncode == 0
        os.kill(left, 0)  # it lives
    finally:
        os.kill(left, signal.SIGKILL)
