"""The parts of the ptrace source that need no process."""

import errno
import itertools
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sigtrace.errors import HostError, UsageError
from sigtrace.model.event import Disposition, Event, Info, Kind, Task
from sigtrace.model.hierarchy import Hierarchy, HierarchyKind
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.sources import select
from sigtrace.sources.host import Host
from sigtrace.sources.netlink import decode
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.proc_events import ProcEvent, Scan, Seen, What
from sigtrace.sources.ptrace import oom, wire
from sigtrace.sources.ptrace.ends import before_its_namespace
from sigtrace.sources.ptrace.groups import UNKNOWN, Group
from sigtrace.sources.ptrace.oom import OomKills, _Counts
from sigtrace.sources.ptrace.options import PtraceOptions
from sigtrace.sources.ptrace.processes import Process, ProcReader, argv_of_pid
from sigtrace.sources.ptrace.refusals import ptrace_refusals, why_not_seized, yama_scope
from sigtrace.sources.ptrace.reports import Reports
from sigtrace.sources.ptrace.signals import disposition_of, info_of, told_by_status
from sigtrace.sources.ptrace.source import PtraceSource
from sigtrace.sources.ptrace.wire import Report, Told

SYS_PTRACE, BPF, PERFMON = 1 << 19, 1 << 39, 1 << 38


def host(**facts):
    known = {
        "release": "6.1.0",
        "machine": "x86_64",
        "uid": 0,
        "cap_eff": SYS_PTRACE | BPF | PERFMON,
        "btf": True,
        "bpf_object": True,
        "libbpf": None,
        "pidns": True,
        "userns": True,
        "seccomp": 0,
        "memlock": None,
        "lockdown": None,
        "lsm": (),
        "unprivileged_bpf_disabled": None,
        "cgroup_layout": "v2",
        "hierarchy": Hierarchy(HierarchyKind.V2, "/sys/fs/cgroup", 0),
    }
    return Host(**(known | facts))


@pytest.fixture
def yama(tmp_path):
    """A root whose yama has this scope."""

    def make(scope):
        folder = tmp_path / "proc/sys/kernel/yama"
        folder.mkdir(parents=True)
        (folder / "ptrace_scope").write_text(f"{scope}\n")
        return tmp_path

    return make


# ---- what stands in the way


def test_without_yama_nothing_stands_in_the_way(tmp_path):
    assert yama_scope(tmp_path) == 0
    assert ptrace_refusals(host(cap_eff=0, uid=1000), tmp_path) == []


@pytest.mark.parametrize(
    ("scope", "capabilities", "refused"),
    [(1, 0, False), (2, SYS_PTRACE, False), (2, 0, True), (3, SYS_PTRACE, True), ("junk", 0, False)],
)
def test_yama_is_recognised(yama, scope, capabilities, refused):
    found = ptrace_refusals(host(cap_eff=capabilities, uid=1000), yama(scope))
    assert [one.what for one in found] == (["yama"] if refused else [])
    assert all(one.fix for one in found)


def process(**facts):
    return Process(Task(7, 1, "nginx", uid=33), **facts)


@pytest.mark.parametrize(
    ("number", "facts", "of", "words"),
    [
        (errno.EPERM, {"tracer": 9}, {}, "is traced by pid 9 (gdb): left alone"),
        (errno.EPERM, {}, {"cap_eff": 0, "uid": 1000}, "belongs to uid 33, and CAP_SYS_PTRACE is missing"),
        (errno.EPERM, {}, {"seccomp": 2}, "seccomp"),
        (errno.EPERM, {}, {}, "security module"),
        (errno.ETIMEDOUT, {}, {}, "an exec of it does not come to its end"),
        (errno.EIO, {}, {}, os.strerror(errno.EIO)),
    ],
)
def test_why_one_process_can_not_be_traced_is_said(tmp_path, number, facts, of, words):
    text = why_not_seized("pid 7 (nginx)", number, process(**facts), host(**of), "pid 9 (gdb)", tmp_path)
    assert text.startswith(("pid 7 (nginx) is", "cannot trace pid 7 (nginx): "))
    assert words in text


def test_yamas_word_on_ones_own_processes_is_said(yama):
    mine = Process(Task(7, 1, "nginx", uid=1000))
    text = why_not_seized("pid 7", errno.EPERM, mine, host(cap_eff=0, uid=1000), "", yama(1))
    assert "ptrace_scope is 1" in text


# ---- which backend


def test_auto_never_takes_ptrace_where_bpf_works():
    assert select.choose("auto", host()) == "bpf"


def test_auto_takes_ptrace_where_nothing_else_works_and_says_why():
    assert select.choices("auto", host(cap_eff=0, uid=1000)) == ["ptrace"]
    reasons = select.why_not_better("ptrace", host(cap_eff=0, uid=1000))
    assert [reason.split(" ")[0] for reason in reasons] == ["bpf", "bcc"]


