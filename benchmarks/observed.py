# SPDX-License-Identifier: Apache-2.0
"""What is alive in an agent, minute by minute: resident memory says that something grew, this says what.

    .venv/bin/python -m benchmarks.soak --minutes 30 --sigtrace benchmarks/observed      # any command of sigtrace
    .venv/bin/python -m benchmarks.observed grown 400        # what rose from 400 s on, of types and of tables

A thread of the agent walks all its objects each two minutes, and writes a line to build/observed.jsonl: resident
memory, allocated blocks, objects by type, and the lengths of the tables that objects of sigtrace and OpenTelemetry
hold, by attribute. A walk takes some tenths of a second, in which the agent does nothing else.
"""

import gc
import json
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks import build

FILE: Final = build.ROOT / "build" / "observed.jsonl"
_INTERVAL_S: Final = 120.0
_OWNERS: Final = ("sigtrace", "opentelemetry")
_TABLES: Final = (dict, list, set, frozenset, deque, tuple, bytearray)
_TYPES: Final = 100
#: What rose by less says nothing.
_LEAST: Final = 20


def observe() -> None:
    """For ever."""
    began = time.monotonic()
    with FILE.open("w") as out:
        while True:
            time.sleep(_INTERVAL_S)
            json.dump({"at_s": round(time.monotonic() - began)} | look(), out)
            print(file=out, flush=True)


def look() -> dict[str, Any]:
    """At everything that the collector knows; strings and numbers it does not."""
    types, tables = Counter[str](), Counter[str]()
    for one in gc.get_objects():
        kind = type(one)
        name = f"{kind.__module__}.{kind.__qualname__}"  # anything may be called __module__
        types[name] += 1
        if name.startswith(_OWNERS):
            for attribute, value in attributes(one):
                if isinstance(value, _TABLES):
                    tables[f"{name}.{attribute}"] += len(value)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4
    memory = {"resident kB": resident, "allocated blocks": sys.getallocatedblocks()}
    return {"memory": memory, "types": dict(types.most_common(_TYPES)), "tables": dict(tables)}


def attributes(one: object) -> Iterator[tuple[str, object]]:
    """Those of the object itself, in slots too."""
    yield from list(getattr(one, "__dict__", {}).items())
    for cls in type(one).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(one, name):
                yield name, getattr(one, name)


def grown(lines: list[str], from_s: float) -> str:
    """What was more at the end than at ``from_s``, with all that it was between; who rose most first."""
    walks = [walk for walk in map(json.loads, lines) if walk["at_s"] >= from_s]
    if len(walks) < 2:
        return f"{len(walks)} walks since {from_s:g} s: too few"
    text = [f"walks at {', '.join(str(walk['at_s']) for walk in walks)} s"]
    for what, least in (("memory", 0), ("types", _LEAST), ("tables", _LEAST)):
        rows = {name: [walk[what].get(name, 0) for walk in walks] for walk in walks for name in walk[what]}
        rose = sorted(((row[-1] - row[0], name, row) for name, row in rows.items()), reverse=True)
        text += [f"{more:+7} {name} {row}" for more, name, row in rose if more >= least]
    return "\n".join(text)


def main() -> int:
    """The exit status: sigtrace's."""
    if sys.argv[1:2] == ["grown"]:
        if not FILE.exists():
            print(f"observed: there is no {FILE}; run a soak with --sigtrace benchmarks/observed", file=sys.stderr)
            return 2
        print(grown(FILE.read_text().splitlines(), float(sys.argv[2]) if sys.argv[2:] else 0))
        return 0
    FILE.parent.mkdir(exist_ok=True)
    threading.Thread(target=observe, daemon=True, name="observer").start()
    from sigtrace.__main__ import main as run

    sys.argv[0] = "sigtrace"
    return run()


if __name__ == "__main__":
    sys.exit(main())
