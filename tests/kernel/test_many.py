"""Many containers, and many processes in one: each container gets its own verdict, once, and the right one.

Every scenario once, one after the other and all at once, is in test_verdicts.py.
"""

import os
import random
import resource
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenarios import SCENARIOS
from tests.kernel.bench import Bench, none_wrong


def stop_many(count, workers):
    possible = [name for name, one in SCENARIOS.items() if not unmet(one.needs)]
    names = random.Random(count).choices(possible, k=count)  # the same choice every time
    prefix = f"many-{os.getpid()}-"
    with Bench() as bench, ThreadPoolExecutor(workers) as pool:
        none_wrong(list(pool.map(lambda i: bench.stop_one(names[i], f"{prefix}{i}", grace_s=0.1), range(count))))
        ours = bench.shutdowns(prefix)
        counts = bench.capture.lost().items()
    lost = {name: n for name, n in counts if n and not name.startswith(("recorded", "limited"))}
    assert len(ours) == count, "a shutdown was told twice, or of something else"
    assert not lost


@pytest.mark.prove
def test_two_thousand_containers_with_random_ends_twelve_at_once(bpf_host):
    """So many records come while a batch is read that whatever is told in a wrong order shows."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stop_many(2_000, 12)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"2,000 containers, 2,000 right verdicts; peak RSS grew by {grown} kB")


def test_a_container_of_hundreds_that_leaves_in_order_is_graceful(bpf_host, tmp_path):
    """More exits than the limiter lets through: who was not seen to end is accused of nothing."""
    (tmp_path / "many.py").write_text(
        textwrap.dedent("""\
            import os, signal
            children = []
            for _ in range(250):
                child = os.fork()
                if not child:
                    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
                    while True:
                        signal.pause()
                children.append(child)
            def leave(*_):
                for child in children:
                    os.kill(child, signal.SIGTERM)
                for child in children:
                    os.waitpid(child, 0)
                os._exit(0)
            signal.signal(signal.SIGTERM, leave)
            print("up", flush=True)
            while True:
                signal.pause()
        """)
    )
    with Bench() as bench, Container(f"many-{os.getpid()}", workdir=tmp_path) as box:
        box.start(["python3", "many.py"])
        box.wait_ready(b"up\n")
        assert box.stop(20).wait_status.raw == 0
        shutdown, findings = bench.verdicts.wait_for_shutdown(box.cgroup_id)
        assert bench.capture.lost()["limited_event"] > 0
    assert (shutdown.outcome, findings) == ("graceful", [])
