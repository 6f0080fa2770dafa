"""A program of its own, run by the distribution's Python: compiles C by its package `bcc` and prints what it found.

Standard input: C whose functions each return a constant. Argument: the folder that has the package. Standard output:
JSON, {function: constant}. Diagnostics of the compiler go to standard error. Exit status: 0; 1 the C does not compile
(or the headers don't); 2 that package is not the BPF compiler collection.

A process of its own because bcc brings an LLVM: 190 MB for a moment, and whatever it may do to its process. It knows
nothing of sigtrace, and may be run by an older Python.
"""

from __future__ import annotations

import importlib.util
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any, Final

#: One BPF instruction: opcode, registers, offset, immediate (Documentation/bpf/standardization/instruction-set.rst).
_INSTRUCTION: Final = struct.Struct("<BBhi")
_MOV_R0: Final = {0xB7, 0xB4}  # BPF_ALU64 or BPF_ALU | BPF_MOV | BPF_K
_EXIT: Final = 0x95


def load_package(folder: str) -> Any:
    """The package bcc of that folder, and nothing else of it. Raises ImportError if it is another project's."""
    init = Path(folder) / "bcc" / "__init__.py"
    spec = importlib.util.spec_from_file_location("bcc", init, submodule_search_locations=[str(init.parent)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{init} can't be loaded")
    package = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = package
    spec.loader.exec_module(package)
    if not hasattr(getattr(package, "BPF", None), "dump_func") or not hasattr(package, "libbcc"):
        raise ImportError(f"{init} is not the BPF compiler collection (PyPI has another project of that name)")
    return package


def constant_of(code: bytes) -> int:
    """What ``return CONSTANT;`` was compiled to. Raises ValueError for any other code."""
    instructions = list(_INSTRUCTION.iter_unpack(code))
    if len(instructions) == 2:
        (move, registers, _, value), (end, *_) = instructions
        if move in _MOV_R0 and registers == 0 and end == _EXIT:
            return int(value)
    raise ValueError("this is no constant")


def main() -> int:
    """Reads, compiles, prints."""
    text = sys.stdin.read()
    try:
        package = load_package(sys.argv[1])
    except (ImportError, OSError, AttributeError) as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 2
    try:
        # As recent kernels are compiled (7.2 is): their structures have others in them without a member name.
        module = package.BPF(text=text.encode(), cflags=["-w", "-ferror-limit=0", "-fms-extensions"])
        names = re.findall(r"^int (\w+)\(void \*ctx\)", text, re.MULTILINE)
        found = {name: constant_of(module.dump_func(name.encode())) for name in names}
    except Exception as e:  # noqa: BLE001  # bcc raises nothing narrower
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return 1
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
