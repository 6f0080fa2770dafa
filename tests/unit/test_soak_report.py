"""benchmarks/soak: a verdict that is wrong, missing or double is found, and so is growth; the plot is an SVG."""

import math
import xml.etree.ElementTree as ET

import pytest

from benchmarks.node import Cell, tables, verdicts
from benchmarks.plot import Line, Panel, scale, svg
from benchmarks.soak_agent import Sample
from benchmarks.soak_cases import cases
from benchmarks.soak_judge import GROWTH_FROM_S, Truth, judge, levels
from benchmarks.soak_report import plot

FOLDER = "/soak-1/"
DROPPED = frozenset({"signal-dropped/shell-form", "killed/grace-expired"})


def truth(cgroup_id=7, **fields):
    usual = {"outcome": "escalated/dropped", "code": 137, "findings": DROPPED, "seen": 137}
    return Truth(1, "shell-form", cgroup_id, 4711, **(usual | fields))


def task(cgroup_id):
    return {"pid": 4711, "cgroup_id": cgroup_id}


def shutdown(cgroup_id=7, folder=FOLDER, **fields):
    usual = {"outcome": "escalated", "cause": "dropped", "status_code": 137}
    where = {"workload": {"cgroup": f"/sigtrace-lab{folder}web-1"}, "task": task(cgroup_id)}
    return {"type": "shutdown", **where, **usual, **fields}


def finding(code, cause, cgroup_id=7, **fields):
    where = {"workload": {"cgroup": f"/sigtrace-lab{FOLDER}web-1"}, "subject": task(cgroup_id)}
    usual = {"count": 1, "closing": False, "message": f"{code}"}
    return {"type": "finding", "code": code, "cause": cause, **where, **usual, **fields}


def both(cgroup_id=7):
    return [finding(*name.split("/"), cgroup_id) for name in sorted(DROPPED)]


def test_what_was_told_as_it_was_done_is_right():
    judged = judge([truth()], [*both(), shutdown()], FOLDER)
    assert (judged.right, judged.failures) == (1, [])


@pytest.mark.parametrize(
    "fields", [{"outcome": "killed"}, {"cause": "slow"}, {"status_code": 0}, {"task": {"pid": 1, "cgroup_id": 7}}]
)
def test_another_outcome_cause_status_or_main_process_is_wrong(fields):
    judged = judge([truth()], [*both(), shutdown(**fields)], FOLDER)
    assert (judged.right, len(judged.wrong)) == (0, 1)
    assert "instead of" in judged.failures[0]


def test_no_shutdown_is_missing_and_two_are_double():
    judged = judge([truth(7), truth(8)], [*both(7), *both(8), shutdown(8), shutdown(8)], FOLDER)
    assert (judged.right, len(judged.missing), len(judged.double)) == (0, 1, 1)


@pytest.mark.parametrize(
    "findings",
    [[], both()[:1], [*both(), finding("crashed", "exit-status")], [*both(), *both()]],
    ids=["none", "one", "one too many", "each twice"],
)
def test_findings_are_those_that_were_expected_and_once(findings):
    judged = judge([truth()], [*findings, shutdown()], FOLDER)
    assert (judged.right, len(judged.findings)) == (0, 1)


def test_a_finding_that_is_told_again_with_a_higher_count_is_no_double():
    again = [*both(), finding("signal-dropped", "shell-form", count=10)]
    assert judge([truth()], [*again, shutdown()], FOLDER).right == 1


def test_a_container_that_was_not_as_intended_says_nothing_of_its_verdict():
    judged = judge([truth(seen=0)], [shutdown(outcome="graceful")], FOLDER)
    assert (judged.right, judged.wrong, len(judged.odd), len(judged.failures)) == (0, [], 1, 1)


def test_what_nobody_stopped_must_not_be_told():
    judged = judge([], [shutdown(9), finding("killed", "oom", 9)], FOLDER)
    assert (len(judged.double), len(judged.findings)) == (1, 1)


def test_containers_of_others_are_counted_and_left_alone():
    judged = judge([], [shutdown(9, folder="/other/")], FOLDER)
    assert (judged.foreign, judged.failures) == (1, [])


