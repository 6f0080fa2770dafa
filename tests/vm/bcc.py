"""The backend bcc on a real kernel with its headers and without its BTF.

``python -m tests.vm.bcc`` fetches the headers that belong to a kernel of the matrix, boots it, hides its BTF from all
that runs there, and runs test_bcc.py and the contract suite with bcc. It needs python3-bpfcc on this machine, beside
what README.md says.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.vm.boot import REPOSITORY, Machine, check_tools, run_under
from tests.vm.kernels import Kernel, Series, VmError, _apt, _call, _configure, _mirror, cache_dir, obtain, series_named
from tests.vm.run import table

#: Debian's 6.1 is where the second build has to work; the others are there to be tried.
DEFAULT: Final = "6.1"
HEADERS: Final = re.compile(r"linux-headers-\d")
PYTEST: Final = (
    *(".venv/bin/python", "-m", "pytest", "-q", "-k", "bcc", "-m", "vm or contract"),
    # Emulated, the headers take a minute to compile.
    *("-o", "faulthandler_timeout=900"),
    *("tests/vm/test_bcc.py", "tests/contract"),
)


def obtain_headers(series: Series, kernel: Kernel, cache: Path) -> Path:
    """The folder with the kernel's headers, unpacked. Raises VmError if the mirror lacks just these."""
    folder, fresh = cache / f"{series.name}.headers", cache / f"{series.name}.headers.new"
    if (folder / kernel.release).exists():
        return folder / "root"
    shutil.rmtree(fresh, ignore_errors=True)
    apt = fresh / "apt"
    _configure(series, apt, _mirror())
    _apt(apt, "apt-get", "update", "-q")
    first = f"linux-headers-{kernel.release}"
    try:
        listing = _apt(apt, "apt-cache", "depends", "--important", first)
    except VmError as e:
        raise VmError(f"{e}; a newer kernel may have its own: python -m tests.vm.kernels --refresh") from e
    names = [first, *(n for n in re.findall(r"^ *\|?Depends: (\S+)$", listing, re.MULTILINE) if HEADERS.match(n))]
    print(f"{series.name}: downloading {' '.join(names)}", flush=True)
    _apt(apt, "apt-get", "download", "-q", *names)
    for deb in sorted(apt.glob("*.deb")):
        _call("dpkg-deb", "--extract", str(deb), str(fresh / "root"))
    shutil.rmtree(apt)
    (fresh / kernel.release).touch()
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder / "root"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all passed, 1 if not, 2 if nothing could be run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm.bcc", description="Run bcc's tests on a kernel without BTF."
    )
    parser.add_argument("--kernel", default=DEFAULT, help=f"of the matrix (default: {DEFAULT})")
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="seconds (default: 1800)")
    parser.add_argument("command", nargs="*", help="in place of the tests")
    options = parser.parse_args(arguments)
    out = cache_dir().parent / "vm-bcc"
    try:
        check_tools()
        series = series_named(options.kernel)
        kernel = obtain(series, cache_dir())
        headers = obtain_headers(series, kernel, cache_dir())
        command = ("bash", str(REPOSITORY / "tests/vm/bcc.sh"), str(headers), *(options.command or PYTEST))
        outcome = run_under(series, kernel, command, out, machine=Machine("3G", 2, kvm=False), limit_s=options.timeout)
    except VmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{table([outcome])}\nlogs: {out}")
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())
