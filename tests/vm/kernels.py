"""Debian's kernels for the matrix: fetched by apt, unpacked, cached; nothing is installed on this machine.

Every series has a folder of its own in the cache::

    5.10.new/          a fetch under way, with apt's configuration, lists and downloads apart from the machine's own
    5.10/root/         the unpacked packages, with modules.dep
    5.10/kernel.json   what was unpacked

The mirror is the one that the machine's own apt sources name. apt checks the suite's signature against Debian's keyring
and every package against the signed index. ``python -m tests.vm.kernels`` fetches without booting anything.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

KEYRINGS: Final = tuple(Path("/usr/share/keyrings", f"debian-archive-keyring.{end}") for end in ("pgp", "gpg"))
"""Where the package debian-archive-keyring puts Debian's keys, newest convention first."""

KERNEL_PACKAGE: Final = re.compile(r"linux-(image|binary|modules|base)-\d")
"""Packages that make up one kernel; forky splits what older suites ship as linux-image-VERSION alone."""

APT_CONF: Final = """\
Dir::Etc::sourcelist "{apt}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::State::lists "{apt}/lists/";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}/cache/";
// A mirror that answers with half the lists is an error, not a warning.
APT::Update::Error-Mode "any";
// The cache lies below a home folder, where apt's own user may not look. Signatures are checked all the same.
APT::Sandbox::User "{user}";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class VmError(Exception):
    """Says what failed, with which value, why, and the next step."""


class KernelUnavailableError(VmError):
    """The mirror has no such kernel: the matrix leaves the row out, loudly."""


@dataclass(frozen=True, slots=True)
class Series:
    """A row of the matrix: the series as people name it and the Debian suite that has it."""

    name: str
    suite: str


MATRIX: Final = (
    Series("5.10", "bullseye"),
    Series("6.1", "bookworm"),
    Series("6.12", "bookworm-backports"),
    Series("7.x", "forky"),
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: its release as ``uname -r`` says it, its image, and the packages it came from."""

    release: str
    image: Path
    packages: tuple[str, ...]


def cache_dir() -> Path:
    """The folder that keeps kernels: below XDG_CACHE_HOME, or ~/.cache without it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The base directory specification has relative values ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "sigtrace" / "kernels"


def series_named(name: str) -> Series:
    """The series with that name or suite. Raises VmError that lists the known ones."""
    for series in MATRIX:
        if name in (series.name, series.suite):
            return series
    known = ", ".join(f"{series.name} ({series.suite})" for series in MATRIX)
    raise VmError(f"unknown kernel {name!r}: take one of {known}")


def obtain(series: Series, cache: Path, *, refresh: bool = False) -> Kernel:
    """The series' kernel, from the cache or else from the mirror.

    With ``refresh`` the mirror is asked again, for the suite's newest kernel. Raises KernelUnavailableError where the
    mirror lacks the suite or the kernel, VmError for all else.
    """
    folder = cache / series.name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{series.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not refresh and (kernel := _recorded(folder)):
            print(f"{series.name}: {kernel.release}, cached in {folder}", flush=True)
            return kernel
        # Made beside the old one, which stays in use if the mirror fails halfway.
        fresh = cache / f"{series.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        kernel = _unpack(_download(series, fresh / "apt"), fresh)
        shutil.rmtree(fresh / "apt")
        (fresh / "kernel.json").write_text(json.dumps(asdict(kernel), default=str, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    print(f"{series.name}: {kernel.release} unpacked in {folder}", flush=True)
    return replace(kernel, image=folder / kernel.image)


def _recorded(folder: Path) -> Kernel | None:
    """What an earlier run unpacked in the folder; None if there is none, or the image has gone since."""
    try:
        saved = json.loads((folder / "kernel.json").read_text())
        kernel = Kernel(saved["release"], folder / saved["image"], tuple(saved["packages"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return kernel if kernel.image.is_file() else None


def _download(series: Series, apt: Path) -> list[Path]:
    """Fetches the suite's current kernel packages into ``apt``; the .deb files."""
    mirror = _mirror()
    _configure(series, apt, mirror)
    architecture = _call("dpkg", "--print-architecture").strip()
    print(f"{series.name}: asking {series.suite} on {mirror}", flush=True)
    try:
        _apt(apt, "apt-get", "update", "-q")
    except VmError as error:
        raise KernelUnavailableError(f"no suite {series.suite} (Linux {series.name}) from {mirror}: {error}") from error
    names = _kernel_packages(apt, f"linux-image-{architecture}")
    if not names:
        raise KernelUnavailableError(f"{series.suite} on {mirror} has no kernel behind linux-image-{architecture}")
    print(f"{series.name}: downloading {' '.join(names)}", flush=True)
    _apt(apt, "apt-get", "download", "-q", *names)
    return sorted(apt.glob("*.deb"))


