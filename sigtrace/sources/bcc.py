"""The same programs where the kernel has no BTF: fitted by its headers, which bcc compiles at the start.

What BTF gives the other backend, and what stands for it here:

- where the fields are: the distribution's bcc compiles a question for each against the kernel's headers, and libbpf is
  given the answers as a BTF (bcc_layout.py, bcc_btf.py);
- typed tracepoints: the object is a second build of the same sources, for raw tracepoints;
- iterators: programs that walk the kernel's list of processes (bpf/walk.bpf.h).

Records, rings, counters and everything behind them are the same. It needs the same capabilities.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sigtrace.errors import HostError
from sigtrace.model.event import Kind
from sigtrace.model.text import printable
from sigtrace.sources._bcc import RawObject
from sigtrace.sources._libbpf import LibbpfError, Library
from sigtrace.sources.bcc_host import RAW_OBJECT, bcc_refusals, read_tools
from sigtrace.sources.bcc_layout import btf_for
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.loaded import Loaded
from sigtrace.sources.options import BpfOptions

if TYPE_CHECKING:
    from sigtrace.model.event import Event
    from sigtrace.model.hierarchy import Hierarchy
    from sigtrace.sources.host import Host
    from sigtrace.sources.refusals import Refusal

#: Inode numbers of the first namespaces, include/linux/proc_ns.h: in others /proc tells other paths and times.
_FIRST_CGROUPNS: Final = "cgroup:[4026531835]"
_FIRST_TIMENS: Final = "time:[4026531834]"
_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class BccSource(BpfSource):
    """A :class:`sigtrace.sources.base.Source`."""

    name = "bcc"
    title = "bcc"

    def open(self) -> None:
        """Compiles, loads, attaches, takes the snapshot. Raises HostError with the reason and the next step."""
        try:
            super().open()
            check_self(self._pending, self._hierarchy)
        except LibbpfError as e:  # the first listing; what loads has its own words
            self.close()
            raise HostError(
                f"cannot use bcc: {e.call}: {e.strerror}", next_step="start it again; report it if that does not help"
            ) from e
        except BaseException:
            self.close()
            raise

    def _refusals(self, host: Host) -> list[Refusal]:
        self._tools = read_tools(host.release)
        return bcc_refusals(host, self._tools)

    def _layout(self) -> bytes | None:
        """A BTF of this kernel; None where libbpf may ask the kernel's own."""
        assert self._tools.package is not None  # noqa: S101  # or it was refused
        return btf_for(RAW_OBJECT, Path(self._tools.package))

    def _make(self) -> Loaded:
        layout = self._layout()
        return Loaded(
            Library(),
            # What lists is a program that is run, of this very process: it can't be left behind for another.
            dataclasses.replace(self._options, pin=None),
            self._hierarchy,
            RAW_OBJECT.name,
            lambda library, path: RawObject(library, path, layout),
        )


def check_self(snapshot: list[Event], hierarchy: Hierarchy | None) -> None:
    """Whether the snapshot is right about this very process. Raises HostError if it is not.

    Headers can be of another build of a kernel of the same name. Then nothing fails: the programs read other fields.
    """
    pid = os.getpid()
    task = next((e.task for e in snapshot if e.kind is Kind.TASK and e.task and e.task.pid == pid), None)
    if task is None:
        raise _wrong_headers("this process is not there")
    status = dict(line.split(":", 1) for line in _text("status").splitlines() if ":" in line)
    expected: dict[str, tuple[object, object]] = {
        "name": (task.comm, printable(Path("/proc/self/comm").read_bytes()[:-1])),
        "parent": (task.parent_pid, int(status["PPid"])),
        "uid": (task.uid, int(status["Uid"].split()[0])),
        "pid in its namespace": (task.ns_pid, int(status["NSpid"].split()[-1])),
        "PID namespace": (task.pidns, os.stat("/proc/self/ns/pid").st_ino),
    }
    if os.readlink("/proc/self/ns/time") == _FIRST_TIMENS:
        ticks = int(_text("stat").rpartition(")")[2].split()[19])
        expected["start"] = (task.start_ns // _TICK_NS, ticks)
    if hierarchy and os.readlink("/proc/self/ns/cgroup") == _FIRST_CGROUPNS:
        paths = {line.split(":", 2)[0]: line.split(":", 2)[2] for line in _text("cgroup").splitlines()}
        expected["cgroup"] = (task.cgroup_id, os.stat(hierarchy.mount + paths[str(hierarchy.number)]).st_ino)
    for what, (said, true) in expected.items():
        if said != true:
            raise _wrong_headers(f"this process's {what} would be {said!r}, and it is {true!r}")


def _text(name: str) -> str:
    with open(f"/proc/self/{name}", encoding="utf-8", errors="replace") as f:
        return f.read()


def _wrong_headers(how: str) -> HostError:
    return HostError(
        f"cannot use bcc: the kernel headers are not those of the running kernel: by them {how}",
        next_step="install the headers of exactly this kernel, as it was built (uname -r, uname -v)",
    )


def probe() -> None:
    """Compile, load, attach and detach. Raises HostError with the reason if this host does not allow it."""
    source = BccSource(BpfOptions(events_bytes=1 << 16, lives_bytes=1 << 16))
    try:
        source.open()
    finally:
        source.close()
