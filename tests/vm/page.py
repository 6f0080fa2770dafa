"""docs/kernels.md: rows scenarios, columns kernels, from what ``tests.vm.inside`` left of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sigtrace.lab.scenarios import SCENARIOS

MARKS: Final = {"right": "✓", "wrong": "✗", "failed": "✗", "needs": "–"}

_MARK: Final = "5.10's mark_victim has a pid and no task: whose it was is known from the SIGKILL before it."
#: Where kernels differ in what they do to PID 1 of a scenario: which rule of docs/kernel-notes.md or of the kernel says
#: so. A difference without a word here is a failure.
EXPLAINED: Final = {
    "oom": _MARK,
    "oom-group": _MARK,
    "host-pid": "A delivery to a main process that is no init is told once user space has said to the kernel which "
    "process that is; where it is not told, the stop signal came sooner. The verdict needs no delivery.",
    "abort": "When SIGABRT changes nothing, glibc's abort() executes hlt on x86-64 (SIGSEGV), brk on arm64 (SIGTRAP).",
}

_HEAD = """\
# One object, several kernels

Each scenario of the lab on each kernel, under one and the same compiled BPF object (sha256 {object}…).
✓: sigtrace's findings, outcome, cause and exit status are what the scenario expects, and the container did what it
says. –: the kernel can't do it (see the notes). ✗: something differed. Debian's kernels run in emulated machines
([tests/vm](../tests/vm/README.md)) with cgroup v2 alone, on x86-64 but for arm64, which has the scenarios
only; `{host}` is the machine that ran them, with {hierarchy}. Made by

    .venv/bin/python -m tests.vm.matrix --write docs/kernels.md

on {date}. `make test-kernels` runs the same and writes nothing; `.ci/run` has its short form, on 6.1.

"""


@dataclass(frozen=True, slots=True)
class Tests:
    """What pytest said: how many, and which and why."""

    passed: int = 0
    failed: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    """test → reason"""
    whole: bool = True
    """whether all came to their turn"""
    missing: int = 0
    """how many did not, as far as is known"""


@dataclass(frozen=True, slots=True)
class Column:
    """A kernel. ``note`` says why there is nothing, or empty."""

    name: str
    suite: str = ""
    release: str = ""
    note: str = ""
    seconds: float = 0
    """wall time, the boot included"""
    scenarios: Mapping[str, dict[str, object]] = field(default_factory=dict)
    tests: Tests | None = None
    tested: bool = True
    """whether there were to be any"""
    object: str = ""
    """sha256 of the compiled programs that ran"""

    @property
    def good(self) -> bool:
        """Whether all that it has to show is right."""
        states = {str(one["state"]) for one in self.scenarios.values()}
        whole = set(SCENARIOS) <= set(self.scenarios) and states <= {"right", "needs"}
        tests = self.tests or Tests(whole=False)
        tested = not self.tested or (tests.whole and bool(tests.passed) and not tests.failed)
        return not self.note and whole and tested

    def save(self, out: Path) -> None:
        """Beside the results, what they don't say."""
        out.mkdir(parents=True, exist_ok=True)
        own = {"suite": self.suite, "release": self.release, "seconds": self.seconds, "note": self.note}
        (out / "column.json").write_text(json.dumps({"name": self.name, **own, "tested": self.tested}) + "\n")

    @classmethod
    def load(cls, out: Path) -> Column:
        """What was saved, and the results."""
        return column(out=out, **json.loads((out / "column.json").read_text()))


def column(name: str, suite: str, release: str, seconds: float, note: str, out: Path, *, tested: bool = True) -> Column:
    """Reads what a kernel left in its folder; what is missing there is missing in the column."""
    report = {"scenarios": [], "object": ""}
    if (out / "scenarios.json").exists():
        report = json.loads((out / "scenarios.json").read_text())
    scenarios = {one["name"]: one for one in report["scenarios"]}
    results = out / "tests.jsonl"
    tests = read_tests(results.read_text(encoding="utf-8")) if results.exists() else None
    return Column(name, suite, release, note, seconds, scenarios, tests, tested, report["object"])


def read_tests(lines: str) -> Tests:
    """What results.py wrote. A test may have passed and failed in its teardown: it failed."""
    passed: set[str] = set()
    failed: dict[str, None] = {}
    skipped: dict[str, str] = {}
    planned, whole = 0, False
    for line in map(json.loads, lines.splitlines()):
        planned = line.get("planned", planned)
        whole |= "end" in line
        match line.get("outcome"):
            case "passed":
                passed.add(line["test"])
            case "failed":
                failed[line["test"]] = None
            case "skipped":
                skipped[line["test"]] = line["reason"]
    missing = max(0, planned - len(passed | failed.keys() | skipped.keys()))
    return Tests(len(passed - failed.keys()), tuple(failed), skipped, whole and not missing, missing)


