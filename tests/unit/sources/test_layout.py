"""Where Python looks for each field of a record, against what the compiler made of bpf/include/wire.h."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from sigtrace.model.event import Disposition, Info, Result
from sigtrace.model.hierarchy import HierarchyKind
from sigtrace.sources import pins, wire
from sigtrace.sources.wire import Flag, Ledger
from tests.unit.sources.btf import Btf, Field

ROOT = Path(__file__).parents[3]
OBJECT = ROOT / "sigtrace/sources/sigtrace.bpf.o"
INCLUDE = ROOT / "bpf/include"

#: What Python decodes, and the struct it is. `snapshot`, `life` and the enums are in no map: not in its BTF.
FORMATS = {
    "task_ref": wire.TASK,
    "event": wire.EVENT,
    "zombie": wire.ZOMBIE,
    "count_key": wire.COUNT_KEY,
    "slot": wire.SLOT,
    "process_key": wire.PROCESS_KEY,
    "config": wire.CONFIG,
    "life": wire.LIFE,
    "snapshot": wire.SNAPSHOT,
    "signalfd": wire.SIGNALFD,
}
IN_OBJECT = ("task_ref", "event", "zombie", "count_key", "slot", "process_key", "config", "local")


@pytest.fixture(scope="module")
def shipped():
    """BTF of the object that the wheel ships."""
    if not OBJECT.exists():
        pytest.skip("the BPF object is not built: run `make bpf`")
    return Btf(OBJECT)


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    """BTF of wire.h as clang lays it out for BPF, with all its structs and enums."""
    clang = shutil.which("clang")
    if not clang:
        pytest.skip("clang is missing: run `make setup`, or install it (Debian: apt install clang-14)")
    enums = re.findall(r"^enum (\w+) \{", (INCLUDE / "wire.h").read_text(encoding="utf-8"), re.MULTILINE)
    lines = ["typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;"]
    lines += ["typedef unsigned long long u64; typedef int s32; typedef long long s64;", '#include "wire.h"']
    lines += [f"struct {name} a_{name};" for name in FORMATS] + [f"enum {name} an_{name};" for name in enums]
    folder = tmp_path_factory.mktemp("btf")
    (folder / "wire.c").write_text("\n".join(lines) + "\n", encoding="ascii")
    command = [clang, "-g", "-O2", "-target", "bpf", f"-I{INCLUDE}", "-c", folder / "wire.c", "-o", folder / "wire.o"]
    subprocess.run(command, check=True)
    return Btf(folder / "wire.o")


def items(form):
    """(offset, size, signed) of each item of a Struct's format."""
    assert form.format[0] == "<", "no padding but what is written"
    offset, found = 0, []
    for count, code in re.findall(r"(\d*)([a-zA-Z])", form.format[1:]):
        times, size = (1, int(count)) if code == "s" else (int(count or 1), struct.calcsize("<" + code))
        for _ in range(times):
            found.append((offset, size, code.islower() and code != "s"))
            offset += size
    return found


def layout(fields: list[Field]):
    return [(f.offset, f.size, f.signed) for f in fields]


def check(name, size, fields, form):
    if name == "count_key":  # two words in C (hashing), one number here
        low, high, *rest = fields
        assert (low.offset, low.size, high.offset, high.size) == (0, 4, 4, 4)
        fields = [Field("cgroup", 0, 8), *rest]
    assert form.size == size
    assert items(form) == layout(fields), [f.name for f in fields]


@pytest.mark.parametrize("name", [n for n in FORMATS if n in IN_OBJECT])
def test_the_shipped_object_has_every_field_where_python_reads_it(shipped, name):
    check(name, *shipped.struct(name), FORMATS[name])


@pytest.mark.parametrize("name", FORMATS)
def test_the_header_has_every_field_where_python_reads_it(header, name):
    check(name, *header.struct(name), FORMATS[name])


