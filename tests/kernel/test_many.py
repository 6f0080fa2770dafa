"""Many containers, one after the other and at once: each gets its own verdict, once, and the right one."""

import os
import random
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest

from sigtrace.agent import Capture, run_in_background
from sigtrace.demonstration import Verdicts, mismatch
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.finding import Shutdown
from sigtrace.sources.options import BpfOptions


class Bench:
    """A capture in the background, and what it said of each container."""

    def __init__(self):
        self.verdicts = Verdicts()
        self.capture = Capture("bpf", BpfOptions(), [self.verdicts])

    def __enter__(self):
        self.capture.__enter__()
        self.finish = run_in_background(self.capture)
        return self

    def __exit__(self, *error):
        self.finish()
        self.capture.__exit__(*error)

    def stop_one(self, name, number):
        """Run a scenario; return what was wrong with the verdict."""
        result = run(SCENARIOS[name], grace_s=0.1, container=f"many-{os.getpid()}-{number}")
        shutdown, findings = self.verdicts.wait_for_shutdown(result.cgroup_id)
        wrong = mismatch(SCENARIOS[name], result, shutdown, findings)
        return f"{number} {name}: {wrong}" if wrong else ""

    def shutdowns(self):
        return [v for v in self.verdicts.verdicts if isinstance(v, Shutdown)]


def stop_many(count, workers):
    names = random.Random(count).choices(list(SCENARIOS), k=count)  # the same choice every time
    with Bench() as bench:
        if workers == 1:
            wrong = [bench.stop_one(name, i) for i, name in enumerate(names)]
        else:
            with ThreadPoolExecutor(workers) as pool:
                wrong = list(pool.map(bench.stop_one, names, range(count)))
        # The machine may have real containers too: only ours count.
        ours = [s for s in bench.shutdowns() if (s.workload.container_name or "").startswith(f"many-{os.getpid()}-")]
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
