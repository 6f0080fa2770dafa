"""How the headers are asked: the C, its diagnostics, and the process that compiles it."""

import json
import re
import struct
import textwrap

import pytest

from sigtrace.errors import EXIT_HOST, HostError
from sigtrace.sources import bcc_layout
from sigtrace.sources.bcc_compile import constant_of, load_package
from sigtrace.sources.bcc_host import RAW_OBJECT
from sigtrace.sources.bcc_layout import btf_for, measure, system_compiler

FIELDS = ("struct task_struct", "struct cred")


class Asked:
    """What an object needs, as far as measure() looks."""

    older = frozenset({("struct task_struct", "state")})

    def questions(self):
        return [
            ("struct task_struct", ""),
            ("struct task_struct", "__state"),
            ("struct task_struct", "state"),
            ("struct mem_cgroup", "css"),
            ("struct trace_event_raw_mark_victim", "uid"),
            ("enum cgroup_subsys_id", "pids_cgrp_id"),
        ]


class Compiler:
    """A compiler that knows no member of these names; each value is its line number."""

    def __init__(self, *unknown, random=False):
        self.unknown = unknown
        self.random = random
        self.programs = []

    def __call__(self, program):
        self.programs.append(program)
        errors, values = [], {}
        for number, line in enumerate(program.splitlines(), 1):
            if found := re.match(r"int (\w+)\(void \*ctx\) \{ return (.*); \}", line):
                values[found[1]] = int(self.random) if found[2] == "IS_RANDOM" else number
                if re.search(rf"\b({'|'.join(self.unknown)})\b", found[2]) and self.unknown:
                    errors.append(f"/virtual/main.c:{number}:20: error: no member named 'x' in 'struct y'")
        return (1, "", "\n".join([*errors, "1 error generated."])) if errors else (0, json.dumps(values), "")


def test_one_compilation_suffices_where_all_is_there():
    compiler = Compiler()
    answers = measure(Asked(), compiler)
    assert len(compiler.programs) == 1
    assert set(answers) == set(Asked().questions()) - Asked.older
    assert "__builtin_offsetof(struct task_struct, __state)" in compiler.programs[0]
    assert "sizeof(struct task_struct)" in compiler.programs[0]


def test_a_field_that_the_headers_lack_has_no_answer_and_the_older_one_is_asked_for():
    compiler = Compiler("__state")
    answers = measure(Asked(), compiler)
    assert len(compiler.programs) == 2
    assert set(answers) == set(Asked().questions()) - {("struct task_struct", "__state")}


def test_everything_may_be_missing_but_the_first_question():
    compiler = Compiler("task_struct", "mem_cgroup", "trace_mark_victim", "pids_cgrp_id")
    assert measure(Asked(), compiler) == {}


def test_a_field_of_an_event_is_what_its_tracepoint_takes():
    compiler = Compiler()
    measure(Asked(), compiler)
    assert "__builtin_types_compatible_p(typeof(trace_mark_victim), void(int))" in compiler.programs[0]


def test_a_layout_drawn_at_random_is_refused():
    with pytest.raises(HostError, match="at random") as refused:
        measure(Asked(), Compiler(random=True))
    assert "BTF" in refused.value.next_step


@pytest.mark.parametrize(
    ("status", "diagnostics", "words"),
    [
        (1, "In file included from x:\n./include/linux/a.h:3:1: error: unknown type name 'asm_inline'\n", "asm_inline"),
        (1, "/virtual/main.c:1:10: fatal error: 'linux/sched.h' file not found\n", "file not found"),
        (1, "", "no diagnostics"),
        (2, "ImportError: /x/bcc is not the BPF compiler collection\n", "not the BPF compiler collection"),
        (-11, "", "no diagnostics"),
    ],
)
def test_what_does_not_compile_is_told_with_the_compilers_words(status, diagnostics, words):
    with pytest.raises(HostError, match=words) as told:
        measure(Asked(), lambda _: (status, "", diagnostics))
    assert told.value.exit_code == EXIT_HOST
    assert told.value.next_step
    assert told.value.detail == diagnostics


