"""Where the fields of the kernel's structures are, by its headers: bcc compiles a program for each question.

What a kernel does not have its headers don't either: such a question does not compile and has no answer, which is how
fields are asked for by name rather than by version.

bcc puts its own uapi/linux/bpf.h before the kernel's. What has an array as long as one of its enums (struct cgroup_bpf)
then has another size, and what follows it in struct cgroup another offset: of that nothing may be asked for. tests/vm
compares all offsets with a kernel's BTF; sizes matter to libbpf in arrays alone.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sigtrace.errors import HostError
from sigtrace.sources.bcc_btf import Needs, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Where those structures are declared.
_HEADERS: Final = (
    "linux/sched.h",
    "linux/sched/signal.h",
    "linux/cgroup-defs.h",
    "linux/cred.h",
    "linux/fdtable.h",
    "linux/fs.h",
    "linux/kernfs.h",
    "linux/memcontrol.h",
    "linux/mm_types.h",
    "linux/page_counter.h",
    "linux/pid.h",
    "linux/pid_namespace.h",
    "trace/events/oom.h",
)

#: A type that is made inside the kernel only, from what its tracepoint takes: the event has the uid if that does.
_MARK_VICTIM: Final = "struct trace_event_raw_mark_victim"
_SPELLED: Final = {
    (_MARK_VICTIM, ""): "4",
    (_MARK_VICTIM, "uid"): (
        "sizeof(char[1 - 2 * __builtin_types_compatible_p(typeof(trace_mark_victim), void(int))]) - 1"
    ),
}

#: Layouts that are drawn at random when the kernel is built. Before v5.19 the first name.
_RANDOM: Final = ("", "randomised")
_IS_RANDOM: Final = """\
#if defined(CONFIG_GCC_PLUGIN_RANDSTRUCT) || defined(CONFIG_RANDSTRUCT)
#define IS_RANDOM 1
#else
#define IS_RANDOM 0
#endif
"""

_ERROR: Final = re.compile(r"^\S*?main\.c:(\d+):\d+: (?:fatal )?error: (.*)$", re.MULTILINE)
#: A machine that emulates another takes a minute for what takes 1.5 s.
_LIMIT_S: Final = 300


def c_program(questions: Iterable[Question]) -> tuple[str, dict[int, Question]]:
    """The C that answers them, and which line asks what."""
    lines = [*(f"#include <{header}>" for header in _HEADERS), *_IS_RANDOM.splitlines()]
    asked = {}
    for number, question in enumerate(questions):
        lines.append(f"int value_{number}(void *ctx) {{ return {_expression(question)}; }}")
        asked[len(lines)] = question
    return "\n".join(lines) + "\n", asked


def _expression(question: Question) -> str:
    owner, member = question
    if question == _RANDOM:
        return "IS_RANDOM"
    if question in _SPELLED:
        return _SPELLED[question]
    if owner.startswith("enum "):
        return member
    return f"__builtin_offsetof({owner}, {member})" if member else f"sizeof({owner})"


def measure(needs: Needs, compiler: Callable[[str], tuple[int, str, str]]) -> dict[Question, int]:
    """An answer for each question that this kernel's headers can answer. Raises HostError.

    ``compiler`` runs bcc_compile.py on C: (exit status, standard output, standard error).
    """
    questions = [_RANDOM, *(question for question in needs.questions() if question not in needs.older)]
    older = needs.older
    while True:
        program, asked = c_program(questions)
        status, out, diagnostics = compiler(program)
        if status == 0:
            break
        errors = [(asked.get(int(line)), words) for line, words in _ERROR.findall(diagnostics)]
        absent = {question for question, _ in errors if question is not None}
        if status != 1 or not absent or _RANDOM in absent:
            raise _failure(status, diagnostics)
        questions = [question for question in (*questions, *older) if question not in absent]
        older = set()
    values = json.loads(out)
    answers = {question: int(values[f"value_{number}"]) for number, question in enumerate(questions)}
    if answers.pop(_RANDOM):
        raise HostError(
            "cannot use bcc: this kernel's structures are laid out at random (CONFIG_RANDSTRUCT), and its headers "
            "don't say how",
            next_step="run a kernel with CONFIG_DEBUG_INFO_BTF=y, or use --backend ptrace",
        )
    return answers


def _failure(status: int, diagnostics: str) -> HostError:
    words = next(iter(re.findall(r"error: (.*)", diagnostics)), "") or diagnostics.strip().rpartition("\n")[2]
    if status == 2:
        return HostError(
            f"cannot use bcc: its package can't be loaded: {words}",
            next_step="install the distribution's: apt install python3-bpfcc (Debian, Ubuntu), dnf install python3-bcc "
            "(Fedora)",
            detail=diagnostics,
        )
    return HostError(
        f"cannot use bcc: it can't compile this kernel's headers: {words or 'no diagnostics'}",
        next_step="a newer bcc may know newer headers; --verbose shows the compiler's words",
        detail=diagnostics,
    )


def system_compiler(package: Path) -> Callable[[str], tuple[int, str, str]]:
    """The compiler of the bcc that is in ``package``. Raises HostError if it can't be run, or takes for ever."""

    def compile_with(text: str) -> tuple[int, str, str]:
        # -I: no PYTHON* variables and no user's folder decide what is imported. bcc itself runs modprobe and tar.
        argv = [_python(), "-I", str(Path(__file__).with_name("bcc_compile.py")), str(package)]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("BCC_")}
        try:
            done = subprocess.run(
                argv, input=text, capture_output=True, text=True, errors="replace", env=environment, cwd="/",
                timeout=_LIMIT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as e:
            raise HostError(f"cannot use bcc: {e}", next_step="see whether it runs: python3 -c 'import bcc'") from e
        return done.returncode, done.stdout, done.stderr

    return compile_with


def _python() -> str:
    """The distribution's Python, for which its bcc is made; it may be another than ours."""
    from shutil import which

    return which("python3", path="/usr/bin:/bin") or "python3"


@lru_cache(maxsize=1)
def btf_for(object_file: Path, package: Path) -> bytes:
    """A BTF of this kernel, with all that the object asks for; compiled once a process. Raises HostError."""
    try:
        needs = Needs(object_file.read_bytes())
    except (OSError, ValueError, IndexError, OverflowError, struct.error) as e:
        raise HostError(
            f"cannot use bcc: {object_file.name} can't be read: {e}",
            next_step="run `make bpf` in the source tree, or install the wheel again",
        ) from e
    return needs.btf(measure(needs, system_compiler(package)))
