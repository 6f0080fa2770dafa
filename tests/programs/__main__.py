"""``python -m tests.programs [--only NAME] [--write FILE]``: stops real programs and compares verdicts. Needs root."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sigtrace.errors import SigtraceError
from tests.programs.case import Case, Seen, difference
from tests.programs.catalogue import CASES
from tests.programs.run import missing, run, version
from tests.programs.table import page, row
from tests.programs.watched import judged, watching


def main() -> int:
    """Returns 0 if all was as expected, 1 if not, 2 for a wrong name, else the error's status."""
    options = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    options.add_argument("--only", action="append", default=[], metavar="NAME", help="a program, or program-form")
    options.add_argument("--list", action="store_true", help="names only")
    options.add_argument("--bare", action="store_true", help="without sigtrace: what the programs themselves do")
    options.add_argument("--json", action="store_true", help="sigtrace's records of each case that differs")
    options.add_argument("--write", type=Path, metavar="FILE", help="write the table there")
    chosen = options.parse_args()
    if unknown := set(chosen.only) - {name for c in CASES.values() for name in (c.name, c.program.name)}:
        options.error(f"no such program: {', '.join(sorted(unknown))} (--list has the names)")
    if chosen.write and (chosen.only or chosen.bare):
        options.error("--write takes all programs: leave out --only and --bare")
    cases = [c for c in CASES.values() if not chosen.only or {c.name, c.program.name} & set(chosen.only)]
    if chosen.list:
        print("\n".join(case.name for case in cases))
        return 0
    for case in [c for c in cases if missing(c)]:
        print(f"{case.name}: skipped, {missing(case)}", file=sys.stderr)
        cases.remove(case)
    try:
        return _bare(cases) if chosen.bare else _compare(cases, chosen.write, records=chosen.json)
    except SigtraceError as error:
        print(f"programs: {error}", file=sys.stderr)
        return error.exit_code


def _bare(cases: list[Case]) -> int:
    wrong = 0
    for case in cases:
        seen, _ = run(case)
        right = seen.status == case.expected.status
        wrong += not right
        print(f"{'✓' if right else '✗'} {case.name}: {seen.status} after {seen.duration_s:.3f} s, {seen.signals}")
        print(f"    {', '.join(seen.processes)}", flush=True)
    return 1 if wrong else 0


def _compare(cases: list[Case], target: Path | None, *, records: bool) -> int:
    results = _measure(cases)
    wrong = 0
    for case, seen in results.items():
        if why := seen if isinstance(seen, str) else difference(case.expected, seen):
            wrong += 1
            print(f"{case.name}: {why}")
            if records and not isinstance(seen, str):
                print("\n".join(seen.records))
    print(f"{len(results) - wrong} of {len(results)} as expected")
    if target:
        versions = {program: version(program) for program in {case.program for case in results}}
        rows = {case: (versions[case.program], seen) for case, seen in results.items()}
        target.write_text(page(rows), encoding="utf-8")
    return 1 if wrong else 0


def _measure(cases: list[Case]) -> dict[Case, Seen | str]:
    """Each case under one capture; an error's text for one that could not be run. Says each on stderr as it ends."""
    ran: dict[Case, tuple[Seen, int] | str] = {}
    with watching() as verdicts:
        for case in cases:
            try:
                ran[case] = seen, cgroup_id = run(case)
                line = row(case, "", judged(seen, verdicts, cgroup_id))
            except SigtraceError as error:
                ran[case] = str(error)
                line = row(case, "", str(error))
            print(line, file=sys.stderr, flush=True)
    # Asked again at the end: a finding may follow the shutdown.
    return {c: r if isinstance(r, str) else judged(r[0], verdicts, r[1]) for c, r in ran.items()}


if __name__ == "__main__":
    sys.exit(main())
