"""Fuzz targets: what the kernel tells of others' processes, in /proc, cgroupfs, records and messages."""

from __future__ import annotations

import struct
from unittest import mock

from sigtrace.attribution import cgroups, paths
from sigtrace.attribution.attributor import Attributor
from sigtrace.errors import SigtraceError
from sigtrace.model import hierarchy, text
from sigtrace.model.event import Event, Kind, Task
from sigtrace.model.record import event_record
from sigtrace.model.redaction import redacted_argv
from sigtrace.model.workload import Observation
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import EventText
from sigtrace.sources import bcc_btf, bcc_layout, host, netlink, procfs, wire
from sigtrace.sources.ptrace import forwarders, frozen, groups, oom, processes
from sigtrace.sources.ptrace import wire as ptrace_wire
from sigtrace.top import processes as top_processes
from tests.fuzz.check import BrokenError, Writer, equal, files, harmless, parts

__all__ = ["TARGETS"]
_WALL_NS = 1_700_000_000_000_000_000


def cgroup_path(data: bytes) -> None:
    """Cgroups made with these names, below one another: attributed, and told."""
    tree = cgroups.Cgroups("/nowhere")
    tree._learn(1, "/")
    names = [text.printable(name) for name in data.split(b"/")[:64]]
    for number, name in enumerate(names, 2):
        tree.made(number, number - 1, name, 1)
    path = tree.path(len(names) + 1, 0) or ""
    harmless(path)
    for one in (path, data.decode("utf-8", "surrogateescape")):
        info = paths.parse(one)
        if info.container_id is not None and (len(info.container_id) != 64 or info.container_id not in one):
            raise BrokenError(f"an id out of nowhere: {info}")
        paths.pod_uid_of(one)
    told = Attributor(tree)
    event = Event(1, _WALL_NS, Kind.SIGNAL_GENERATE, Task(5, 6, "x", cgroup_id=len(names) + 1), signo=15)
    tell(told.observe(event))


def tell(observation: Observation) -> None:
    """As trace tells it, both ways."""
    for sink in (
        Jsonl(_writer(json_lines=True), events=lambda _: True),
        EventText(_writer(json_lines=False), Style(), lambda _: True),
    ):
        sink.observation(observation)


def _writer(*, json_lines: bool) -> LineWriter:
    return Writer(json_lines=json_lines)  # type: ignore[return-value]


def argv(data: bytes) -> None:
    """A command line of anybody's: read, shown, redacted, quoted."""
    words = text.argv_of(data[:481], truncated=len(data) > 480)
    harmless(*words)
    hidden = redacted_argv(words)
    harmless(*hidden)
    for width in (0, 1, 7, 60):
        line = text.command_line(words, width)
        harmless(line)
        if width and text.columns(line) > width:
            raise BrokenError(f"{text.columns(line)} columns for {width}: {line!r}")
    task = Task(5, 6, text.printable(data[:15]), argv=words, ancestry=(text.printable(data[:16]),))
    tell(Observation(Event(1, _WALL_NS, Kind.EXEC, task)))
    tell(Observation(Event(1, _WALL_NS, Kind.SIGNAL_GENERATE, task, task, signo=15)))


def proc(data: bytes) -> None:
    """All that we read below /proc/PID, of any bytes: what can't be read is left out."""
    stat, status, cmdline, cgroup = parts(data, 4)
    contents = {"stat": stat, "status": status, "cmdline": cmdline, "cgroup": cgroup, "cgroup.procs": status}
    with files(procfs, contents):
        task = Task(5, 6_000_000_000, "x", parent_pid=3)
        harmless(*(procfs.argv_of_process(task, 400) or ()))
        harmless(*procfs._ancestors(5, 6_000_000_000))
        event = Event(1, 1, Kind.SIGNAL_GENERATE, task, task, signo=15)
        harmless(*(procfs.Ancestry().complete(event).sender or task).ancestry)
    with files(top_processes, contents):
        process = top_processes._process(5, 10.0)
        if process:
            harmless(process.state, process.comm, *process.argv)
            if process.age_s < 0:
                raise BrokenError("an age below 0")
        with mock.patch.object(top_processes.os, "walk", return_value=[("/x", [], [])]):
            list(top_processes._pids("/x"))


#: Of /proc/PID/stat behind the name, and /proc/PID/status, as the kernel writes them.
_STAT = (
    b" S 3 5 5 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 600 9 9 9 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 1 1 1 1 1 1 1 0\n"
)
_STATUS = (
    b"\nUmask:\t0022\nState:\tS\nTgid:\t5\nNgid:\t0\nPid:\t5\nPPid:\t3\nTracerPid:\t0\nUid:\t1\t1\t1\t1\nGid:\t0\nNSpid:\t5\t1\n"
    b"SigQ:\t0/1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000010000\n"
    b"SigIgn:\t0000000000000004\nSigCgt:\t0000000000004002\nCapInh:\t0\n"
)


