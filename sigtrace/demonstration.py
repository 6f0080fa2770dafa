"""The demo: runs the lab's scenarios under a capture of ours and tells each one's story, and whether it was right."""

from __future__ import annotations

import dataclasses
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

from sigtrace.capture import Capture, run_in_background
from sigtrace.commands import stop_signals
from sigtrace.detectors.base import Thresholds
from sigtrace.errors import EXIT_FINDINGS, EXIT_OK, HostError, RunError
from sigtrace.lab.container import cgroup_name
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenario import UNANSWERED_AFTER_S, ZOMBIE_AFTER_S, PidNamespace, Result, Scenario
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import GROUPS, SCENARIOS, TOUR
from sigtrace.model import signals
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.text import command_line
from sigtrace.model.workload import Workload, WorkloadKind
from sigtrace.sinks.base import Sink
from sigtrace.sinks.chosen import Tally
from sigtrace.sinks.recording import Recording
from sigtrace.sinks.story import belongs_to_shutdown, finding_story, shutdown_story
from sigtrace.sinks.style import Style
from sigtrace.sources.options import BpfOptions

#: From the end of a container to the verdict: far longer than it takes.
_PATIENCE_S: Final = 5.0


def titles() -> dict[str, str]:
    """Name → one line, of every scenario, group by group."""
    return {name: scenario.title for name, scenario in SCENARIOS.items()}


def groups() -> dict[str, tuple[str, ...]]:
    """Group → the names of its scenarios."""
    return {group: tuple(scenario.name for scenario in scenarios) for group, scenarios in GROUPS.items()}


def tour() -> tuple[str, ...]:
    """The names of those that are run if none is asked for, in story order."""
    return TOUR


class Known:
    """What a runtime would tell of the lab's containers: the name, the grace period promised, and what is a sandbox."""

    def __init__(self) -> None:
        self._by_cgroup: dict[str, tuple[str, float | None]] = {}
        self._shared: set[str] = set()

    def add(self, scenario: Scenario, name: str = "") -> str:
        """Before it is started; returns the container's name."""
        name = name or f"{scenario.name}-{secrets.token_hex(3)}"
        own = scenario.pid_namespace is PidNamespace.OWN
        if scenario.pid_namespace is PidNamespace.SHARED:
            self._shared.add(name)
        self._by_cgroup[cgroup_name(name, own_namespace=own)] = (name, scenario.grace_limit_s)
        return name

    def prefetch(self, container_id: str, runtime: str | None = None) -> None:
        """It is known already."""

    def pending(self, container_id: str) -> bool:  # noqa: ARG002 - the protocol's
        """Never: it knows all that it will."""
        return False

    def gone(self, container_id: str) -> None:
        """It stays known."""

    def get(self, workload: Workload) -> Workload:
        """As sigtrace.attribution.attributor.Names."""
        leaf = (workload.cgroup or "").rpartition("/")[2]
        if leaf.removesuffix("-pause") in self._shared:
            return dataclasses.replace(workload, kind=WorkloadKind.SANDBOX)
        name, limit_s = self._by_cgroup.get(leaf, (workload.container_name, None))
        return dataclasses.replace(workload, container_name=name, grace_limit_s=limit_s)


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
    # What repeats is folded into a finding that opens and one that ends, with a higher count.
    twice = len(findings) - len({(f.code, f.cause, f.count, f.closing) for f in findings})
    differences = []
    if result.surprises:
        differences.append(f"the container itself was not as intended: {', '.join(result.surprises)}")
    if got != expect.findings:
        differences.append(f"findings {sorted(got)} instead of {sorted(expect.findings)}")
    if twice:
        told = [f"{f.code}/{f.cause} ×{f.count}{' (over)' if f.closing else ''}" for f in findings]
        differences.append(f"findings told twice: {told}")
    if (shutdown.outcome, shutdown.cause) != (expect.outcome, expect.cause):
        differences.append(f"outcome {shutdown.outcome}/{shutdown.cause}, not {expect.outcome}/{expect.cause}")
    if shutdown.wait_status != result.wait_status:
        differences.append(f"status {shutdown.wait_status} where the lab saw {result.wait_status}")
    return "; ".join(differences)


def run(names: tuple[str, ...], backend: str) -> int:
    """Run these scenarios one after the other; those that this host can't are skipped.

    Returns 0 if every verdict was right, else 1. Raises HostError if none can be run here.
    """
    style = Style.of(sys.stdout)
    verdicts = Verdicts()
    wrong = skipped = 0
    began = time.monotonic()
    known = Known()
    with stop_signals() as stop, capture_for(backend, verdicts, known) as capture:
        capture.ready()
        finish = run_in_background(capture)
        try:
            for number, name in enumerate(names, 1):
                if stop.asked:
                    return EXIT_OK
                scenario = SCENARIOS[name]
                reason = unmet(scenario.needs)
                _introduce(scenario, f"{number}/{len(names)}", reason, style)
                if reason:
                    skipped += 1
                    continue
                result = run_scenario(scenario, container=known.add(scenario))
                shutdown, findings = verdicts.wait_for_shutdown(result.cgroup_id)
                difference = mismatch(scenario, result, shutdown, findings)
                wrong += bool(difference)
                _tell(shutdown, findings, difference, style)
        finally:
            finish()
    if skipped == len(names):
        raise HostError(f"{', '.join(names)}: can't be run here", next_step="choose another: sigtrace demo --list")
    return _conclude(len(names) - skipped, wrong, skipped, time.monotonic() - began, style)


def capture_for(
    backend: str,
    verdicts: Verdicts,
    known: Known,
    *,
    sinks: Sequence[Sink] = (),
    recorder: Recording | None = None,
    slow: float = 1.0,
) -> Capture:
    """A capture that tells a scenario's verdicts in time.

    ``slow``: the scenarios' own times are so many times longer: on such a machine an honest parent reaps late, too.
    """
    # Well before the lab's people lose their patience. Zombies are looked for once a second.
    options = BpfOptions(zombie_after_s=slow * ZOMBIE_AFTER_S / 4)
    thresholds = Thresholds(unanswered_after_s=slow * UNANSWERED_AFTER_S * 2 / 3)
    return Capture(
        backend, options, [verdicts, *sinks], thresholds=thresholds, recorder=recorder, names=known, without=("ptrace",)
    )


def _conclude(told: int, wrong: int, skipped: int, seconds: float, style: Style) -> int:
    left_out = f", {skipped} skipped" if skipped else ""
    if wrong:
        print(style(f"{wrong} of {told} verdicts were wrong{left_out}", "red", "bold"))
        return EXIT_FINDINGS
    many = f"{told} containers stopped, {told} right verdicts" if told > 1 else "A right verdict"
    print(style(f"{many}{left_out}, in {seconds:.1f} s.", "green", "bold"))
    print("Next: sigtrace watch, on a node with containers; sigtrace trace -- CMD.")
    return EXIT_OK


def _introduce(scenario: Scenario, place: str, reason: str, style: Style) -> None:
    title = f"── {place} {scenario.name} "
    print(style(title, "bold") + style("─" * max(0, style.width - len(title)), "dim"))
    for line in style.wrap(scenario.title, 3):
        print(line)
    if reason:
        for line in style.wrap(f"skipped: {reason}", 3):
            print(style(line, "yellow"))
        print(flush=True)
        return
    print(style(f"   PID 1 is: {command_line(scenario.argv, style.width - 14)}", "dim"))
    asked = f" ({signals.name(scenario.signo)})" if scenario.signo in scenario.expect.sent else ""
    for line in style.wrap(f"somebody {scenario.person}{asked}", 3):
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
