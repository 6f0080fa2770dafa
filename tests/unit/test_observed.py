"""The observer of what is alive in an agent (benchmarks/observed.py)."""

import json

from benchmarks import observed
from sigtrace.detectors.containers import Containers


def test_it_sees_the_tables_of_sigtraces_objects_in_slots_and_without():
    class Slotted(Containers):
        __slots__ = ("held",)
        __module__ = "sigtrace.test"

    one = Slotted()
    one.held = [1, 2, 3]
    one._containers.update(dict.fromkeys(range(50)))
    found = observed.look()
    name = f"sigtrace.test.{Slotted.__qualname__}"
    assert (found["tables"][f"{name}.held"], found["tables"][f"{name}._containers"]) == (3, 50)
    assert found["memory"]["resident kB"] > 1000


def test_what_rose_is_told_the_most_first_and_the_rest_is_not():
    walks = [
        {"at_s": at, "memory": {"resident kB": 100 + at}, "types": {"a.B": at, "a.C": 5}, "tables": {"a.B.t": 2 * at}}
        for at in (120, 240, 360)
    ]
    told = observed.grown([json.dumps(walk) for walk in walks], 200).splitlines()
    assert told == [
        "walks at 240, 360 s",
        "   +120 resident kB [340, 460]",
        "   +120 a.B [240, 360]",
        "   +240 a.B.t [480, 720]",
    ]
    assert observed.grown([json.dumps(walks[0])], 0) == "1 walks since 0 s: too few"
