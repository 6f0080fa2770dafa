"""What glibc's allocator is told by an agent."""

import subprocess
import sys

import pytest

_BEGIN = """
import ctypes, os, sys
from sigtrace.agent._malloc import give_back, tune

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_trim"):
    sys.exit("no glibc")
tune()
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.free.argtypes = (ctypes.c_void_p,)
"""
_SMALL = """
made = [libc.malloc(100_000) for _ in range(400)]
for one in made:
    ctypes.memset(one, 1, 100_000)
for one in made[:-1]:  # the last lies at the end of the heap, and glibc gives back nothing below it
    libc.free(one)
before = resident()
give_back()
print(before - resident())
"""
_LARGE = """
for _ in range(2):  # the first that is freed would have the second put into the heap
    made, stays = libc.malloc(1_000_000), libc.malloc(100)
    heap = libc.sbrk(0)
    assert not heap - 2_000_000 <= made < heap, "in the heap"
    libc.free(made)
print(1)
"""


def _printed(program):
    done = subprocess.run([sys.executable, "-c", _BEGIN + program], capture_output=True, text=True, check=False)
    if done.stderr.strip() == "no glibc":
        pytest.skip("no glibc: nothing is tuned")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_what_was_freed_below_what_stays_goes_back_to_the_kernel():
    assert _printed(_SMALL) > 30_000_000


def test_what_is_large_lies_apart_from_the_heap_also_after_such_was_freed():
    assert _printed(_LARGE)
