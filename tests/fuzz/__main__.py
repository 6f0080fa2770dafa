"""Fuzzes the parsers of all that others write: ``python -m tests.fuzz [--minutes 10] [--jobs N] [TARGET…]``.

By coverage with atheris, where that is installed (``pip install atheris``); else by blind mutation of the corpus. What
raises, takes 10 s of CPU time or takes 2 GiB is a bug: its input is written to the folder ``--to``, and belongs into
tests/fuzz/corpus/TARGET, which the ordinary tests run, once it is mended. ``--keep N``: N inputs that reached new code
are kept there too, the shortest first.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

_MEMORY = 2 << 30
_LARGEST = 65536
ROOT = Path(__file__).parents[2]


def guided(name: str, seconds: int, found: Path, corpus: Path) -> None:
    """In a process of its own; never returns."""
    import atheris

    with atheris.instrument_imports(include=["sigtrace"]):
        from tests.fuzz.targets import CORPUS, run
    for path in (CORPUS / name).glob("*"):
        shutil.copy(path, corpus)
    atheris.Setup(
        [
            sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-timeout=300", f"-max_len={_LARGEST}",
            f"-rss_limit_mb={_MEMORY >> 20}", f"-artifact_prefix={found}/{name}-", "-verbosity=1",
        ],
        lambda data: run(name, data),
    )  # fmt: skip
    atheris.Fuzz()


def blind(name: str, seconds: int, found: Path) -> None:
    """In a process of its own; ends with the first bug."""
    from tests.fuzz.mutate import inputs
    from tests.fuzz.targets import corpus, run

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    end, count = time.monotonic() + seconds, 0
    for data in inputs(corpus(name), time.time_ns()):
        if time.monotonic() > end:
            break
        count += 1
        try:
            run(name, data[:_LARGEST])
        except BaseException:  # noqa: BLE001 - whatever it is, its input is to be kept
            (found / f"{name}-crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            traceback.print_exc()
            sys.exit(77)
    print(f"Done {count} runs", file=sys.stderr)


def fuzz(name: str, seconds: int, to: Path, keep: int) -> tuple[str, int]:
    """(what it came to, in a line; exit status)."""
    from tests.fuzz.targets import CORPUS

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        argv = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--one",
            name,
            "--seconds",
            str(seconds),
            "--to",
            str(to),
            "--corpus",
            folder,
        ]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        said = done.stderr + done.stdout
        if keep and not done.returncode:
            (CORPUS / name).mkdir(parents=True, exist_ok=True)
            for path in sorted(Path(folder).iterdir(), key=lambda path: path.stat().st_size)[:keep]:
                if path.stat().st_size <= 4096:
                    shutil.copy(path, CORPUS / name / hashlib.sha256(path.read_bytes()).hexdigest()[:12])
    runs = re.findall(r"Done (\d+) runs", said)
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", said)
    words = f"{name:<16} {runs[-1] if runs else '?':>9} runs"
    words += f"  {coverage[-1][0]:>5} edges, {coverage[-1][1]} features" if coverage else ""
    if done.returncode:
        (to / f"{name}.log").write_text(said)
        words += f"  FAILED ({done.returncode}), see {to / name}.log: {_reason(said)}"
    return words, done.returncode


def _reason(said: str) -> str:
    lines = [
        line.strip()
        for line in said.splitlines()
        if re.match(r"\s*\S*(Error|Exception|Interrupt)\b|.*ERROR: libFuzzer", line)
    ]
    return lines[0][:200] if lines else (said.strip().splitlines() or ["nothing was said"])[-1][:200]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target [10]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--to", type=Path, default=Path("build/fuzz"), help="folder for what was found [build/fuzz]")
    parser.add_argument("--keep", type=int, default=0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("target", nargs="*")
    given = parser.parse_args()
    if given.one:
        if find_spec("atheris"):
            guided(given.one, given.seconds, given.to, given.corpus)
        blind(given.one, given.seconds, given.to)
        return 0
    from tests.fuzz.targets import TARGETS

    if unknown := set(given.target) - TARGETS.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    given.to = given.to.absolute()
    given.to.mkdir(parents=True, exist_ok=True)
    print(
        "by coverage (atheris)" if find_spec("atheris") else "by blind mutation: atheris is not installed", flush=True
    )
    ends = collections.Counter[bool]()
    with ThreadPoolExecutor(given.jobs) as pool:
        chosen = given.target or list(TARGETS)
        seconds = max(int(given.minutes * 60), 1)
        for words, status in pool.map(lambda name: fuzz(name, seconds, given.to, given.keep), chosen):
            print(words, flush=True)
            ends[status == 0] += 1
    print(f"{ends[True]} passed, {ends[False]} failed")
    return 1 if ends[False] else 0


if __name__ == "__main__":
    sys.exit(main())
