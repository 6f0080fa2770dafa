"""The scenarios on an arm64 kernel, fully emulated, under the object that runs everywhere else.

This machine's programs don't run there, so the guest has an initramfs of Debian's arm64 packages: kernel, Python and
what the scenarios need, and this repository's sigtrace. They are fetched and checked as in kernels.py, and nothing is
installed. ``python -m tests.vm.arm64`` needs qemu-system-aarch64 (apt-get install qemu-system-arm) and busybox.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.vm.boot import REPOSITORY
from tests.vm.kernels import Series, VmError, _apt, _call, _configure, _mirror, cache_dir
from tests.vm.page import Column, column

QEMU: Final = "qemu-system-aarch64"
SERIES: Final = Series("arm64", "bookworm")
PACKAGES: Final = (
    *("linux-image-arm64", "libbpf1", "dash", "bash", "coreutils", "util-linux", "mount", "busybox-static", "tini"),
    *("dumb-init", "procps", "python3", "python3-click", "python3-protobuf", "python3-psutil", "python3-pyroute2"),
)
ARCHITECTURE: Final = 'APT::Architecture "arm64";\nAPT::Architectures {"arm64";};\n'
BEGIN, END = "BEGIN-SCENARIOS", "END-SCENARIOS"

_INIT: Final = f"""\
#!/bin/dash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 PYTHONPATH=/site
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
mount -t cgroup2 none /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf; mount -t tracefs none /sys/kernel/tracing
echo "+memory +pids +cpu" > /sys/fs/cgroup/cgroup.subtree_control
cd /site && python3 -m compileall -q . > /dev/null 2>&1
SIGTRACE_SLOW=4 python3 -m tests.vm.inside /tmp/out
echo {BEGIN}; cat /tmp/out/scenarios.json; echo {END}
echo o > /proc/sysrq-trigger; sleep 60
"""


def obtain_root(cache: Path) -> Path:
    """The folder with ``root/``, the unpacked packages, and their kernel. Raises VmError."""
    folder, fresh = cache / "arm64", cache / "arm64.new"
    if folder.exists():
        return folder
    shutil.rmtree(fresh, ignore_errors=True)
    apt = fresh / "apt"
    _configure(SERIES, apt, _mirror())
    with (apt / "apt.conf").open("a") as conf:
        conf.write(f'{ARCHITECTURE}Dir::Cache::archives "{apt}/cache/archives/";\nDir::Log "{apt}";\n')
    _apt(apt, "apt-get", "update", "-q")
    print(f"{SERIES.name}: downloading {' '.join(PACKAGES)} and what they need", flush=True)
    without = ("initramfs-tools-", "gcc-")  # an alternative is chosen for the former: nothing is installed anyway
    _apt(apt, "apt-get", "install", "-q", "-y", "--no-install-recommends", "--download-only", *PACKAGES, *without)
    for deb in sorted((apt / "cache/archives").glob("*.deb")):
        target = "kernel" if deb.name.startswith("linux-image-") else "root"
        _call("dpkg-deb", "--extract", str(deb), str(fresh / target))
    shutil.rmtree(apt)
    for left_out in ("doc", "man", "locale", "zoneinfo"):
        shutil.rmtree(fresh / "root/usr/share" / left_out, ignore_errors=True)
    fresh.rename(folder)
    return folder


def pack(root: Path, target: Path) -> None:
    """The initramfs, with today's sigtrace in it. Raises VmError."""
    site = root / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(REPOSITORY / "sigtrace", site / "sigtrace", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "tests/vm").mkdir(parents=True)
    for name in ("__init__.py", "inside.py"):
        shutil.copy(REPOSITORY / "tests/vm" / name, site / "tests/vm" / name)
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    names = subprocess.run(["find", "."], cwd=root, check=True, stdout=subprocess.PIPE).stdout
    with target.open("wb") as file:
        done = subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"],
            cwd=root, input=names, stdout=file, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    if done.returncode:
        raise VmError(f"cannot pack {root}: {done.stderr.decode(errors='replace').strip()[-200:]}; is the disk full?")


def arm64(out: Path, limit_s: float) -> Column:
    """Boots it and reads what became of the scenarios. Without qemu a column that says so. Raises VmError."""
    qemu = os.environ.get("SIGTRACE_QEMU_ARM64") or shutil.which(QEMU)
    if qemu is None:
        note = f"SKIPPED: no {QEMU}: apt-get install qemu-system-arm"
        print(f"SKIPPED {SERIES.name}: {note}", file=sys.stderr, flush=True)
        return Column(SERIES.name, SERIES.suite, note=note, tested=False)
    folder = obtain_root(cache_dir())
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    begun = time.monotonic()
    pack(folder / "root", out / "initramfs")
    kernel = next((folder / "kernel/boot").glob("vmlinuz-*"))
    machine = (
        "-M",
        "virt",
        "-cpu",
        "cortex-a72",
        "-smp",
        "2",
        "-m",
        "2500",
        "-nographic",
        "-no-reboot",
        "-net",
        "none",
    )
    command = [qemu, *machine, "-kernel", str(kernel), "-initrd", str(out / "initramfs")]
    note = ""
    with (out / "log").open("wb") as log:
        try:
            subprocess.run(
                [*command, "-append", "console=ttyAMA0 mitigations=off quiet panic=-1"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, timeout=limit_s,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            note = f"no result within {limit_s:.0f} s"
    (out / "initramfs").unlink()
    text = (out / "log").read_text(errors="replace").replace("\r\n", "\n")
    if f"{END}\n" in text:
        (out / "scenarios.json").write_text(text.partition(f"{BEGIN}\n")[2].partition(f"{END}\n")[0])
    elif not note:
        note = "ended without a result, see log"
    release = kernel.name.removeprefix("vmlinuz-")
    return column(SERIES.name, SERIES.suite, release, time.monotonic() - begun, note, out, tested=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all scenarios were told right, 1 if not, 2 if nothing could be run."""
    from tests.vm.matrix import settled

    parser = argparse.ArgumentParser(prog="python -m tests.vm.arm64", description="The scenarios on an arm64 kernel.")
    parser.add_argument("--timeout", type=float, default=900, metavar="S", help="seconds (default: 900)")
    parser.add_argument("--output", type=Path, default=cache_dir().parent / "matrix/arm64", help="folder of the log")
    options = parser.parse_args(arguments)
    try:
        one = arm64(options.output.resolve(), options.timeout)
    except VmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    good = settled([one])
    print(f"logs: {options.output}")
    return 2 if one.note.startswith("SKIPPED") else 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