def test_a_backend_that_is_asked_for_by_name_is_that_or_an_error():
    assert select.choices("ptrace", host()) == ["ptrace"]
    with pytest.raises(HostError, match="cannot use backend bpf: no CAP_BPF"):
        select.choices("bpf", host(cap_eff=0, uid=1000))
    with pytest.raises(UsageError):
        select.choices("dtrace", host())


def test_the_source_of_a_name_has_the_options_that_it_can_have():
    source = select.make("ptrace", BpfOptions(follow=(7,), children=True, zombie_after_s=3))
    assert isinstance(source, PtraceSource)
    assert source._options == PtraceOptions(follow=(7,), children=True, zombie_after_s=3)
    assert select.make("bpf", BpfOptions()).name == "bpf"


# ---- the proc connector's messages


def message(what, body, stamp=1000):
    return bytes(36) + struct.pack("=IIQ", what, 0, stamp) + body


def test_forks_execs_and_exits_are_decoded_with_boot_time():
    assert decode(message(1, struct.pack("=4i", 1, 1, 7, 7)), 5) == ProcEvent(What.FORK, 1005, 7, 7, 1)
    assert decode(message(2, struct.pack("=2i", 7, 7)), 5) == ProcEvent(What.EXEC, 1005, 7, 7)
    exit_ = struct.pack("=iiIIii", 8, 7, 0x8B, 17, 1, 1)
    assert decode(message(0x80000000, exit_), 5) == ProcEvent(What.EXIT, 1005, 8, 7, 1, 0x8B)


def test_an_exit_before_linux_4_18_names_no_parent():
    exit_ = decode(message(0x80000000, struct.pack("=iiII", 7, 7, 9, 17)), 0)
    assert (exit_.parent, exit_.status) == (0, 9)


@pytest.mark.parametrize("raw", [b"", bytes(35), message(1, b""), message(2, b"1234"), message(0x200, bytes(24))])
def test_what_is_no_such_message_is_nothing(raw):
    assert decode(raw, 0) is None


# ---- a look at /proc at intervals


def scan(monkeypatch, processes):
    monkeypatch.setattr("sigtrace.sources.proc_events.psutil.pids", lambda: sorted(processes))
    return Scan(processes.get, 0.25)


def test_a_look_shows_who_is_new_who_became_another_and_who_is_gone(monkeypatch):
    processes = {7: Seen(10, 1, zombie=False, status=None, face="sh 5")}
    looks = scan(monkeypatch, processes)
    assert [e.what for e in looks.scan(20)] == [What.FORK, What.EXEC]
    assert looks.scan(30) == []
    processes[7] = processes[7]._replace(face="app 5")
    assert [e.what for e in looks.scan(40)] == [What.EXEC]
    processes[7] = processes[7]._replace(zombie=True, status=0x700, face="")
    assert looks.scan(50) == [ProcEvent(What.EXIT, 50, 7, 7, 1, 0x700)]
    del processes[7]
    assert looks.scan(60) == []  # its end was told
    processes[8] = Seen(10, 1, zombie=False, status=None, face="sh 5")
    looks.scan(70)
    del processes[8]
    assert looks.scan(80) == [ProcEvent(What.EXIT, 80, 8, 8, 0, None)]


def test_a_pid_that_has_come_around_is_another_process(monkeypatch):
    processes = {7: Seen(10, 1, zombie=False, status=None, face="a")}
    looks = scan(monkeypatch, processes)
    looks.scan(20)
    processes[7] = Seen(25, 1, zombie=False, status=None, face="a")
    assert [e.what for e in looks.scan(30)] == [What.EXIT, What.FORK, What.EXEC]


def test_it_looks_no_more_often_than_its_interval(monkeypatch):
    looks = scan(monkeypatch, {7: Seen(10, 1, zombie=False, status=None, face="a")})
    assert looks.read(1_000_000_000)
    assert looks.read(1_100_000_000) == []


# ---- what a stop says


def told(number=15, caught=0, ignored=0, blocked=0):
    return Told(1, caught, ignored, blocked, 7, 7, 0, 0, 0, Report.SIGNAL, number)


def test_the_handler_is_what_proc_says_or_nothing():
    assert disposition_of(told(caught=1 << 14)) is Disposition.HANDLER
    assert disposition_of(told(ignored=1 << 14)) is Disposition.IGNORE
    assert disposition_of(told()) is Disposition.DEFAULT
    blocked, ignored, caught = UNKNOWN
    assert disposition_of(told(caught=caught, ignored=ignored, blocked=blocked)) is None


def test_the_kernels_own_signals_are_known_and_a_kill_may_be_either():
    assert info_of(0x80) is Info.PRIV
    assert info_of(-6) is Info.REAL
    assert info_of(0) is None


def test_masks_that_can_not_be_read_are_unknown_and_not_empty():
    gone = Group(2**22 + 1, 0)
    assert gone.masks() == UNKNOWN
    assert Group(os.getpid(), 0).masks() != UNKNOWN


