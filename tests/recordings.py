"""Makes the recordings of the lab's scenarios in tests/data/recordings, with the verdicts that were told live.

``python -m tests.recordings [--to FOLDER] [SCENARIO...]``, as root. Of each scenario: NAME.sigtrace, what its container
did, and NAME.jsonl, what `watch -o json` said of it. A test replays the one and compares with the other.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from sigtrace.capture import run_in_background
from sigtrace.demonstration import Known, Verdicts, capture_for, mismatch
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.filter import WorkloadFilter
from sigtrace.recorder import header_here
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.chosen import Filtered
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.recording import Losses, Recording, create
from sigtrace.sources.procfs import boot_id

FOLDER = Path(__file__).parent / "data" / "recordings"


def make(name: str, folder: Path) -> str:
    """Record one scenario; returns what was wrong with it, or nothing."""
    scenario, known, verdicts = SCENARIOS[name], Known(), Verdicts()
    box = known.add(scenario, name)
    chosen = WorkloadFilter(container=box)
    path = folder / f"{name}.sigtrace"
    recording = Recording(create(str(path), force=True), str(path), chosen=chosen)
    text = io.StringIO()
    writer = LineWriter(text, 100_000)
    told = Filtered(Jsonl(writer, events=None, boot_id=boot_id()), chosen)
    with capture_for("bpf", verdicts, known, sinks=[told, Losses(recording)], recorder=recording) as capture:
        recording.start(header_here(capture.thresholds))
        capture.feed.step(0)
        finish = run_in_background(capture)
        try:
            result = run(scenario, container=box)
            shutdown, findings = verdicts.wait_for_shutdown(result.cgroup_id)
        finally:
            finish()
    recording.close()
    writer.close(5)
    (folder / f"{name}.jsonl").write_text(text.getvalue(), encoding="utf-8")
    path.chmod(0o644)
    return mismatch(scenario, result, shutdown, findings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=FOLDER)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []])
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for name in arguments.scenario or SCENARIOS:
        reason = unmet(SCENARIOS[name].needs)
        if reason:
            print(f"{name}: skipped, {reason}")
            continue
        if difference := make(name, arguments.to):
            wrong += 1
            print(f"{name}: WRONG, {difference}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
