"""What is read of a host, what stands in the way of BPF there, and which backend that leaves."""

import dataclasses
import errno
import os

import pytest

from sigtrace.errors import EXIT_HOST, HostError, UsageError
from sigtrace.model.hierarchy import Hierarchy, HierarchyKind
from sigtrace.sources.host import CAPABILITIES, Host, bpf_refusals, explain_load_error, find_libbpf, read_host
from sigtrace.sources.select import BACKENDS, KNOWLEDGE, backends, choose, why_not_better

BPF_AND_PERFMON = 1 << CAPABILITIES["CAP_BPF"] | 1 << CAPABILITIES["CAP_PERFMON"]
ADMIN = 1 << CAPABILITIES["CAP_SYS_ADMIN"]

FINE = Host(
    release="6.1.0-56-amd64",
    machine="x86_64",
    uid=0,
    cap_eff=BPF_AND_PERFMON,
    btf=True,
    bpf_object=True,
    libbpf="/usr/lib/x86_64-linux-gnu/libbpf.so.1",
    pidns=True,
    userns=True,
    seccomp=0,
    memlock=65536,
    lockdown="none",
    lsm=("capability",),
    unprivileged_bpf_disabled=2,
    cgroup_layout="v2",
    hierarchy=None,
)
OLD = dataclasses.replace(FINE, release="5.10.0-30-amd64")


def but(**facts):
    return dataclasses.replace(FINE, **facts)