def test_reports_are_counted_where_there_is_no_room():
    reader, writer = os.pipe()
    reports = Reports(writer)
    for _ in range(200_000):
        reports.say(Report.SIGNAL, 7, number=15)
    assert reports.flush()
    raw = bytearray()
    os.set_blocking(reader, False)
    while reports.waiting:
        raw += os.read(reader, 1 << 20)
        assert reports.flush()
    os.close(writer)
    while more := os.read(reader, 1 << 20):
        raw += more
    os.close(reader)
    found, rest = wire.split(bytes(raw))
    signals = [one for one in found if one.kind == Report.SIGNAL]
    lost = sum(one.other for one in found if one.kind == Report.LOST)
    assert rest == b""
    assert lost > 0
    assert len(signals) + lost == 200_000


def test_half_a_report_waits_for_its_other_half():
    raw = wire.REPORT.pack(1, 2, 3, 4, 5, 6, -7, 8, 9, Report.EXIT, 0)
    assert wire.split(raw[:10]) == ([], raw[:10])
    (one,), rest = wire.split(raw + raw[:3])
    assert (one.tgid, one.value, rest) == (5, -7, raw[:3])


# ---- ends


def test_who_died_of_a_signal_was_sent_it_just_before():
    exit_ = Event(100, 1100, Kind.EXIT, Task(7, 1), ns_init=True, wait_status=WaitStatus(9))
    sent = told_by_status(exit_, 9)
    assert (sent.kind, sent.time_ns, sent.signo, sent.sender, sent.outside) == (Kind.SIGNAL_GENERATE, 98, 9, None, True)
    assert told_by_status(exit_, 9, torn_down=True).teardown


def test_an_inits_end_comes_before_those_that_it_brings():
    own = [Event(100, 1100, Kind.EXIT)]
    held = [Event(50, 1050, Kind.EXIT), Event(60, 1060, Kind.EXIT)]
    ordered = before_its_namespace(own, held)
    assert [event.time_ns for event in ordered] == [48, 50, 60]
    assert ordered[0].wall_ns - ordered[0].time_ns == 1000
    assert before_its_namespace(own, []) == own


# ---- /proc


def test_it_reads_itself_right():
    seen = ProcReader(None).read(os.getpid())
    assert (seen.task.pid, seen.task.parent_pid, seen.task.uid) == (os.getpid(), os.getppid(), os.geteuid())
    assert not seen.zombie
    assert seen.task.pidns


def test_who_is_gone_is_none():
    assert ProcReader(None).read(2**22 + 1) is None


def test_what_lies_behind_overwritten_arguments_is_never_shown():
    """As setproctitle leaves them: the kernel reads on into the environment."""
    program = (
        "import ctypes\n"
        "start, end = map(int, open('/proc/self/stat').read().rpartition(')')[2].split()[45:47])\n"
        "ctypes.memset(start, ord('x'), end - start); print(flush=True); input()"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, env={"A": "secret"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        raw = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        shown = argv_of_pid(child.pid)
        child.stdin.write(b"\n")
    assert b"A=secret" in raw
    assert "secret" not in "".join(shown)
    assert set("".join(shown)) <= set("x…")


@pytest.mark.parametrize(
    ("risen", "removed", "levels"), [("own", False, 0), ("above", False, 1), ("", False, None), ("", True, -1)]
)
def test_of_a_cgroup_that_is_gone_nobody_knows_who_was_at_his_limit(tmp_path, monkeypatch, risen, removed, levels):
    above, own = tmp_path, tmp_path / "own"
    own.mkdir()
    counts = {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "memory.failcnt": "0\n"}
    for name, text in counts.items():
        (own / name).write_text(text)
    (above / "memory.failcnt").write_text("0\n")
    kills = OomKills()
    kills._counts[7] = _Counts([str(own), str(above)], v2=False, kills=0, full=[0, 0])
    if risen:
        ((own if risen == "own" else above) / "memory.failcnt").write_text("3\n")
    if removed:
        read = oom._kills
        monkeypatch.setattr(oom, "_kills", lambda folder, *, v2: (read(folder, v2=v2), shutil.rmtree(own))[0])
    mark = kills.mark(7)
    assert mark is not None
    assert mark.levels == levels


def test_what_comes_while_a_batch_is_made_is_not_promised_to_be_in_it(monkeypatch):
    """Looking at /proc takes as long as there are programs that began; what was read is of before."""
    clock = itertools.count(100_000_000_000, 20_000_000)
    source = PtraceSource()
    source._pending = [Event(1, 1, Kind.EXEC)]
    source._teller = SimpleNamespace(held=SimpleNamespace(oldest_ns=lambda: None), wall_ns=0)
    monkeypatch.setattr(source, "_looks", lambda *_: [])
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: next(clock))
    assert source.read(0).until_ns <= 100_000_000_000
    monkeypatch.undo()
    source.close()