def test_an_object_that_is_damaged_or_missing_is_told(tmp_path):
    for content in (b"", RAW_OBJECT.read_bytes()[:5000]):
        path = tmp_path / "object.o"
        path.write_bytes(content)
        with pytest.raises(HostError, match=r"object\.o can't be read"):
            btf_for(path, tmp_path)
        btf_for.cache_clear()
    with pytest.raises(HostError, match="No such file"):
        btf_for(tmp_path / "nothing.o", tmp_path)


MOVE, MOVE_32, EXIT = (struct.pack("<BBhi", *i) for i in ((0xB7, 0, 0, 2976), (0xB4, 0, 0, 7), (0x95, 0, 0, 0)))


def test_a_constant_is_read_from_its_instructions():
    assert constant_of(MOVE + EXIT) == 2976
    assert constant_of(MOVE_32 + EXIT) == 7


@pytest.mark.parametrize("code", [b"", MOVE, EXIT, MOVE + MOVE, MOVE + MOVE + EXIT, EXIT + MOVE])
def test_other_code_is_no_constant(code):
    with pytest.raises(ValueError, match="no constant"):
        constant_of(code)


@pytest.fixture
def package(tmp_path):
    """Writes a package bcc; returns the folder that has it."""

    def write(code):
        folder = tmp_path / "dist-packages"
        (folder / "bcc").mkdir(parents=True)
        (folder / "bcc/__init__.py").write_text(textwrap.dedent(code))
        (folder / "bcc/libbcc.py").touch()
        (folder / "neighbour.py").touch()
        return folder

    return write


FAKE = """
    import os, sys
    from . import libbcc
    class BPF:
        def __init__(self, text, cflags):
            print("diagnostics", file=sys.stderr)
            assert b"int value_0(void *ctx)" in text
            assert not [name for name in os.environ if name.startswith("PYTHON")]
            try:
                import neighbour
            except ImportError:
                pass
            else:
                raise Exception("a neighbour in dist-packages could be imported")
        def dump_func(self, name):
            return bytes.fromhex("b7000000a00b0000" "9500000000000000")
"""
PROGRAM = "int value_0(void *ctx) { return sizeof(int); }\nint value_1(void *ctx) { return 1; }\n"


def test_the_compiler_is_a_process_that_imports_that_package_and_none_of_its_neighbours(package, monkeypatch):
    folder = package(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    status, out, diagnostics = system_compiler(folder)(PROGRAM)
    assert (status, json.loads(out)) == (0, {"value_0": 2976, "value_1": 2976}), diagnostics
    assert "diagnostics" in diagnostics


def test_another_projects_bcc_is_not_taken_for_it(package):
    folder = package("class Blockchain: pass\n")
    status, _, diagnostics = system_compiler(folder)(PROGRAM)
    assert status == 2
    assert "is not the BPF compiler collection" in diagnostics
    with pytest.raises(ImportError, match="another project"):
        load_package(str(folder))


def test_a_library_that_is_missing_is_a_broken_package(package):
    folder = package("raise OSError('libbcc.so.0: cannot open shared object file')\n")
    status, _, diagnostics = system_compiler(folder)(PROGRAM)
    assert status == 2
    assert "libbcc.so.0" in diagnostics


def test_a_compiler_that_crashes_ends_only_itself(package):
    folder = package("import os\nos.abort()\n")
    with pytest.raises(HostError, match="cannot use bcc"):
        measure(Asked(), system_compiler(folder))


def test_a_compiler_that_never_ends_is_ended(package, monkeypatch):
    folder = package("import time\ntime.sleep(1000)\n")
    monkeypatch.setattr(bcc_layout, "_LIMIT_S", 0.3)
    with pytest.raises(HostError, match="timed out"):
        measure(Asked(), system_compiler(folder))
