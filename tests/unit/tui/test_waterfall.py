"""The bars of a shutdown."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model.event import Task
from sigtrace.model.finding import Ended, ProcessEnd
from sigtrace.tui.lines import length, plain
from sigtrace.tui.waterfall import PROCESSES_MAX, waterfall
from tests.unit.tui.scene import DONE, NOW, SECOND, SHELL, STOPPED, ago


def shown(shutdown, width=80):
    return [plain(line) for line in waterfall(shutdown, width)]


def test_the_main_process_comes_first_with_its_signals_where_they_were():
    axis, main, *_ = shown(STOPPED)
    assert main.startswith("    1 sh")
    assert axis.index("0") == main.index("T")
    assert main.index("K") == axis.rindex("s")
    assert "killed" in main


def test_who_was_never_told_has_a_thin_line():
    lines = shown(STOPPED)
    assert sum("─" in line and "━" not in line for line in lines[1:-1]) == 2


def test_who_left_early_has_a_shorter_bar():
    (sleep,) = [line for line in shown(STOPPED) if "sleep" in line]
    (main,) = [line for line in shown(STOPPED) if " sh " in line]
    assert sleep.index("●") < main.index("K")


def test_the_marks_are_explained():
    assert "K SIGKILL, T SIGTERM" in shown(STOPPED)[-1]


def test_a_shutdown_that_knows_no_processes_shows_its_main_process():
    lines = shown(DONE)
    assert any("job" in line for line in lines)


def test_many_processes_are_counted():
    many = tuple(ProcessEnd(Task(n, n, "worker"), ago(20), ago(1), Ended.HANDLED) for n in range(1, 500))
    lines = shown(dataclasses.replace(STOPPED, processes=(STOPPED.processes[0], *many)))
    assert len(lines) == PROCESSES_MAX + 3
    assert f"and {500 - PROCESSES_MAX} more" in lines[-2]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_it_fits_its_page(width):
    assert all(length(line) <= width for line in waterfall(STOPPED, width))


TIMES = st.none() | st.integers(-100, 100).map(lambda s: NOW + s * SECOND)


@given(
    st.lists(st.builds(ProcessEnd, st.just(SHELL), TIMES, TIMES, st.none() | st.sampled_from(list(Ended))), max_size=5),
    st.integers(40, 150),
    st.none() | st.floats(0, 1e9),
)
def test_times_in_any_order_make_bars_within_the_page(processes, width, duration_s):
    shutdown = dataclasses.replace(STOPPED, processes=tuple(processes), duration_s=duration_s)
    assert all(length(line) <= width for line in waterfall(shutdown, width))
