"""What bcc needs of a host, why it is refused, and whether headers are the running kernel's."""

import dataclasses
import os
from pathlib import Path

import pytest

from sigtrace.errors import HostError
from sigtrace.model.event import Event, Kind, Task
from sigtrace.sources.bcc import check_self
from sigtrace.sources.bcc_host import bcc_refusals, read_tools
from sigtrace.sources.host import read_host

RELEASE = "6.1.0-50-amd64"
DIST = "usr/lib/python3/dist-packages"
KCONFIG = "include/linux/kconfig.h"


@pytest.fixture(autouse=True)
def _no_choice_of_the_users(monkeypatch):
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)


@pytest.fixture
def root(tmp_path):
    """Makes files of a host; returns its root."""

    def make(*names, **texts):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts.get(path.name.partition(".")[0], ""))
        return tmp_path

    return make


def debian(root, release=RELEASE):
    base = f"lib/modules/{RELEASE}"
    return root(
        f"{DIST}/bcc/__init__.py",
        f"{DIST}/bcc/libbcc.py",
        f"{base}/build/include/generated/utsrelease.h",
        f"{base}/source/{KCONFIG}",
        utsrelease=f'#define UTS_RELEASE "{release}"\n',
    )


@pytest.fixture
def host():
    """One that can do BPF, but for its BTF."""
    return dataclasses.replace(
        read_host(),
        release=RELEASE,
        machine="x86_64",
        uid=0,
        cap_eff=-1,
        btf=False,
        pidns=True,
        userns=True,
        lockdown="none",
    )


def words(refusals):
    return [refusal.what for refusal in refusals]


def test_debians_headers_are_in_two_places(root, host):
    tools = read_tools(RELEASE, debian(root))
    assert tools.package.endswith(DIST)
    assert tools.headers.endswith(f"{RELEASE}/build")
    assert tools.headers_release == RELEASE
    assert bcc_refusals(host, tools) == []


def test_fedoras_are_in_one(root):
    where = f"lib/modules/{RELEASE}/build/{KCONFIG}"
    tools = read_tools(RELEASE, root("usr/lib/python3.12/site-packages/bcc/__init__.py", where))
    assert tools.headers.endswith("build")
    assert tools.headers_release is None
    assert tools.foreign.endswith("site-packages")


def test_a_kernel_may_carry_its_headers(root):
    tools = read_tools(RELEASE, root("sys/kernel/kheaders.tar.xz"))
    assert tools.headers.endswith("kheaders.tar.xz")


def test_the_user_may_say_where_they_are(root, monkeypatch):
    there = root(f"elsewhere/{KCONFIG}") / "elsewhere"
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(there))
    assert read_tools(RELEASE, root()).headers == str(there)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(there / "nowhere"))
    assert read_tools(RELEASE, root()).headers is None


def test_leftovers_of_a_removed_package_are_no_headers(root):
    tools = read_tools(RELEASE, root(f"lib/modules/{RELEASE}/build/Makefile"))
    assert tools.headers is None


def test_what_is_missing_is_named_with_the_packages_that_have_it(root, host):
    refusals = bcc_refusals(host, read_tools(RELEASE, root()))
    assert words(refusals) == ["no python3-bpfcc", "no kernel headers"]
    assert "apt install python3-bpfcc" in refusals[0].fix
    assert "linux-headers-$(uname -r)" in refusals[1].fix
    assert RELEASE in refusals[1].why


def test_pypis_bcc_is_not_it(root, host):
    tools = read_tools(RELEASE, root(f"{DIST}/bcc/__init__.py"))
    assert tools.package is None
    (refusal, _) = bcc_refusals(host, tools)
    assert refusal.what == "not the BPF compiler collection"
    assert DIST in refusal.why
    assert "pip can't" in refusal.fix


def test_another_kernels_headers_are_refused(root, host):
    (refusal,) = bcc_refusals(host, read_tools(RELEASE, debian(root, "6.1.0-49-amd64")))
    assert refusal.what == "another kernel's headers"
    assert "6.1.0-49-amd64" in refusal.why


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"lockdown": "confidentiality"}, "kernel lockdown"),
        ({"cap_eff": 0}, "no CAP_BPF and CAP_PERFMON"),
        ({"pidns": False}, "foreign PID namespace"),
        ({"userns": False}, "foreign user namespace"),
        ({"machine": "riscv64"}, "machine riscv64"),
    ],
)
def test_what_stands_in_the_way_of_bpf_stands_in_its_way_but_for_btf(root, host, facts, what):
    refusals = bcc_refusals(dataclasses.replace(host, **facts), read_tools(RELEASE, debian(root)))
    assert words(refusals) == [what]
    assert all(refusal.why and refusal.fix for refusal in refusals)


@pytest.fixture
def myself():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return Task(
        pid=os.getpid(),
        start_ns=ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK") + 1234,
        comm=Path("/proc/self/comm").read_text().rstrip("\n"),
        tid=os.getpid(),
        ns_pid=int(status["NSpid"].split()[-1]),
        pidns=os.stat("/proc/self/ns/pid").st_ino,
        uid=os.getuid(),
        parent_pid=os.getppid(),
    )


def snapshot_of(task):
    return [Event(1, 1, Kind.TASK, dataclasses.replace(task, pid=task.pid + 1)), Event(1, 1, Kind.TASK, task)]


def test_headers_that_tell_the_truth_about_this_process_are_the_kernels(myself):
    check_self(snapshot_of(myself), None)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"comm": "nobody"}, "name"),
        ({"parent_pid": 0}, "parent"),
        ({"uid": 4294967295}, "uid"),
        ({"ns_pid": 0}, "pid in its namespace"),
        ({"pidns": 7}, "PID namespace"),
        ({"start_ns": 0}, "start"),
    ],
)
def test_one_wrong_word_about_this_process_and_the_headers_are_refused(myself, wrong, what):
    with pytest.raises(HostError, match=f"this process's {what} would be") as refused:
        check_self(snapshot_of(dataclasses.replace(myself, **wrong)), None)
    assert "headers" in refused.value.next_step


def test_a_snapshot_without_this_process_is_refused(myself):
    for snapshot in ([], snapshot_of(myself)[:1]):
        with pytest.raises(HostError, match="is not there"):
            check_self(snapshot, None)
