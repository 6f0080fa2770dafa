"""On a kernel whose BTF is hidden and whose headers are there: run by tests/vm/bcc.py, in the guest."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sigtrace.sources.bcc import BccSource
from sigtrace.sources.bcc_btf import Needs
from sigtrace.sources.bcc_host import RAW_OBJECT, read_tools
from sigtrace.sources.bcc_layout import measure, system_compiler
from sigtrace.sources.host import read_host
from sigtrace.sources.select import choose
from tests.unit.sources.btf import STRUCT, UNION, Btf
from tests.unit.sources.test_bcc_btf import elf_with

KEPT = os.environ.get("SIGTRACE_BTF")
pytestmark = pytest.mark.skipif(not KEPT, reason="run by `python -m tests.vm.bcc`, in its guest")
SIGTRACE = (sys.executable, "-m", "sigtrace.cli.main")


def sigtrace(*arguments):
    return subprocess.run([*SIGTRACE, *arguments], capture_output=True, text=True, timeout=600, check=False)


def offset_in(btf, struct, name):
    """Bytes; through members without a name, as C sees it."""
    for member, type_id, at in struct.members:
        if member == name:
            return at
        inner = btf._resolve(type_id)
        if not member and inner.kind in {STRUCT, UNION} and (found := offset_in(btf, inner, name)) is not None:
            return at + found
    return None


def test_bcc_is_what_auto_takes_here():
    host = read_host()
    assert not host.btf
    assert choose("auto", host) == "bcc"


def test_the_headers_say_what_the_kernels_own_btf_says(tmp_path):
    needs = Needs(RAW_OBJECT.read_bytes())
    answers = measure(needs, system_compiler(Path(read_tools(os.uname().release).package)))
    kernel = Btf(elf_with(Path(KEPT).read_bytes(), tmp_path / "kernel.o"))
    by_name = {}
    for one in kernel.types:
        if one.kind in {STRUCT, UNION}:
            by_name.setdefault(one.name, []).append(one)
    compared = 0
    for owner, members in needs.fields.items():
        name = owner.rpartition(" ")[2]
        if owner == name:  # a typedef's struct has no name in BTF
            continue
        true = [{m: offset_in(kernel, one, m) for m in members} for one in by_name[name]]
        said = {m: answers.get((owner, m)) for m in members}
        if name == "trace_event_raw_mark_victim":  # made from the tracepoint's arguments: whether, not where
            said, true = ({m: at is not None for m, at in one.items()} for one in (said, true[0]))
            true = [true]
        assert said in true, owner
        compared += len(said)
    assert compared > 60
    enum = kernel.enum("cgroup_subsys_id")
    for name in needs.enumerators["cgroup_subsys_id"]:
        assert answers["enum cgroup_subsys_id", name] == enum[name]


def test_a_listing_has_every_process():
    with closing(BccSource()) as source:
        source.open()
        listed = {event.task.pid for event in source.snapshot()}
    assert {os.getpid(), os.getppid(), 1, 2} <= listed


def test_doctor_says_why_not_bpf_and_that_bcc_works():
    told = sigtrace("doctor", "-o", "json")
    backends = {one["name"]: one for one in json.loads(told.stdout)["backends"]}
    assert [refusal["what"] for refusal in backends["bpf"]["refusals"]] == ["no BTF"]
    assert backends["bcc"]["available"], told.stdout
    assert told.returncode == 0


SCENARIOS = ("shell-form", "exec-form", "oom", "never-waits", "worker-crash", "host-pid", "frozen")


def test_the_verdicts_are_right():
    told = sigtrace("demo", *SCENARIOS, "--backend", "bcc")
    assert f"{len(SCENARIOS)} right verdicts" in told.stdout, told.stdout + told.stderr
    assert told.returncode == 0
