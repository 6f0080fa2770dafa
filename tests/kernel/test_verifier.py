"""What the verifier goes through before a program may run: a number, not a time, and the same on every run."""

import re
from pathlib import Path

import pytest

from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.loaded import PROGRAMS
from sigtrace.sources.options import BpfOptions
from tests.raw import FittedByBtf

#: The limit is a million; where a branch too many makes ways double, it is reached at once. The largest has 4,200.
ENOUGH = 20_000


@pytest.mark.parametrize("source", [BpfSource, FittedByBtf], ids=["with BTF", "without"])
def test_every_program_is_short_work_for_the_verifier(bpf_host, source):
    opened = source(BpfOptions())
    opened.open()
    try:
        verified = {}
        for name in PROGRAMS:
            about = Path(f"/proc/self/fdinfo/{opened._loaded.object.program_fd(name)}").read_text(encoding="ascii")
            if (said := re.search(r"^verified_insns:\s*(\d+)$", about, re.MULTILINE)) is None:
                pytest.skip("before Linux 5.16 the kernel does not say how much the verifier had to do")
            verified[name] = int(said[1])
    finally:
        opened.close()
    assert max(verified.values()) < ENOUGH, verified
    assert min(verified.values()) > 0
