"""The demo: runs the lab's scenarios under a capture of ours and tells each one's story, and whether it was right."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final

from sigtrace.agent import Capture, run_in_background, stop_signals
from sigtrace.errors import EXIT_FINDINGS, EXIT_OK, RunError
from sigtrace.lab.scenario import Result, Scenario
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model import signals
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.text import command_line
from sigtrace.sinks.chosen import Tally
from sigtrace.sinks.story import belongs_to_shutdown, finding_story, shutdown_story
from sigtrace.sinks.style import Style
from sigtrace.sources.options import BpfOptions

#: From the end of a container to the verdict: far longer than it takes.
_PATIENCE_S: Final = 5.0


def titles() -> dict[str, str]:
    """Name → one line, in story order."""
    return {name: scenario.title for name, scenario in SCENARIOS.items()}


class Verdicts(Tally):
    """What was told, by the container's cgroup; another thread waits for it."""

    def __init__(self) -> None:
        super().__init__(keep=True)
        self._news = threading.Condition()

    def verdict(self, verdict: Verdict) -> None:
        """From the pipeline's thread."""
        with self._news:
            super().verdict(verdict)
            self._news.notify_all()

    def of(self, cgroup_id: int) -> list[Verdict]:
        """Those of one container."""
        return [v for v in self.verdicts if v.workload and v.workload.cgroup_id == cgroup_id]

    def wait_for_shutdown(self, cgroup_id: int) -> tuple[Shutdown, list[Finding]]:
        """The container's shutdown and findings. Raises RunError if they do not come."""

        def shutdowns() -> list[Shutdown]:
            return [v for v in self.of(cgroup_id) if isinstance(v, Shutdown)]

        with self._news:
            if not self._news.wait_for(shutdowns, _PATIENCE_S):
                raise RunError(
                    f"no verdict came within {_PATIENCE_S:g} s of the end of the container",
                    next_step="see what was lost: sigtrace doctor",
                )
            return shutdowns()[0], [v for v in self.of(cgroup_id) if isinstance(v, Finding)]


def mismatch(scenario: Scenario, result: Result, shutdown: Shutdown, findings: list[Finding]) -> str:
    """What differs from the expectation; empty if nothing does."""
    expect = scenario.expect
    got = {(f.code, f.cause) for f in findings}
    differences = []
    if not result.as_expected:
        differences.append(f"the container itself ended with {result.wait_status}")
    if got != expect.findings or len(findings) != len(got):
        differences.append(f"findings {sorted(got)} instead of {sorted(expect.findings)}")
    if (shutdown.outcome, shutdown.cause) != (expect.outcome, expect.cause):
        differences.append(f"outcome {shutdown.outcome}/{shutdown.cause}, not {expect.outcome}/{expect.cause}")
    if shutdown.wait_status != result.wait_status:
        differences.append(f"status {shutdown.wait_status} where the lab saw {result.wait_status}")
    return "; ".join(differences)


def run(names: tuple[str, ...], backend: str) -> int:
    """Run these scenarios one after the other. Returns 0 if every verdict was right, else 1."""
    style = Style.of(sys.stdout)
    verdicts = Verdicts()
    wrong = 0
    began = time.monotonic()
    with stop_signals() as stop, Capture(backend, BpfOptions(), [verdicts]) as capture:
        capture.ready()
        finish = run_in_background(capture)
        try:
            for number, name in enumerate(names, 1):
                if stop.asked:
                    return EXIT_OK
                scenario = SCENARIOS[name]
                _introduce(scenario, f"{number}/{len(names)}", style)
                result = run_scenario(scenario)
                shutdown, findings = verdicts.wait_for_shutdown(result.cgroup_id)
                difference = mismatch(scenario, result, shutdown, findings)
                wrong += bool(difference)
                _tell(shutdown, findings, difference, style)
        finally:
            finish()
    seconds = time.monotonic() - began
    if wrong:
        print(style(f"{wrong} of {len(names)} verdicts were wrong", "red", "bold"))
        return EXIT_FINDINGS
    many = f"{len(names)} containers stopped, {len(names)} right verdicts" if len(names) > 1 else "A right verdict"
    print(style(f"{many}, in {seconds:.1f} s.", "green", "bold"))
    print("Next: sigtrace watch, on a node with containers; sigtrace trace -- CMD, for a program.")
    return EXIT_OK


def _introduce(scenario: Scenario, place: str, style: Style) -> None:
    title = f"── {place} {scenario.name} "
    print(style(title, "bold") + style("─" * max(0, style.width - len(title)), "dim"))
    for line in style.wrap(scenario.title, 3):
        print(line)
    print(style(f"   PID 1 is: {command_line(scenario.argv, style.width - 14)}", "dim"))
    for line in style.wrap(f"somebody {scenario.person} ({signals.name(scenario.signo)})", 3):
        print(style(line, "dim"), flush=True)


def _tell(shutdown: Shutdown, findings: list[Finding], difference: str, style: Style) -> None:
    print()
    for finding in findings:
        if not belongs_to_shutdown(finding):
            print("\n".join(finding_story(finding, style)))
    told = [f for f in findings if belongs_to_shutdown(f)]
    print("\n".join(shutdown_story(shutdown, told, style)))
    if difference:
        print("\n".join(style.wrap(style(f"WRONG: {difference}", "red", "bold"), 2)))
    print(flush=True)
