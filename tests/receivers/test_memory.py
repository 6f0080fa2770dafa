"""Memory: what a collector that is away costs at most, and that nothing grows with what was exported."""

import gc
import subprocess
import sys
import textwrap
import tracemalloc

import pytest

from tests.receivers.sending import sending
from tests.receivers.servers import HttpReceiver

#: Prints the resident memory (KiB) at the beginning, in the middle and at the end.
_MANY = """
    import sys, time
    from tests.receivers.sending import sending

    def resident():
        with open("/proc/self/status", encoding="ascii") as status:
            return next(line.split()[1] for line in status if line.startswith("VmRSS"))

    url, many = sys.argv[1], int(sys.argv[2])
    with sending(url) as sender:
        for n in range(many):
            sender.stop_one(n)
            while sender.tally.waiting > 1000:
                time.sleep(0.001)
            if n in (many // 10, many // 2):
                print(resident())
        while sender.tally.waiting:
            time.sleep(0.001)
        print(resident())
        assert sender.tally.exported == 3 * many, sender.tally
"""


@pytest.mark.prove
def test_nothing_grows_over_ten_thousand_shutdowns():
    with HttpReceiver() as receiver:
        receiver.checker.take_traces = lambda _: None  # it would keep them all
        command = [sys.executable, "-c", textwrap.dedent(_MANY), receiver.url, "10000"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert not done.returncode, done.stderr
    early, middle, late = map(int, done.stdout.split())
    assert late - early < 2048, f"{early} KiB after 1,000 shutdowns, {middle} after 5,000, {late} after 10,000"


def test_a_collector_that_is_away_costs_a_full_queue_and_no_more(wait_until):
    with HttpReceiver() as receiver:
        receiver.stop()
        with sending(receiver.url) as sender:
            for n in range(1000):
                sender.stop_one(n)
            assert sender.tally.dropped
            wait_until(lambda: sender.lines)  # the first request is made, and has failed
            gc.collect()
            tracemalloc.start()
            try:
                for n in range(1000, 4000):
                    sender.stop_one(n)
                gc.collect()
                grown, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert sender.adds_up()
            assert sender.tally.made == 12_000
    # 9,000 spans would be megabytes.
    assert grown < 256 * 1024
