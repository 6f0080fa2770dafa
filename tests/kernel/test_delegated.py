"""A user with a delegated cgroup may make any number, in any depth: of the table of budgets he gets his part."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sigtrace.lab.cgroup import find_hierarchy
from sigtrace.sources.budgets import DELEGATED_MAX
from tests.kernel.bench import Bench

USER = 54321
#: In two levels: a budget for each parent's children would not stop it.
PARENTS, EACH = 40, 120
MAKE = f"""
import os, sys
os.setresuid({USER}, {USER}, {USER})
for p in range({PARENTS}):
    for n in range({EACH}):
        os.makedirs(f"{{sys.argv[1]}}/{{p}}/{{n}}")
"""


def made_by_user(top: Path):
    subprocess.run([sys.executable, "-c", MAKE, top], check=True)
    return {one.stat().st_ino for one in (*top.glob("*/"), *top.glob("*/*/"))}


def remove_below(top: Path):
    for folder, names, _ in os.walk(top, topdown=False):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(f"{folder}/{name}")


@pytest.fixture
def delegated():
    """A cgroup that is the user's, as user@UID.service is."""
    top = Path(find_hierarchy().mount) / f"sigtrace-test-delegated-{os.getpid()}"
    top.mkdir()
    os.chown(top, USER, USER)
    yield top
    remove_below(top)
    top.rmdir()


def keys(table):
    return {int.from_bytes(key, "little") for key, _ in table.items()}


def test_a_user_who_hoards_cgroups_leaves_room_in_the_table_of_budgets(bpf_host, delegated):
    with Bench() as bench:
        loaded = bench.capture._source._loaded
        made = made_by_user(delegated)
        own, charged = made & keys(loaded.limits), made & keys(loaded.payers)
        assert len(made) == PARENTS * (EACH + 1)
        assert 0 < len(own) <= DELEGATED_MAX
        assert own | charged == made, "one of them has no entry at all"
        later = delegated / "by-root"
        later.mkdir()
        assert later.stat().st_ino in keys(loaded.limits)
        assert not bench.capture.lost()["limits_full"]
        remove_below(delegated)
        again = made_by_user(delegated)
        assert len(again & keys(loaded.limits)) == len(own), "what was removed was not given back"


def test_what_a_user_hoarded_before_leaves_room_too(bpf_host, delegated):
    made = made_by_user(delegated)
    with Bench() as bench:
        own = made & keys(bench.capture._source._loaded.limits)
        assert 0 < len(own) <= DELEGATED_MAX
        assert bench.capture.lost()["unowned"] >= len(made) - DELEGATED_MAX
