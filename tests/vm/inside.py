"""What a kernel of the matrix runs: every scenario of the lab, then tests on real signals.

``python -m tests.vm.inside OUT [TEST...]``, as root, in a guest or on this machine. OUT gets ``scenarios.json`` (what
became of each), ``recording`` (what sigtrace saw, for ``sigtrace replay``) and ``tests.jsonl`` (each TEST's outcome).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sigtrace.capture import run_in_background
from sigtrace.demonstration import Known, Verdicts, capture_for, mismatch
from sigtrace.errors import SigtraceError
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenario import UNANSWERED_AFTER_S, ZOMBIE_AFTER_S, Result, Scenario, run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model import signals
from sigtrace.model.event import Event, Kind
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.model.workload import Observation
from sigtrace.recorder import header_here
from sigtrace.sinks.recording import Recording, create
from sigtrace.sources.host import BPF_OBJECT

#: Scenarios mostly wait; an emulated machine with two CPUs judges three at a time as it judges one.
AT_ONCE: Final = 3
#: How many times longer what lasts in a scenario is to last, and its thresholds: another architecture's instructions,
#: emulated, are so slow that an honest parent reaps its child after what is a threshold elsewhere.
SLOW: Final = float(os.environ.get("SIGTRACE_SLOW", "1"))
KINDS: Final = {Kind.SIGNAL_GENERATE, Kind.SIGNAL_DELIVER, Kind.EXIT, Kind.OOM_KILL}


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one scenario on one kernel."""

    name: str
    state: str
    """``right``, ``wrong``, ``needs`` (this kernel can't), or ``failed`` (the container could not be made)"""
    why: str = ""
    verdict: str = ""
    """outcome/cause; findings"""
    pid1: tuple[str, ...] = ()
    """what the kernel did to PID 1: each kind of event once, without times"""


class Kernel:
    """A sink: what the kernel did to each container's init, by cgroup."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[int, set[str]]] = {}
        self._lock = threading.Lock()

    def observation(self, observation: Observation) -> None:
        """Keeps it if it is about an init."""
        event, workload = observation.event, observation.workload
        if event.kind in KINDS and event.task is not None and workload is not None:
            with self._lock:
                by_pid = self.seen.setdefault(workload.cgroup_id, {})
                by_pid.setdefault(event.task.pid, set()).add(words(event))

    def of(self, cgroup_id: int, pid: int) -> tuple[str, ...]:
        """Of one process, sorted."""
        with self._lock:
            return tuple(sorted(self.seen.get(cgroup_id, {}).get(pid, ())))

    def verdict(self, verdict: object) -> None:
        """Not looked at."""

    def pass_time(self, now_ns: int) -> None:
        """Nothing is due."""

    def take_dropped(self) -> int:
        """None, ever."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


def words(event: Event) -> str:
    """An event without its times and numbers: the same on every kernel that does the same."""
    what = [event.kind.value, signals.name(event.signo) if event.signo else ""]
    what += [event.result.word if event.result is not None else ""]
    what += [event.disposition.word if event.disposition is not None else ""]
    what += [str(event.wait_status) if event.wait_status is not None else ""]
    return " ".join(word for word in what if word)


def scenarios(out: Path) -> list[Told]:
    """Runs all under one capture, and prints each as it ends. Raises HostError if this kernel can't be watched."""
    kernel, verdicts, known = Kernel(), Verdicts(), Known()
    path = str(out / "recording")
    recording = Recording(create(path, force=True), path)

    def one(scenario: Scenario) -> tuple[Scenario, Result | Told]:
        if reason := unmet(scenario.needs):
            return scenario, Told(scenario.name, "needs", reason)
        begun = time.monotonic()
        try:
            result = run(
                scenario,
                container=known.add(scenario),
                zombie_after_s=SLOW * ZOMBIE_AFTER_S,
                unanswered_after_s=SLOW * UNANSWERED_AFTER_S,
            )
            verdicts.wait_for_shutdown(result.cgroup_id)
        except SigtraceError as error:
            print(f"failed {scenario.name}: {error}", flush=True)
            return scenario, Told(scenario.name, "failed", str(error))
        print(f"{time.monotonic() - begun:5.1f} s  {scenario.name}", flush=True)
        return scenario, result

    with capture_for("bpf", verdicts, known, sinks=[kernel], recorder=recording, slow=SLOW) as capture:
        recording.start(header_here(capture.thresholds))
        capture.ready()
        finish = run_in_background(capture)
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                ran = list(pool.map(one, SCENARIOS.values()))
        finally:
            finish()
        lost = {cause: n for cause, n in capture.lost().items() if n and not cause.startswith("recorded")}
    recording.close(60)
    # Judged at the end: a finding may follow the shutdown.
    told = [r if isinstance(r, Told) else judged(s, r, verdicts, kernel) for s, r in ran]
    if lost:
        told.append(Told("lost", "wrong", f"sigtrace lost events: {lost}"))
    return told


def judged(scenario: Scenario, result: Result, verdicts: Verdicts, kernel: Kernel) -> Told:
    """Whether what was said of a container is what its scenario expects."""
    shutdown, findings = verdicts.wait_for_shutdown(result.cgroup_id)
    wrong = mismatch(scenario, result, shutdown, findings)
    pid1 = kernel.of(result.cgroup_id, result.init_pid)
    return Told(scenario.name, "wrong" if wrong else "right", wrong, said(shutdown, findings), pid1)


def said(shutdown: Shutdown, findings: list[Finding]) -> str:
    """The verdict in the words of its records."""
    outcome = shutdown.outcome + (f"/{shutdown.cause}" if shutdown.cause else "")
    return "; ".join([outcome, *sorted({f"{f.code}/{f.cause}" for f in findings})])


def main() -> int:
    """0 if all scenarios were told right and all tests passed, else 1."""
    out, tests = Path(sys.argv[1]), sys.argv[2:]
    out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    try:
        told = scenarios(out)
    except SigtraceError as error:
        told = [Told("sigtrace", "failed", str(error))]
    report = {
        "release": os.uname().release,
        "object": hashlib.sha256(BPF_OBJECT.read_bytes()).hexdigest(),
        "seconds": round(time.monotonic() - begun, 1),
        "scenarios": [asdict(one) for one in told],
    }
    (out / "scenarios.json").write_text(json.dumps(report, indent=1) + "\n")
    bad = [one for one in told if one.state in {"wrong", "failed"}]
    for one in bad:
        print(f"{one.state.upper()} {one.name}: {one.why}", flush=True)
    print(f"{len(told)} scenarios, {len(bad)} bad, in {report['seconds']} s", flush=True)
    passed = not tests or pytest(out, tests)
    return 0 if passed and not bad else 1


def pytest(out: Path, tests: list[str]) -> bool:
    """Runs them; results.py writes down what became of each."""
    results = out / "tests.jsonl"
    results.unlink(missing_ok=True)
    # Emulated, what takes a second here may take a minute.
    options = ("-q", "-o", "faulthandler_timeout=300", "-p", "no:cacheprovider", "-p", "tests.vm.results")
    environment = {**os.environ, "SIGTRACE_RESULTS": str(results)}
    command = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(command, check=False, env=environment).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
