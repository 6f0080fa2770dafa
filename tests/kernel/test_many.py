"""Many containers, one after the other and at once: each gets its own verdict, once, and the right one."""

import os
import random
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest

from sigtrace.lab.needs import unmet
from sigtrace.lab.scenarios import SCENARIOS
from tests.kernel.bench import Bench


def stop_many(count, workers):
    possible = [name for name, one in SCENARIOS.items() if not unmet(one.needs)]
    names = random.Random(count).choices(possible, k=count)  # the same choice every time
    prefix = f"many-{os.getpid()}-"
    with Bench() as bench:
        if workers == 1:
            wrong = [bench.stop_one(name, f"{prefix}{i}", grace_s=0.1) for i, name in enumerate(names)]
        else:
            with ThreadPoolExecutor(workers) as pool:
                wrong = list(pool.map(lambda i: bench.stop_one(names[i], f"{prefix}{i}", grace_s=0.1), range(count)))
        ours = bench.shutdowns(prefix)
        lost = {name: n for name, n in bench.capture.lost().items() if n and not name.startswith("recorded")}
    assert not [w for w in wrong if w]
    assert len(ours) == count, "a shutdown was told twice, or of something else"
    assert not lost


def test_containers_stopped_one_after_the_other(bpf_host):
    stop_many(60, 1)


def test_containers_stopped_at_once(bpf_host):
    stop_many(48, 12)


@pytest.mark.prove
def test_a_thousand_containers_with_random_ends(bpf_host):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stop_many(1000, 1)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"1,000 containers, 1,000 right verdicts; peak RSS grew by {grown} kB")
