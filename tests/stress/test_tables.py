"""The kernel side's tables shrunk to a page or less: what they can't hold is counted, and nothing told wrong."""

import contextlib
import os
import subprocess
import sys

import pytest

from sigtrace.lab.container import Container
from sigtrace.model.event import Kind
from sigtrace.sources import loaded
from tests.kernel.bench import Bench
from tests.stress.storming import Books, Storm
from tests.stress.test_fairness import beside, check_books

SIGTERM = 15
#: Every table of the kernel side, and so few entries; what a page holds of the smallest is less.
TABLES = ("counts", "zombies", "limits", "stopping", "gone", "watched", "followed", "payers", "exited")
ENTRIES = 8
#: But of budgets as many as a page holds: whoever finds no room there shares one with all others in that case, so that
#: with fewer a storm would have the limiter keep the records of those beside it. That is counted, too.
LIMITS = 4096 // (8 + 80)


@pytest.fixture
def tiny(monkeypatch):
    """Makes tables of a page at most."""
    opened = loaded.opened

    def shrink(*tables):
        def small(*args, **kwargs):
            bpf = opened(*args, **kwargs)
            for table in tables:
                bpf.set_max_entries(table, LIMITS if table == "limits" else ENTRIES)
            return bpf

        monkeypatch.setattr(loaded, "opened", small)

    return shrink


#: 16 zombies, which nobody waits for, so that the table is full.
ZOMBIES = """
import os, time
for _ in range(16):
    if not os.fork():
        os._exit(0)
print("16 zombies", flush=True)
time.sleep(1000)
"""


@contextlib.contextmanager
def zombies_there():
    """After the capture was opened: what was a zombie before takes no room."""
    with subprocess.Popen([sys.executable, "-c", ZOMBIES], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout.readline() == b"16 zombies\n"
            yield
        finally:
            parent.kill()


def test_tables_of_a_page_count_what_they_cannot_hold_and_tell_nothing_wrong(bpf_host, patient, tiny, storm):
    tiny(*TABLES)
    books = Books()
    bench = Bench()
    bench.capture.sinks.append(books)
    with bench, zombies_there():
        before = bench.capture.counts()
        with Storm(storm, "told") as one:
            wrong = [w for w in (beside(bench, n, "tiny") for n in range(6)) if w]
            one.calm()
            sent, home = one.total, one.box.cgroup_id
        after = bench.capture.counts()
        bench.finish()
        bench.finish = lambda: None
        ledger = bench.capture.lost()
    print({name: n for name, n in ledger.items() if n})
    assert after.signals_total - before.signals_total >= sent, "in their own counters or in those of the others"
    told = books.by_cgroup[home, Kind.SIGNAL_GENERATE, SIGTERM]
    assert told + ledger["limited_event"] >= sent
    assert [name for name, n in ledger.items() if n and "_full" in name], "nothing was too small"
    check_books(books, ledger)
    assert not wrong


#: The leader leaves first: the last thread to exit is another.
LEADERLESS = """
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>
static void *other(void *leader)
{
	pthread_join(*(pthread_t *)leader, NULL);
	puts("leaderless");
	fflush(stdout);
	getchar();
	exit(3);
}
int main(void)
{
	static pthread_t leader, thread;
	leader = pthread_self();
	pthread_create(&thread, NULL, other, &leader);
	pthread_exit(NULL);
}
"""


def test_an_end_is_told_though_others_zombies_fill_the_table_and_the_leader_left_first(bpf_host, tiny, tmp_path):
    tiny("zombies")
    source, program = tmp_path / "leaderless.c", tmp_path / "leaderless"
    source.write_text(LEADERLESS)
    subprocess.run(["cc", "-O1", "-pthread", "-o", program, source], check=True)
    with Bench() as bench, zombies_there():
        with Container(f"leaderless-{os.getpid()}") as box:
            box.start([str(program)])
            assert box.wait().exit_code == 3
            shutdown, _ = bench.verdicts.wait_for_shutdown(box.cgroup_id)
            exits = bench.capture.counts().exits
        full = bench.capture.lost()["zombies_full"]
    assert full
    assert (shutdown.outcome, shutdown.cause, shutdown.wait_status.exit_code) == ("crashed", "exit-status", 3)
    assert exits[box.cgroup_id, 3 << 8] == 1
