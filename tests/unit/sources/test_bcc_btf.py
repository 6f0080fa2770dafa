"""What the second build asks of a kernel's types, and the BTF that answers it, read back by another reader."""

import struct

import pytest

from sigtrace.sources.bcc_btf import Needs, section
from sigtrace.sources.bcc_host import RAW_OBJECT
from tests.unit.sources.btf import Btf


@pytest.fixture(scope="module")
def elf():
    return RAW_OBJECT.read_bytes()


@pytest.fixture(scope="module")
def needs(elf):
    return Needs(elf)


@pytest.fixture(scope="module")
def answers(needs):
    """Each question with an answer of its own; members lie within their structs as far as a reader cares."""
    return {question: 8 * number for number, question in enumerate(needs.questions(), 1)}


def elf_with(btf, path):
    """The smallest file that has a section .BTF."""
    names = b"\0.BTF\0.shstrtab\0"
    at = 64 + len(btf)
    headers = [(0, 0, 0, 0, 0, 0), (1, 1, 0, 0, 64, len(btf)), (6, 3, 0, 0, at, len(names))]
    table = b"".join(struct.pack("<IIQQQQIIQQ", *header, 0, 0, 1, 0) for header in headers)
    start = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 247, 1, 0, 0, at + len(names), 0, 64, 0, 0, 64, 3, 2
    )
    path.write_bytes(start + btf + names + table)
    return path


def read_back(btf, tmp_path):
    return Btf(elf_with(btf, tmp_path / "kernel.o"))


def test_it_asks_for_fields_sizes_and_enumerators(needs):
    asked = set(needs.questions())
    assert {("struct task_struct", "start_boottime"), ("struct task_struct", ""), ("sigset_t", "sig")} <= asked
    assert ("enum cgroup_subsys_id", "pids_cgrp_id") in asked
    assert len(asked) == len(needs.questions())


def test_a_field_that_only_old_kernels_have_is_asked_for_in_place_of_the_new_one(needs):
    assert needs.older == {("struct task_struct", "state")}
    assert "__state" in needs.fields["struct task_struct"]


def test_every_answer_stands_in_the_btf(needs, answers, tmp_path):
    read = read_back(needs.btf(answers), tmp_path)
    for owner, members in needs.fields.items():
        keyword, _, name = owner.rpartition(" ")
        (one,) = [t for t in read.types if t.name == name] if keyword else [None]
        if one is None:  # a typedef's struct has no name there
            continue
        assert one.size_or_type == answers[owner, ""]
        assert {member: at for member, _, at in one.members} == {m: answers[owner, m] for m in members}
    assert read.enum("cgroup_subsys_id") == {
        name: answers["enum cgroup_subsys_id", name] for name in ("pids_cgrp_id", "memory_cgrp_id")
    }


def test_a_struct_within_a_struct_has_its_own_members(needs, answers, tmp_path):
    read = read_back(needs.btf(answers), tmp_path)
    (task,) = [t for t in read.types if t.name == "task_struct"]
    pending = read._resolve(next(type_id for name, type_id, _ in task.members if name == "pending"))
    assert pending.name == "sigpending"
    sigset = read._resolve(pending.members[0][1])
    assert (sigset.name, [(m[0], m[2]) for m in sigset.members]) == ("", [("sig", answers["sigset_t", "sig"])])


def test_what_has_no_answer_does_not_exist(needs, answers, tmp_path):
    gone = {("struct task_struct", "state"), ("struct mem_cgroup", ""), ("enum cgroup_subsys_id", "memory_cgrp_id")}
    read = read_back(needs.btf({q: a for q, a in answers.items() if q not in gone}), tmp_path)
    (task,) = [t for t in read.types if t.name == "task_struct"]
    assert "state" not in [name for name, _, _ in task.members]
    assert "mem_cgroup" not in [t.name for t in read.types]
    assert list(read.enum("cgroup_subsys_id")) == ["pids_cgrp_id"]


def test_a_damaged_object_is_an_error_that_its_caller_knows(elf):
    for cut in range(0, len(elf), 4999):
        with pytest.raises((ValueError, IndexError, struct.error)):
            Needs(elf[:cut])


def test_a_file_that_is_no_object_is_refused():
    with pytest.raises(ValueError, match="ELF"):
        section(b"#!/bin/sh\n" * 20, ".BTF")


def test_a_section_that_is_not_there_is_named(elf):
    with pytest.raises(ValueError, match=r"no section \.nowhere"):
        section(elf, ".nowhere")