@pytest.fixture
def root(tmp_path):
    """The files of a host that can do it all."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("proc/self/status", f"Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t{BPF_AND_PERFMON:016x}\nSeccomp:\t2\n")
    write("proc/sys/kernel/osrelease", "6.1.0-56-arm64\n")
    write("proc/sys/kernel/arch", "aarch64\n")
    write("proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
    write(
        "proc/self/limits",
        "Limit  Soft Limit  Hard Limit  Units\nMax locked memory         8388608    unlimited    bytes\n",
    )
    write("proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n")
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
    write("sys/kernel/btf/vmlinux", "")
    write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    write("sys/kernel/security/lsm", "lockdown,capability,apparmor\n")
    write("usr/lib64/libbpf.so.1", "")
    (tmp_path / "proc/self/ns").mkdir()
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    (tmp_path / "proc/self/ns/user").symlink_to("user:[4026531837]")
    return tmp_path


def test_it_reads_the_facts_from_files(root):
    host = read_host(root)
    assert (host.release, host.machine, host.uid) == ("6.1.0-56-arm64", "aarch64", 0)
    assert host.capabilities == ("CAP_PERFMON", "CAP_BPF")
    assert (host.btf, host.pidns, host.userns, host.seccomp) == (True, True, True, 2)
    assert (host.memlock, host.lockdown, host.lsm) == (8388608, "integrity", ("lockdown", "capability", "apparmor"))
    assert (host.unprivileged_bpf_disabled, host.libbpf) == (2, "/usr/lib64/libbpf.so.1")
    assert host.cgroup_layout == "v2"
    assert (host.hierarchy.kind, host.hierarchy.mount) == (HierarchyKind.V2, "/sys/fs/cgroup")


def test_what_cannot_be_read_is_none_and_raises_nothing(tmp_path):
    host = read_host(tmp_path, find_library=lambda _: None)
    assert (host.pidns, host.userns, host.seccomp, host.memlock, host.lockdown) == (None,) * 5
    assert (host.btf, host.cap_eff, host.lsm, host.hierarchy) == (False, 0, (), None)
    assert host.release == os.uname().release


def test_files_with_rubbish_in_them_raise_nothing(root):
    for path in [*root.glob("proc/**/*"), *root.glob("sys/**/*")]:
        if path.is_file() and not path.is_symlink():
            path.write_bytes(b"\xff\x00CapEff: zz\nUid: x\nSeccomp:\n[\n0: - - :")
    assert read_host(root).cap_eff == 0


def test_this_host_can_be_read():
    host = read_host()
    assert host.release == os.uname().release
    assert host.pidns is not None


@pytest.mark.parametrize(
    ("kinds", "layout"), [(["cgroup2"], "v2"), (["cgroup"], "v1"), (["cgroup", "cgroup2"], "hybrid"), ([], None)]
)
def test_the_cgroup_layout_is_named(root, kinds, layout):
    lines = [f"{i} 24 0:{i} / /sys/fs/cgroup/{kind} rw - {kind} {kind} rw,pids\n" for i, kind in enumerate(kinds)]
    (root / "proc/self/mountinfo").write_text("".join(lines))
    assert read_host(root).cgroup_layout == layout


def test_libbpf_is_found_in_the_loaders_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.cache").write_bytes(
        b"glibc-ld.so.cache1.1\0\0libbpf.so.1\0/opt/odd/libbpf.so.1\0libc.so.6\0"
    )
    assert find_libbpf(tmp_path) == "/opt/odd/libbpf.so.1"
    (tmp_path / "etc/ld.so.cache").write_bytes(b"libbpf.so.0\0/opt/odd/libbpf.so.0\0")
    assert find_libbpf(tmp_path) is None


def test_nothing_is_refused_with_just_the_two_capabilities():
    assert bpf_refusals(FINE) == []
    assert bpf_refusals(but(cap_eff=ADMIN)) == [], "CAP_SYS_ADMIN contains both"


@pytest.mark.parametrize(
    ("facts", "what", "fix"),
    [
        ({"machine": "armv7l"}, "machine armv7l", "run it on one of these"),
        ({"bpf_object": False}, "no sigtrace.bpf.o", "make bpf"),
        ({"btf": False}, "no BTF", "CONFIG_DEBUG_INFO_BTF"),
        ({"pidns": False}, "foreign PID namespace", "hostPID: true (Kubernetes), --pid=host"),
        ({"userns": False}, "foreign user namespace", "hostUsers: true"),
        ({"cap_eff": 0, "uid": 1000}, "no CAP_BPF and CAP_PERFMON", "run it with sudo"),
        ({"cap_eff": 0, "uid": 0}, "no CAP_BPF and CAP_PERFMON", "--cap-add BPF --cap-add PERFMON"),
        ({"cap_eff": 1 << CAPABILITIES["CAP_BPF"]}, "no CAP_PERFMON", "PERFMON"),
    ],
)
def test_each_obstacle_has_its_own_reason_and_next_step(facts, what, fix):
    (refusal,) = bpf_refusals(but(**facts))
    assert refusal.what == what
    assert fix in refusal.fix
    assert len(refusal.why) > 20


def test_root_is_not_told_to_use_sudo():
    (refusal,) = bpf_refusals(but(cap_eff=0, uid=0))
    assert "sudo" not in refusal.fix


@pytest.mark.parametrize(
    ("number", "host", "log", "words"),
    [
        (errno.EPERM, but(cap_eff=0, uid=1000), "", ["EPERM", "CAP_BPF and CAP_PERFMON", "sudo"]),
        (errno.EPERM, dataclasses.replace(OLD), "", ["memlock limit of 64 KiB", "5.10.0-30", "ulimit -l"]),
        (errno.EPERM, but(seccomp=2), "", ["seccomp", "Unconfined"]),
        (errno.ENOSYS, but(seccomp=2), "", ["ENOSYS", "seccomp"]),
        (errno.ENOSYS, FINE, "", ["CONFIG_BPF_SYSCALL"]),
        (errno.EPERM, but(lockdown="confidentiality"), "", ["lockdown=integrity"]),
        (errno.EINVAL, but(lockdown="confidentiality"), "", ["lockdown=integrity"]),
        (errno.EPERM, but(lsm=("capability", "selinux")), "", ["selinux", "ausearch"]),
        (
            errno.EACCES,
            FINE,
            "0: (79)\nR1 invalid mem access\nprocessed 9 insns\n",
            ["R1 invalid mem access", "--verbose"],
        ),
        (errno.ESRCH, FINE, "", ["ESRCH", "newer kernel"]),
        (errno.ENOMEM, FINE, "", ["memory limit"]),
        (errno.EBUSY, FINE, "", ["EBUSY", "--verbose"]),
        (9999, FINE, "", ["errno 9999"]),
    ],
)
def test_a_refused_load_is_explained_by_the_facts(number, host, log, words):
    error = explain_load_error(number, host, log)
    assert error.exit_code == EXIT_HOST
    assert [word for word in words if word not in str(error)] == []
    assert error.detail == log
    assert error.next_step


@pytest.mark.parametrize(
    "host", [FINE, dataclasses.replace(OLD, memlock=None), dataclasses.replace(OLD, cap_eff=BPF_AND_PERFMON | 1 << 24)]
)
def test_memlock_is_not_blamed_where_it_does_not_count(host):
    assert "memlock" not in str(explain_load_error(errno.EPERM, host, ""))


@pytest.mark.parametrize(
    ("release", "counts"),
    [
        ("5.10.0", True),
        ("5.10.0-30-amd64", True),
        ("4.19", True),
        ("5.11.0-rc1", False),
        ("5.15+", False),
        ("6.1", False),
    ],
)
def test_releases_that_charge_maps_to_memlock(release, counts):
    assert but(release=release).charges_memlock is counts


def test_auto_takes_the_first_that_is_available():
    assert choose("auto", FINE) == "bpf"
    assert choose("bpf", FINE) == "bpf"


def test_auto_comes_to_ptrace_only_where_the_others_are_refused_and_says_why():
    host = but(btf=False, hierarchy=Hierarchy(HierarchyKind.V2, "/sys/fs/cgroup", 0))
    assert choose("auto", host) == "ptrace"
    assert [reason.split(" is refused: ")[0] for reason in why_not_better("ptrace", host)] == ["bpf", "bcc"]


def test_if_none_works_every_reason_is_listed_and_the_first_ones_fix():
    with pytest.raises(HostError) as caught:
        choose("auto", but(btf=False, hierarchy=None))
    assert [name for name in BACKENDS if f"{name}: " not in caught.value.message] == []
    assert "CONFIG_DEBUG_INFO_BTF" in caught.value.next_step


def test_the_backend_asked_for_says_its_first_reason():
    with pytest.raises(HostError, match="cannot use backend bpf: no BTF: "):
        choose("bpf", but(btf=False, cap_eff=0))


def test_a_name_that_is_no_backend_is_wrong_usage():
    with pytest.raises(UsageError, match="'dtrace' is no backend"):
        choose("dtrace", FINE)


def test_every_backend_has_its_refusals_and_its_knowledge():
    assert [backend.name for backend in backends(FINE)] == list(BACKENDS)
    assert all(len(answers) == len(BACKENDS) for _, answers in KNOWLEDGE)
