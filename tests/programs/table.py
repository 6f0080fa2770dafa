"""docs/programs.md: what was expected and what was observed."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime

from sigtrace.model import signals
from tests.programs.case import GRACE_S, Case, Seen, difference

_HEAD = """\
# Real programs, stopped

Each program is PID 1 of a container of the lab (namespaces and a cgroup, no runtime) in the forms in which images start
it: exec form, `sh -c` (dash, the shell form), under tini, under dumb-init. When it is up it gets the stop signal, and
SIGKILL {grace:g} s later if it is there still. sigtrace is told what a runtime would tell it: the grace period and the
image's STOPSIGNAL. What is expected was written down from the programs' documentation and source and from runs
without sigtrace (`--bare`). Made by

    tools/programs                                        # installs what is missing (Debian, Ubuntu)
    .venv/bin/python -m tests.programs --write docs/programs.md

{date}, Linux {kernel} ({machine}, {cpus} CPUs): {right} of {all} as expected. ✗ is a difference not settled yet.

A verdict is outcome/cause, PID 1's exit status as runtimes print it; findings. Time is from the stop signal (or the
start of the preStop command) to the end of PID 1. *busy*: a client is connected that does not leave. *raises*: a
program of five lines that cleans up and sends itself the signal again.

| program | version | form | signal | expected | observed | time | |
|---|---|---|---|---|---|---|---|
"""


def row(case: Case, version: str, seen: Seen | str) -> str:
    """One line; ``seen`` is an error's text if the case could not be run."""
    signal = "preStop" if case.program.pre_stop else signals.name(case.program.signo)
    cells = [case.program.name, version, case.form, signal, str(case.expected)]
    if isinstance(seen, str):
        cells += [seen.replace("|", "\\|"), "", "✗"]
    else:
        same = str(seen) == str(case.expected)
        mark = "✗" if difference(case.expected, seen) else "✓"
        cells += ["the same" if same else str(seen), f"{seen.duration_s:.3f} s", mark]
    return f"| {' | '.join(cells)} |"


def page(results: Mapping[Case, tuple[str, Seen | str]]) -> str:
    """The whole file."""
    right = sum(not isinstance(s, str) and not difference(c.expected, s) for c, (_, s) in results.items())
    text = _HEAD.format(
        grace=GRACE_S,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        kernel=platform.release(),
        machine=platform.machine(),
        cpus=os.cpu_count(),
        right=right,
        all=len(results),
    )
    text += "".join(row(case, version, seen) + "\n" for case, (version, seen) in results.items())
    notes: dict[tuple[str, str], list[str]] = {}
    for case in results:
        if case.expected.why:
            notes.setdefault((case.program.name, case.expected.why), []).append(case.form)
    if notes:
        lines = [f"- {name} ({', '.join(all_forms)}): {why}." for (name, why), all_forms in notes.items()]
        text += "\nWhy:\n\n" + "\n".join(lines) + "\n"
    return text