def _mirror() -> str:
    """The URI of Debian's archive by the machine's own apt sources, or SIGTRACE_DEBIAN_MIRROR."""
    if chosen := os.environ.get("SIGTRACE_DEBIAN_MIRROR"):
        return chosen
    codename = _os_codename()
    lines = _call(
        "apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"
    ).splitlines()
    for release, component, uri in (line.split(" ", 2) for line in lines):
        if release == codename and component == "main" and not uri.startswith("cdrom:"):
            return uri
    raise VmError(
        f"no Debian mirror: this machine's apt sources have no line for {codename or 'its release'} main; "
        "set SIGTRACE_DEBIAN_MIRROR to the URI of a Debian archive"
    )


def _os_codename() -> str:
    found = re.search(r'^VERSION_CODENAME="?(\w+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _configure(series: Series, apt: Path, mirror: str) -> None:
    keyring = next((path for path in KEYRINGS if path.exists()), None)
    if keyring is None:
        raise VmError(f"no Debian keyring at {KEYRINGS[-1]}: apt-get install debian-archive-keyring")
    (apt / "lists" / "partial").mkdir(parents=True)
    (apt / "cache" / "archives" / "partial").mkdir(parents=True)
    # An empty list of installed packages, so that what this machine runs never counts as the suite's candidate.
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} {series.suite} main\n")
    (apt / "apt.conf").write_text(APT_CONF.format(apt=apt, user="root" if os.geteuid() == 0 else "_apt"))


def _kernel_packages(apt: Path, metapackage: str) -> list[str]:
    """The packages of the kernel that the metapackage stands for, found by following what depends on what."""
    wanted, seen = [metapackage], set[str]()
    while wanted:
        name = wanted.pop()
        seen.add(name)
        listing = _apt(apt, "apt-cache", "depends", "--important", name)
        found = re.findall(r"^ *\|?Depends: (\S+)$", listing, re.MULTILINE)
        wanted += [package for package in found if KERNEL_PACKAGE.match(package) and package not in seen]
    return sorted(seen - {metapackage})


def _unpack(debs: Sequence[Path], folder: Path) -> Kernel:
    """Unpacks the packages to ``folder/root`` and indexes the modules, as their install script would.

    The image's path comes back relative to the folder, which is about to be renamed.
    """
    root = folder / "root"
    root.mkdir()
    for deb in debs:
        _call("dpkg-deb", "--extract", str(deb), str(root))
    images = [
        *root.glob("boot/vmlinuz-*"),
        *root.glob("lib/modules/*/vmlinuz"),
        *root.glob("usr/lib/modules/*/vmlinuz"),
    ]
    if len(images) != 1:
        raise VmError(f"{len(images)} kernel images in {[deb.name for deb in debs]}, expected one: look into {root}")
    image = images[0]
    release = image.parent.name if image.name == "vmlinuz" else image.name.removeprefix("vmlinuz-")
    modules = next(
        (path for path in (root / "lib/modules", root / "usr/lib/modules") if (path / release).is_dir()), None
    )
    if modules is None:
        raise VmError(f"no modules of {release} in {[deb.name for deb in debs]}: look into {root}")
    _call("depmod", "-b", str(modules.parent.parent), release)
    return Kernel(release, image.relative_to(folder), tuple(deb.stem for deb in debs))


def _apt(apt: Path, program: str, *arguments: str) -> str:
    return _call(program, "-c", str(apt / "apt.conf"), *arguments, cwd=apt)


def _call(*command: str, cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed. Raises VmError with its last words."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # depmod, for users who are not root
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise VmError(f"cannot run {command[0]!r}: not installed; see tests/vm/README.md for the packages") from error
    if done.returncode:
        last = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise VmError(f"{' '.join(command)}: exit status {done.returncode}: {last}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetches kernels ahead of a run."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.kernels", description="Fetch the matrix's kernels.")
    parser.add_argument("names", nargs="*", metavar="KERNEL", help="5.10, 6.1, 6.12, 7.x or a suite (default: all)")
    parser.add_argument("--refresh", action="store_true", help="ask the mirror for newer ones")
    chosen = parser.parse_args(arguments)
    try:
        rows = [series_named(name) for name in chosen.names] or MATRIX
        for series in rows:
            print(obtain(series, cache_dir(), refresh=chosen.refresh).image)
    except VmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
