"""`sigtrace doctor` on hosts of all kinds: what it says, and 0 or 3."""

import dataclasses
import json

import pytest
from click.testing import CliRunner

from sigtrace.attribution.runtimes.base import Api, SocketState, SocketStatus
from sigtrace.cli import doctor as module
from sigtrace.errors import HostError
from sigtrace.model.hierarchy import Hierarchy, HierarchyKind
from sigtrace.sources import host as host_module
from sigtrace.sources.host import Host

FINE = Host(
    release="6.1.0-56-amd64",
    machine="x86_64",
    uid=0,
    cap_eff=1 << 38 | 1 << 39,
    btf=True,
    bpf_object=True,
    libbpf="/usr/lib/x86_64-linux-gnu/libbpf.so.1",
    pidns=True,
    userns=True,
    seccomp=2,
    memlock=8 << 20,
    lockdown="none",
    lsm=("lockdown", "capability", "landlock", "yama", "apparmor"),
    unprivileged_bpf_disabled=2,
    cgroup_layout="hybrid",
    hierarchy=Hierarchy(HierarchyKind.PIDS, "/sys/fs/cgroup/pids", 8),
)

ANSWERS = [
    SocketStatus("/run/containerd/containerd.sock", Api.CRI, SocketState.CONNECTED, "containerd 1.6.20"),
    SocketStatus("/run/docker.sock", Api.DOCKER, SocketState.FAILING, error="cannot connect: permission denied"),
]

NOTHING = module.Pinned(0, read=False)


@pytest.fixture
def run(monkeypatch):
    """Runs it for a host; ``error``: what trying BPF ends with. Returns (status, output)."""

    def call(*args, error=None, runtimes=ANSWERS, pinned=NOTHING, **facts):
        def try_out(name):
            if error:
                raise error

        monkeypatch.setattr(host_module, "read_host", lambda: dataclasses.replace(FINE, **facts))
        monkeypatch.setattr(module, "try_out", try_out)
        monkeypatch.setattr(module, "ask_runtimes", lambda: runtimes)
        monkeypatch.setattr(module, "look_at_pins", lambda: pinned)
        # The status of a command that returns it, as main() takes it.
        runner = CliRunner()
        status = []
        callback = module.doctor.callback
        monkeypatch.setattr(module.doctor, "callback", lambda **values: status.append(callback(**values)))
        done = runner.invoke(module.doctor, args, env={"COLUMNS": "80"})
        monkeypatch.setattr(module.doctor, "callback", callback)
        assert done.exception is None
        return status[0], done.output

    return call


def test_a_host_that_can_do_it_all(run):
    status, out = run()
    assert status == 0
    for words in [
        "6.1.0-56-amd64 x86_64",
        "CAP_PERFMON, CAP_BPF",
        "a filter",
        "8,192 KiB",
        "hybrid; containers are in v1 pids, /sys/fs/cgroup/pids",
        "/run/containerd/containerd.sock",
        "/run/docker.sock: cannot connect",
        "loaded, attached and detached",
        "linux-headers-$(uname -r)",
        "who can know what",
    ]:
        assert words in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_a_host_without_privilege_says_what_to_do_and_does_not_try(run):
    status, out = run(cap_eff=0, uid=1000, error=AssertionError("it tried"), hierarchy=None)
    assert status == 3
    assert "no CAP_BPF and CAP_PERFMON" in out
    assert "run it with sudo" in out


def test_every_obstacle_is_shown(run):
    status, out = run(cap_eff=0, btf=False, pidns=False)
    assert status == 0, "there is ptrace"
    assert [
        words for words in ("no BTF", "foreign PID namespace", "no CAP_BPF and CAP_PERFMON") if words not in out
    ] == []


def test_what_only_trying_shows_is_shown(run):
    error = HostError("cannot load sigtrace.bpf.o: EPERM: seccomp", next_step="use another profile")
    status, out = run(error=error, hierarchy=None)
    assert status == 3
    assert "it was tried: cannot load sigtrace.bpf.o: EPERM: seccomp" in out
    assert "fix  use another profile" in out


def test_a_host_of_which_nothing_is_known(run):
    facts = dict.fromkeys(("libbpf", "pidns", "userns", "seccomp", "memlock", "lockdown", "cgroup_layout", "hierarchy"))
    status, out = run(**facts, runtimes=[], lsm=(), cap_eff=0, btf=False, release="", machine="")
    assert status == 3
    assert "None" not in out
    assert "no socket of containerd" in out


@pytest.mark.parametrize(("facts", "expected"), [({}, 0), ({"btf": False, "hierarchy": None}, 3)])
def test_json_is_one_object_with_the_same_in_it(run, facts, expected):
    status, out = run("-o", "json", **facts)
    record = json.loads(out)
    assert out.count("\n") == 1
    assert status == expected
    assert (record["type"], record["schema"]) == ("doctor", 1)
    assert [backend["name"] for backend in record["backends"]] == ["bpf", "bcc", "ptrace"]
    assert record["backends"][0]["available"] is (expected == 0)
    assert all(refusal["fix"] for backend in record["backends"] for refusal in backend["refusals"])
    assert record["capabilities"] == ["CAP_PERFMON", "CAP_BPF"]
    assert set(record["knows"]["who sent a signal"]) == {"bpf", "bcc", "ptrace"}


@pytest.mark.parametrize(
    ("pinned", "words"),
    [
        (module.Pinned(0, read=False), None),
        (module.Pinned(30, read=True), "read by an agent"),
        (module.Pinned(30, read=False), "sigtrace agent --unpin"),
    ],
)
def test_what_an_agent_left_pinned_is_told_with_its_removal(run, pinned, words):
    out = " ".join(run(pinned=pinned)[1].split())
    assert words in out if words else "bpffs" not in out
