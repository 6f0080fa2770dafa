"""All scenarios of the lab and the tests closest to the kernel, on each kernel of the matrix and on this machine's own.

``python -m tests.vm.matrix`` boots Debian's kernels one after the other, as root (see README.md). ``--write
docs/kernels.md`` writes the page; ``--short`` is what CI runs: 6.1 alone, and a handful of the tests.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.sources.host import read_host
from tests.vm.arm64 import arm64
from tests.vm.boot import REPOSITORY, Machine, check_tools, run_under
from tests.vm.kernels import MATRIX, KernelUnavailableError, VmError, cache_dir, obtain, series_named
from tests.vm.page import EXPLAINED, Column, column, differences, page, rows_of

PAGE: Final = REPOSITORY / "docs/kernels.md"
PYTHON: Final = str(REPOSITORY / ".venv/bin/python")
HOST, ARM64 = "host", "arm64"

#: What may differ between kernels: the rules of signals, exits, reaping and cgroups, what the programs need and record,
#: and what each build of them has to tell.
TESTS: Final = (
    *(
        f"tests/kernel/test_{name}.py"
        for name in (
            *("verifier", "delivery", "exits", "reaping", "killers", "inside", "held", "places", "zombies"),
            *("snapshot", "filters", "lab_places", "pins", "spares"),
        )
    ),
    "tests/contract/test_sources.py",
    # The object is not ptrace's, which is slow to follow a slow program.
    "-k=not ptrace",
    "--deselect=tests/kernel/test_zombies.py::test_two_thousand_at_once_in_three_containers",
)
#: The others of tests/kernel, which run on this machine's own kernel alone (make test), and why.
LEFT_OUT: Final = {
    "many commands, each a Python that starts twenty times slower in an emulated machine": (
        *("agent", "agent_pins", "commands", "otlp", "privileges", "record", "soak", "text", "top"),
    ),
    "thousands of forks, signals or cgroups, which take an emulated machine minutes": (
        *("counts", "delegated", "hiding", "many", "storms", "zombies::test_two_thousand_at_once_in_three_containers"),
    ),
    "the scenarios once more": ("audit", "lab", "metrics", "raw_build", "verdicts"),
    "threads of sigtrace's own, the same everywhere": ("ahead",),
    "without the object": ("ptrace_audit", "ptrace_safety", "ptrace_source"),
}
#: The rules of signals and exits once more, by hand.
SHORT: Final = ("tests/kernel/test_delivery.py", "tests/kernel/test_exits.py")
SHORT_KERNEL: Final = "6.1"
KERNELS: Final = (HOST, *(series.name for series in MATRIX), ARM64)


def guest(name: str, out: Path, tests: Sequence[str], limit_s: float) -> Column:
    """Boots a kernel of Debian's. One that can't be had is a column that says so."""
    series = series_named(name)
    try:
        kernel = obtain(series, cache_dir())
    except KernelUnavailableError as error:
        print(f"SKIPPED {name}: {error}", file=sys.stderr, flush=True)
        return Column(series.name, series.suite, note=f"SKIPPED: {error}")
    command = (PYTHON, "-m", "tests.vm.inside", "/run/sigtrace-out", *tests)
    begun = time.monotonic()
    outcome = run_under(series, kernel, command, out, machine=Machine("3G", 2, kvm=False), limit_s=limit_s)
    note = "" if outcome.status in {0, 1} else outcome.note
    return column(series.name, series.suite, kernel.release, time.monotonic() - begun, note, out)


def host(out: Path, tests: Sequence[str], limit_s: float) -> Column:
    """This machine's own kernel, the same command."""
    begun, note = time.monotonic(), ""
    command = (PYTHON, "-m", "tests.vm.inside", str(out), *tests)
    try:
        subprocess.run(command, cwd=REPOSITORY, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        note = f"no result within {limit_s:.0f} s"
    return column(HOST, "", read_host().release, time.monotonic() - begun, note, out)


def compile_python() -> None:
    """Leaves all bytecode here: a guest would need minutes for what takes seconds, and forget it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    collect = ("pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *TESTS)  # pytest has bytecode of its own
    for command in (("compileall", "-q", "sigtrace", "tests"), collect):
        subprocess.run(
            (PYTHON, "-m", *command), cwd=REPOSITORY, env=environment, check=False, stdout=subprocess.DEVNULL
        )


def one_of(name: str, out: Path, tests: Sequence[str], limit_s: float) -> Column:
    """What there is to show of a kernel. Raises VmError."""
    if name == HOST:
        return host(out, tests, limit_s)
    return arm64(out, limit_s) if name == ARM64 else guest(name, out, tests, limit_s)


def settled(columns: Sequence[Column]) -> bool:
    """Prints what is not right; whether nothing is."""
    for one in columns:
        bad = [
            f"{told['name']}: {told['why']}" for told in one.scenarios.values() if told["state"] in {"wrong", "failed"}
        ]
        bad += one.tests.failed if one.tests else []
        whole = one.note or not one.tested or (one.tests and one.tests.whole)
        bad += [] if whole else ["not all of the kernel tests came to their turn"]
        print(
            f"{one.name}: {one.release} {one.note or ('all right' if one.good else 'NOT RIGHT')}, {one.seconds:.0f} s"
        )
        print("".join(f"  {line}\n" for line in bad), end="", flush=True)
    unexplained = differences(columns).keys() - EXPLAINED.keys()
    for name in sorted(unexplained):
        print(f"{name}: kernels differ in what they do to PID 1, and EXPLAINED has no word of it")
    objects = {one.object for one in columns if one.object}
    if len(objects) > 1:
        print(f"these ran {len(objects)} different objects: run them again")
    fine = all(one.good or one.note.startswith("SKIPPED") for one in columns)
    return fine and not unexplained and len(objects) < 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all is right, 1 if something is not or the page is stale, 2 if nothing could be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.matrix", description="The scenarios on every kernel.")
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="repeatable (default: all)")
    parser.add_argument(
        "--keep", action="store_true", help="the others as an earlier run left them in the output folder"
    )
    parser.add_argument("--short", action="store_true", help=f"{SHORT_KERNEL} alone, with a handful of the tests")
    parser.add_argument("--output", type=Path, default=cache_dir().parent / "matrix", help="folder of logs and results")
    parser.add_argument("--timeout", type=float, default=1200, metavar="S", help="seconds a kernel (default: 1200)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--check", action="store_true", help="boot nothing: does the page have today's scenarios?")
    options = parser.parse_args(arguments)
    if options.short and options.write:
        parser.error("--short runs a handful of the tests, and the page is of all: leave one of them out")
    if options.check:
        return check(PAGE.read_text(encoding="utf-8"))
    chosen = options.kernel or ([SHORT_KERNEL] if options.short else KERNELS)
    out = options.output.resolve()
    columns = []
    try:
        if set(chosen) - {HOST, ARM64}:
            check_tools()
            compile_python()
        for name in KERNELS:
            if name in chosen:
                columns.append(one_of(name, out / name, SHORT if options.short else TESTS, options.timeout))
                columns[-1].save(out / name)
            elif options.keep and (out / name / "column.json").exists():
                columns.append(Column.load(out / name))
    except VmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    good = settled(columns)
    if options.write:
        options.write.write_text(page(columns, hierarchy(), LEFT_OUT), encoding="utf-8")
    print(f"logs: {out}")
    if all(one.note.startswith("SKIPPED") for one in columns):
        return 2
    return 0 if good else 1


def hierarchy() -> str:
    """Where this machine's containers live, in words."""
    host = read_host()
    where = host.hierarchy.kind.name.lower() if host.hierarchy else "none"
    return f"{host.cgroup_layout} cgroups (containers in {where})"


def check(text: str) -> int:
    """Whether a page has a row for each scenario."""
    if rows_of(text) == list(SCENARIOS):
        return 0
    differing = sorted(set(rows_of(text)) ^ set(SCENARIOS)) or "in another order"
    print(f"{PAGE.name}: its rows are not the lab's scenarios: {differing}; write it again")
    return 1


if __name__ == "__main__":
    sys.exit(main())