def ptrace(data: bytes) -> None:
    """What the backend ptrace reads of a process that chose its name, its arguments and the cgroups below its own."""
    comm, cmdline, below = parts(data, 3)
    comm, below = comm[:15], below.replace(b"\n", b"").replace(b"\0", b"")[:255]
    # As proc_task_name writes it into status: string_escape_mem with ESCAPE_SPACE | ESCAPE_SPECIAL.
    escaped = comm
    for char, word in zip(b'\\\n\r\t\v\f\a\x1b"', b'\\\\ \\n \\r \\t \\v \\f \\a \\e \\"'.split(b" "), strict=True):
        escaped = escaped.replace(bytes([char]), word) if char != ord("\\") else escaped.replace(b"\\", b"\\\\")
    cgroup = b"12:pids:/pod/" + below + b"\n3:freezer:/pod/" + below + b"\n0::/pod/" + below + b"\n"
    contents = {
        "stat": b"5 (" + comm + b")" + _STAT, "status": b"Name:\t" + escaped + _STATUS,
        "cmdline": cmdline, "cgroup": cgroup, "cgroup.events": b"populated 1\nfrozen 0\n", "children": b"7 8 ",
    }  # fmt: skip
    where = hierarchy.Hierarchy(hierarchy.HierarchyKind.PIDS, "/nowhere", 12)
    asked: list[str] = []
    with (
        files(processes, contents),
        mock.patch.object(processes.ProcReader, "_id_of", lambda _, path: asked.append(path) or 7),
    ):
        found = processes.ProcReader(where).read(5)
        if found is None:
            raise BrokenError("a process that hides behind its name")
        harmless(found.task.comm, *(processes.argv_of_pid(5) or ()))
        equal((found.task.ns_pid, found.task.uid, found.task.parent_pid), (1, 1, 3))
        equal(found.masks and (found.masks.blocked, found.masks.ignored, found.masks.caught), (0x10000, 4, 0x4002))
        equal([path.encode("utf-8", "surrogateescape") for path in asked], [b"/pod/" + below])
    with files(groups, contents), mock.patch.object(groups, "threads_of", return_value={5}):
        equal((groups.tgid_of(5), groups.parent_of(5), groups.children_of(5)), (5, 3, [7, 8]))
        groups.place_of(5)
    with files(frozen, contents | {"freezer.state": b"THAWED\n"}):
        freezers = frozen.Freezers.__new__(frozen.Freezers)
        freezers._v2, freezers._v1 = "/v2", "/v1"
        equal(freezers.holds(5), False)


def ptrace_raw(data: bytes) -> None:
    """Files that no kernel writes, and memory of a process that chose what is in it."""
    first, second = parts(data, 2)
    with files(forwarders, {"syscall": first, "mem": second}):
        if not 0 <= forwarders.waited_for(5) < 1 << 64:
            raise BrokenError("a mask that is none")
    with files(
        oom, {"memory.events": first, "memory.failcnt": b"0\n", "memory.events.local": second, "oom_control": first}
    ):
        oom._kills("/x", v2=True)
        oom._full("/x", v2=True)
    told, rest = ptrace_wire.split(data)
    equal(len(told) * ptrace_wire.REPORT.size + len(rest), len(data))


def mounts(data: bytes) -> None:
    """mountinfo names directories that others made; cgroup, cpu lists, limits and the rest stand beside it."""
    first, second = parts(data, 2)
    texts = [one.decode("utf-8", "replace") for one in (first, second)]
    found = hierarchy.choose(texts[0], texts[1], lambda _: texts[1])
    if found is not None and found.number < 0:
        raise BrokenError(f"{found}")
    with files(frozen, {"mountinfo": first}):
        frozen.mounts("freezer")
    with files(procfs, {"possible": second, "boot_id": first}):
        procfs.last_possible_cpu()
        procfs.boot_id()
    host._memlock(texts[0])
    host._chosen(texts[1])
    host._effective_uid(texts[0])


def record(data: bytes) -> None:
    """Of the rings: any bytes of the right length."""
    for size in (wire.EVENT.size, wire.LIFE.size):
        event = wire.decode(data[:size].ljust(size, b"\0"), 0)
        if event is not None and 0 <= event.wall_ns < 1 << 62:
            tell(Observation(event))
            event_record(Observation(event))
    for event in wire.decode_snapshot(data, 7, 1):
        harmless(event.task.comm if event.task else "")
    wire.decode_signalfds(data)


def proc_connector(data: bytes) -> None:
    """A message of netlink."""
    event = netlink.decode(data, 5)
    if event is not None and event.status is not None and not 0 <= event.status <= 0xFFFF:
        raise BrokenError(f"{event}")


def btf(data: bytes) -> None:
    """An object's types: an ELF file, or its sections .BTF and .BTF.ext behind the first one's length."""
    length = int.from_bytes(data[:4], "little")
    sections = {".BTF": data[4 : 4 + length], ".BTF.ext": data[4 + length :]}
    with mock.patch.object(bcc_btf, "section", lambda _, name: sections[name]):
        _needs(data)
    _needs(b"\x7fELF\x02\x01" + data)


def _needs(elf: bytes) -> None:
    try:
        needs = bcc_btf.Needs(elf)
        needs.btf(dict.fromkeys(needs.questions(), 8))
    except (ValueError, IndexError, OverflowError, RecursionError, struct.error):  # a file that can't be read
        return


def headers(data: bytes) -> None:
    """What a compiler says of a kernel's headers."""
    out, diagnostics = parts(data, 2)
    needs = mock.Mock(older=set())
    needs.questions.return_value = [("struct task_struct", ""), ("struct task_struct", "pid")]
    said = [(1, "", diagnostics.decode("utf-8", "replace")), (0, out.decode("utf-8", "replace"), "")]
    try:
        bcc_layout.measure(needs, lambda _: said.pop(0) if said else (1, "", ""))
    except SigtraceError as error:
        harmless(text.printable(str(error)))


TARGETS = {
    "cgroup-path": cgroup_path,
    "argv": argv,
    "proc": proc,
    "ptrace": ptrace,
    "ptrace-raw": ptrace_raw,
    "mounts": mounts,
    "record": record,
    "proc-connector": proc_connector,
    "btf": btf,
    "headers": headers,
}