def test_only_losses_by_the_limiter_are_expected():
    def lost(cause):
        usual = {"type": "finding", "code": "events-lost", "workload": None, "subject": None, "time": "2026-01-01"}
        return {**usual, "cause": cause, "count": 5}

    judged = judge([], [lost("rate-limited"), lost("ring-full")], FOLDER)
    assert judged.losses == {"rate-limited": 5, "ring-full": 5}
    assert judged.failures == ["5 events were lost: ring-full"]


TIMES = [5.0 * n for n in range(int(GROWTH_FROM_S / 5) + 1)]


def level(rss, descriptors=lambda _: 40, threads=lambda _: 8, times=TIMES):
    found = levels(times, [rss(t) for t in times], [descriptors(t) for t in times], [threads(t) for t in times])
    return {one.what: one.flat for one in found}


def test_memory_that_rises_to_a_plateau_is_flat():
    assert level(lambda t: 45_000_000 + min(int(t), 300) * 40_000)["memory"] is True


def test_memory_that_goes_on_rising_has_grown():
    assert level(lambda t: 45_000_000 + int(t) * 4_000)["memory"] is False


def test_a_short_run_says_nothing_of_memory():
    assert level(lambda _: 45_000_000, times=TIMES[:60])["memory"] is None


def test_a_descriptor_more_is_growth_and_a_scrapes_own_is_none():
    assert level(lambda _: 1, descriptors=lambda t: 40 + (t > 600))["descriptors"] is False
    assert level(lambda _: 1, descriptors=lambda t: 40 + (t % 15 == 0))["descriptors"] is True
    assert level(lambda _: 1, threads=lambda t: 8 + (t > 600))["threads"] is False


@pytest.mark.parametrize(("least", "most"), [(0, 1), (0, 0), (3, 3), (0.0, 47.3), (-2, 9), (0, 1e9), (0.2, 0.25)])
def test_a_scale_has_few_round_steps_and_holds_all(least, most):
    steps = scale(least, most)
    assert steps[0] <= least
    assert steps[-1] >= most
    assert 2 <= len(steps) <= 8


def test_the_plot_is_an_svg_that_can_be_read_without_colours_and_on_a_dark_page():
    drawn = svg([Panel("a < b", [Line("one", [(0, 1), (2, math.inf), (3, 2)]), Line("two", [(0, 0)])])], "min", "<x>")
    root = ET.fromstring(drawn)
    lines = root.findall("{*}polyline")
    assert len(lines) == 2
    assert len({line.get("stroke-dasharray") for line in lines}) == 2
    assert "inf" not in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_a_soak_without_samples_has_a_plot_all_the_same():
    one = Sample(0.0, 45 << 20, 40 << 20, 40, 8, 0, 0, 0, 0)
    for samples in ([], [one]):
        assert ET.fromstring(plot(samples, [])).tag.endswith("svg")


def test_every_kind_of_stop_has_a_name_of_its_own_and_an_outcome_that_exists(tmp_path):
    from sigtrace.model.outcomes import OUTCOMES

    found = cases("/soak", tmp_path, memory=True)
    assert len({case.name for case in found}) == len(found)
    assert {case.outcome.partition("/")[0] for case in found} <= set(OUTCOMES)


def test_what_a_node_costs_is_decided_by_the_median_of_enough_rounds():
    cells = [Cell(n, "alone", "idle", 30.0, 0.05 + n / 1000, 0.01, 5.0, 45.0, 0.0) for n in range(7)]
    (decided,) = verdicts(cells)
    assert decided.endswith(": met")
    assert "0.053 (0.050–0.056)" in tables(cells)
    assert verdicts(cells[:3])[0].endswith("nothing decided by 3 rounds (median meets it)")


def test_a_load_that_was_too_small_decides_nothing():
    cells = [Cell(n, "alone", "exits", 30.0, 0.05, 0.01, 5.0, 45.0, 1000.0 if n else 700.0) for n in range(7)]
    assert verdicts(cells)[0].endswith("not decided, the load was less in a round")
