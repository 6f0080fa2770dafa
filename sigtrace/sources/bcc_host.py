"""What bcc needs of a host: the distribution's package and this kernel's headers. Nothing is tried here."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sigtrace.sources.refusals import Refusal, bpf_refusals

if TYPE_CHECKING:
    from sigtrace.sources.host import Host

RAW_OBJECT: Final = Path(__file__).with_name("sigtrace-raw.bpf.o")

#: Where distributions have the package: Debian and Ubuntu; Fedora and its kin.
_FOLDERS: Final = (
    "usr/lib/python3/dist-packages",
    "usr/lib/python3*/site-packages",
    "usr/lib64/python3*/site-packages",
)
#: A file that tells it from PyPI's project of the same name.
_OURS: Final = "libbcc.py"
_KCONFIG: Final = "include/linux/kconfig.h"
_RELEASE: Final = re.compile(r'^#define UTS_RELEASE "([^"]*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tools:
    """What was found; None where there is nothing."""

    package: str | None
    """the folder that has the package bcc"""
    foreign: str | None
    """one that has another project's"""
    headers: str | None
    """where this kernel's headers are"""
    headers_release: str | None
    """which kernel they say they are of"""


def read_tools(release: str, root: Path = Path("/")) -> Tools:
    """Looks below ``root``, for the headers of the kernel ``release`` (``uname -r``). Nothing is raised.

    By os.path: what may not be looked into is not there, where Path.is_file raises PermissionError.
    """
    paths = [path for folder in _FOLDERS for path in sorted(root.glob(folder))]
    found = [path for path in paths if os.path.isfile(path / "bcc/__init__.py")]
    package = next((path for path in found if os.path.isfile(path / "bcc" / _OURS)), None)
    foreign = next((path for path in found if not os.path.isfile(path / "bcc" / _OURS)), None)
    headers = _headers(release, root)
    return Tools(
        str(package) if package else None,
        str(foreign) if foreign else None,
        str(headers) if headers else None,
        _release_of(headers) if headers else None,
    )


def _headers(release: str, root: Path) -> Path | None:
    """Where bcc would take them from (src/cc/frontends/clang/loader.cc), or None."""
    if given := os.environ.get("BCC_KERNEL_SOURCE"):
        return Path(given) if os.path.isfile(Path(given) / _KCONFIG) else None
    modules = root / "lib/modules" / release
    # Debian splits them: what is common is behind `source`, what is generated behind `build`.
    both = os.path.isdir(modules / "build") and os.path.isdir(modules / "source")
    if os.path.isfile(modules / ("source" if both else "build") / _KCONFIG):
        return modules / "build"
    archive = root / "sys/kernel/kheaders.tar.xz"  # CONFIG_IKHEADERS; bcc unpacks it
    return archive if os.path.isfile(archive) else None


def _release_of(headers: Path) -> str | None:
    try:
        text = (headers / "include/generated/utsrelease.h").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = _RELEASE.search(text)
    return match[1] if match else None


def bcc_refusals(host: Host, tools: Tools) -> list[Refusal]:
    """All that is known to stand in bcc's way before anything is tried, the first to be mended first."""
    # BTF is what it does without; all else that BPF needs it needs too.
    found = bpf_refusals(dataclasses.replace(host, btf=True, bpf_object=RAW_OBJECT.is_file()))
    if host.lockdown == "confidentiality":
        found.append(
            Refusal(
                "kernel lockdown",
                "in confidentiality mode BPF may not read kernel memory",
                "boot with lockdown=integrity, or without lockdown",
            )
        )
    if tools.package is None:
        found.append(_no_package(tools))
    if tools.headers is None:
        found.append(
            Refusal(
                "no kernel headers",
                f"/lib/modules/{host.release}/build has none, and the programs are fitted to the kernel by them",
                "install those of exactly this kernel: apt install linux-headers-$(uname -r) (Debian, Ubuntu), "
                "dnf install kernel-devel-$(uname -r) (Fedora); in a container mount the host's /lib/modules and "
                "/usr/src",
            )
        )
    elif tools.headers_release not in {None, host.release}:
        found.append(
            Refusal(
                "another kernel's headers",
                f"{tools.headers} has those of Linux {tools.headers_release}, and this is {host.release}",
                "install those of exactly this kernel (uname -r), or reboot into the one they are of",
            )
        )
    return found


def _no_package(tools: Tools) -> Refusal:
    get = "apt install python3-bpfcc (Debian, Ubuntu) or dnf install python3-bcc (Fedora)"
    if tools.foreign:
        return Refusal(
            "not the BPF compiler collection",
            f"the package bcc in {tools.foreign} is another project's of that name, as PyPI has one",
            f"{get}; pip can't",
        )
    return Refusal("no python3-bpfcc", "the distribution's Python package bcc is not installed", f"{get}; pip can't")