def test_the_memory_of_a_cpu_holds_its_refusals_where_the_ledger_reads_them(shipped):
    size, fields = shipped.struct("local")
    assert wire.LOCAL.size == size
    assert items(wire.LOCAL) == layout(fields)
    assert [f.name for f in fields[6:10]] == [f"refused[{i}]" for i in range(4)]


def test_what_an_agent_leaves_to_the_next_is_packed_as_the_map_has_it(shipped):
    size, fields = shipped.struct("about")
    assert pins.ABOUT.size == size
    assert [f.name for f in fields] == ["digest", "since_ns", "until_ns", *(f"lost[{i}]" for i in range(8))]


FIELDS = "start_ns cgroup parent_start_ns parent_cgroup tgid tid nspid pidns uid parent_tgid comm".split()
HEAD = "time_ns kind signo result disposition flags code info".split()


def test_fields_come_in_the_order_in_which_python_names_them(header):
    def names(name):
        return [f.name for f in header.struct(name)[1]]

    assert names("task_ref") == FIELDS
    assert names("event") == HEAD + [f"{who}.{f}" for who in ("target", "sender") for f in FIELDS]
    assert names("life") == [f"event.{n}" for n in names("event")] + ["text_len", "zero", "text"]
    masks = ["blocked", "real_blocked", "pending", "caught", "ignored"]
    rest = ["exit_ns", "argv_len", "wait_status", "flags"]
    assert names("snapshot") == [f"task.{f}" for f in FIELDS] + masks + rest
    assert names("signalfd") == ["start_ns", "mask", "tgid", "zero"]
    assert names("zombie") == ["exit_ns", *(f"task.{f}" for f in FIELDS), "wait_status", "flags"]
    assert names("slot") == ["cgroup", "what", "count"]
    assert names("config") == [
        "signal_mask",
        *(f"{n}[{i}]" for n in ("interval_ns", "burst_ns") for i in range(8)),
        *"stopping_ns torn_down_ns zombie_ns hierarchy hierarchy_id".split(),
        *"tell_all follow children huge filtered spares".split(),
    ]


def test_flags_ledger_and_small_enums_are_the_headers(header):
    assert {f"F_{f.name}": f.value for f in Flag} == header.enum("flag")
    assert {f"LEDGER_{e.name}": e.value for e in Ledger} | {"LEDGER_SIZE": len(Ledger)} == header.enum("ledger")
    assert {f"HIERARCHY_{h.name}": h.value for h in HierarchyKind} == header.enum("hierarchy")
    assert {f"INFO_{i.name}": i.value for i in Info} == header.enum("info")
    handlers = {Disposition.DEFAULT: "DEFAULT", Disposition.IGNORE: "IGNORE", Disposition.HANDLER: "FUNCTION"}
    assert {f"HANDLER_{n}": d.value for d, n in handlers.items()} == header.enum("disposition")


def test_kinds_are_the_headers(header):
    short = {"SIGNAL_GENERATE": "GENERATE", "SIGNAL_DELIVER": "DELIVER", "OOM_KILL": "OOM"}
    assert {f"KIND_{short.get(k.name, k.name)}": n for n, k in wire.KINDS.items()} == header.enum("kind")


def test_results_are_the_tracepoints():
    # TRACE_SIGNAL_* of include/trace/events/signal.h, unchanged since v3.4
    order = [Result.DELIVERED, Result.IGNORED, Result.ALREADY_PENDING, Result.OVERFLOW, Result.LOSE_INFO]
    assert [r.value for r in order] == [0, 1, 2, 3, 4]


def test_lengths_are_the_headers():
    text = (INCLUDE / "wire.h").read_text(encoding="utf-8")
    for name in ("COMM_LEN", "TEXT_LEN", "SLOTS"):
        assert int(re.search(rf"#define {name} (\d+)", text)[1]) == getattr(wire, name)
    counts = re.search(r"enum \{ COUNT_SIGNAL = (\w+), COUNT_EXIT = (\w+) \}", text)
    assert [int(n, 16) for n in counts.groups()] == [wire.COUNT_SIGNAL, wire.COUNT_EXIT]