def page(columns: Sequence[Column], hierarchy: str, left_out: Mapping[str, Sequence[str]] | None = None) -> str:
    """The whole file. ``left_out``: why → the modules of tests/kernel that ran nowhere here."""
    host = next((one.release for one in columns if not one.suite), "host")
    digest = next((one.object for one in columns if one.object), "")
    text = _HEAD.format(object=digest[:12], host=host, hierarchy=hierarchy, date=f"{datetime.now(UTC):%Y-%m-%d}")
    parts = [_summary(columns), *_left_out(left_out or {}), _scenarios(columns), *_notes(columns)]
    return text + "\n\n".join(parts) + "\n"


def _summary(columns: Sequence[Column]) -> str:
    of_tests = ("kernel tests passed", "failed", "skipped", "not run")
    rows: list[tuple[str, ...]] = [("kernel", "release", "scenarios right", "can't", "wrong", *of_tests, "time")]
    for one in columns:
        states = Counter(str(told["state"]) for told in one.scenarios.values())
        bad = states["wrong"] + states["failed"]
        figures = (states["right"], states["needs"], bad, *_of_tests(one))
        name = f"{one.name} ({one.suite})" if one.suite else one.name
        rows.append((name, one.release or one.note, *map(str, figures), f"{one.seconds:.0f} s"))
    return _table(rows)


def _of_tests(one: Column) -> tuple[int | str, ...]:
    """Passed, failed, skipped, not run; of a kernel that was to have none nothing, rather than zeros."""
    if not one.tested:
        return ("–",) * 4
    tests = one.tests or Tests(whole=False)
    not_run = tests.missing or ("0" if tests.whole else "?")
    return tests.passed, len(tests.failed), len(tests.skipped), not_run


def _left_out(modules: Mapping[str, Sequence[str]]) -> list[str]:
    """What the tests of the table are not."""
    why = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in modules.items())
    return [f"Not all of tests/kernel is run here. On the host's own kernel alone run: {why}."] if why else []


def _scenarios(columns: Sequence[Column]) -> str:
    rows = [("scenario", "verdict", *(one.name for one in columns))]
    for name in SCENARIOS:
        told = [one.scenarios.get(name) for one in columns]
        verdict = next((str(t["verdict"]) for t in told if t and t["verdict"]), "")
        rows.append((name, verdict, *(MARKS[str(t["state"])] if t else " " for t in told)))
    return _table(rows)


def _notes(columns: Sequence[Column]) -> list[str]:
    """What the marks don't say."""
    lines = [f"{one.name}: {one.note}" for one in columns if one.note]
    for one in columns:
        others = [told for told in one.scenarios.values() if told["state"] != "right"]
        lines += [f"{one.name}, {told['name']}: {told['why']}" for told in others]
    for name, differing in differences(columns).items():
        how = "; ".join(f"{kernels}: {', '.join(ways) or 'nothing more'}" for kernels, ways in differing.items())
        lines.append(f"{name}, what the kernel does to PID 1: {how}. {EXPLAINED.get(name, 'NOT EXPLAINED')}")
    for one in columns:
        if one.tests:
            cut = f"not all ran: {one.tests.missing or 'an unknown number'} of the tests did not come to their turn"
            lines += [f"{one.name}: {cut}"] * (not one.tests.whole)
            lines += [f"{one.name}, failed: {name}" for name in one.tests.failed]
            reasons = Counter(one.tests.skipped.values())
            lines += [f"{one.name}, {n} skipped: {reason}" for reason, n in reasons.items()]
    return ["## Notes\n\n" + "\n".join(f"- {line}" for line in lines)] if lines else []


def differences(columns: Sequence[Column]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Scenario → kernels → what only these do to its PID 1, where not all do the same."""
    found = {}
    for name in SCENARIOS:
        ways: dict[tuple[str, ...], list[str]] = {}
        for one in columns:
            told = one.scenarios.get(name)
            if told and told["state"] == "right":
                ways.setdefault(tuple(map(str, told["pid1"])), []).append(one.name)
        if len(ways) > 1:
            common = set.intersection(*map(set, ways))
            found[name] = {", ".join(names): tuple(w for w in way if w not in common) for way, names in ways.items()}
    return found


def rows_of(text: str) -> list[str]:
    """The scenarios that a page has, in its order."""
    lines = text.partition("\n| scenario |")[2].partition("\n\n")[0].splitlines()[2:]
    return [line.split("|")[1].strip() for line in lines]


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
