"""Runs one command under each kernel of the matrix and prints a table of what became of it.

``python -m tests.vm.run [--kernel 5.10]... -- COMMAND...`` boots each kernel with virtme-ng and runs COMMAND inside as
root, in the repository. The guest sees the host's files; what it writes dies with it, except below
``$SIGTRACE_VM_OUT``. Each kernel's output folder has that, ``log`` and ``console.log``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.vm.boot import Machine, Outcome, check_tools, run_under
from tests.vm.kernels import MATRIX, KernelUnavailableError, Series, VmError, cache_dir, obtain, series_named


def matrix(
    rows: Sequence[Series], command: Sequence[str], out: Path, *, machine: Machine, limit_s: float
) -> list[Outcome]:
    """One outcome a row, in order. A kernel that the mirror lacks becomes a row that is skipped."""
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for series in rows:
        try:
            kernel = obtain(series, cache_dir())
        except KernelUnavailableError as error:
            print(f"SKIPPED {series.name}: {error}", file=sys.stderr, flush=True)
            outcomes.append(Outcome(series.name, "", None, None, None, f"SKIPPED: {error}"))
            continue
        outcomes.append(run_under(series, kernel, command, out / series.name, machine=machine, limit_s=limit_s))
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes for people."""
    rows = [("kernel", "release", "boot", "command", "result")]
    for one in outcomes:
        boot, command = ("-" if seconds is None else f"{seconds:.0f} s" for seconds in (one.boot_s, one.command_s))
        rows.append((one.series, one.release or "-", boot, command, one.note))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our own options, and the command, which is cut off first so that its options are never taken for ours."""
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    default_out = cache_dir().parent / "vm"
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm.run",
        usage="%(prog)s [options] -- COMMAND...",
        description="Run a command under each kernel.",
    )
    parser.add_argument("--kernel", action="append", help="5.10, 6.1, 6.12, 7.x or a suite; repeatable (default: all)")
    parser.add_argument(
        "--timeout", type=float, default=900, metavar="S", help="seconds a kernel, with its boot (default: 900)"
    )
    parser.add_argument(
        "--output", type=Path, default=default_out, help=f"folder of logs and results (default: {default_out})"
    )
    parser.add_argument("--strict", action="store_true", help="a kernel that cannot be had is a failure")
    parser.add_argument("--memory", default="3G", help="the guest's (default: 3G)")
    parser.add_argument("--cpus", type=int, default=2, help="the guest's (default: 2)")
    parser.add_argument("--kvm", action="store_true", help="use KVM where this machine has it")
    options = parser.parse_args(arguments[:cut])
    command = list(arguments[cut + 1 :])
    if not command:
        parser.error("no command: put it behind --, as in: -- uname -r")
    return options, command


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every kernel that could be had passed, 1 if one did not, 2 if nothing could be run."""
    options, command = _arguments(sys.argv[1:] if arguments is None else arguments)
    out = options.output.resolve()
    try:
        check_tools()
        rows = [series_named(name) for name in options.kernel or ()] or MATRIX
        machine = Machine(options.memory, options.cpus, options.kvm)
        outcomes = matrix(rows, command, out, machine=machine, limit_s=options.timeout)
    except VmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (out / "results.json").write_text(json.dumps([asdict(one) for one in outcomes], indent=2) + "\n")
    print(f"\n{table(outcomes)}\nlogs: {out}")
    ran = [one for one in outcomes if not one.skipped]
    if not ran or (options.strict and len(ran) < len(outcomes)):
        return 2
    return 0 if all(one.passed for one in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
