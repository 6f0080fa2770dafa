"""One container storms from every CPU: what else stops on the node gets its verdicts, and so does the container itself.

tests/kernel/test_hiding.py is about storms at a container's own init; these are about everything else that it can make.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from sigtrace.errors import RunError
from sigtrace.model.finding import Finding
from tests.kernel.bench import Bench
from tests.kernel.test_hiding import BESIDE
from tests.stress.storming import KINDS, Books, Storm

#: So many others are stopped; the short form is for CI.
FEW, MANY = 10, 50
#: In CI: those that have been too much for sigtrace once, and everything at once.
QUICK = ("told", "crashes", "boxes", "wander", "all")
#: So many findings about one container may be kept beside those of others: an agent has room for 1,000.
FLOOD = 100


def beside(bench, number, kind):
    """One container is stopped; what was wrong with its verdict, in words."""
    name = BESIDE[number % len(BESIDE)]
    try:
        return bench.stop_one(name, f"beside-{kind}-{os.getpid()}-{number}")
    except RunError as error:
        return f"{name}: {error}"


def all_beside(bench, kind, count, threads):
    """So many containers are stopped; what was wrong with verdicts. After a wrong one no more are stopped: where none
    comes each would wait for a minute, and all together for longer than pytest lets them."""
    wrong = []

    def one(number):
        if not wrong and (words := beside(bench, number, kind)):
            wrong.append(words)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(count)))
    return wrong


def check_fair(program, kind, count, full=()):
    """``full``: the tables that it fills on purpose."""
    books = Books()
    bench = Bench()
    bench.capture.sinks.append(books)
    with bench:
        with Storm(program, kind) as storm:
            before = storm.total
            assert not all_beside(bench, kind, count, threads=4)
            assert storm.total > before, "there was no storm"
            stopped = storm.box.stop(0.3)
            shutdown, _ = bench.verdicts.wait_for_shutdown(storm.box.cgroup_id)
            ours = [v for v in bench.verdicts.of(storm.box.cgroup_id) if isinstance(v, Finding)]
            done = storm.total - before
        bench.finish()
        bench.finish = lambda: None
        ledger = bench.capture.lost()
    kept = {name: n for name, n in ledger.items() if n}
    print(f"{kind}: {done:,} beside {count} stops; {len(ours)} findings; {kept}")
    assert stopped.wait_status.signal == 9
    assert (shutdown.outcome, shutdown.cause) == ("escalated", "dropped")
    assert shutdown.wait_status == stopped.wait_status
    assert ledger["ring_life"] == ledger["ring_event"] == 0, "one container's storm filled a ring"
    assert {name for name in kept if "_full" in name and is_loss(name)} == {*full}, "which tables it filled"
    assert len(ours) < FLOOD, "its findings push those of others out of what an agent keeps"
    check_books(books, ledger)


def is_loss(name):
    """Whether this entry of the ledger is told as LOST. Zombies are found without their table, too."""
    counted = name.startswith(("limited_", "ring_")) or name == "missed"
    return counted or ("_full" in name and name != "zombies_full")


def check_books(books, ledger):
    """Every record was told, and every loss: to the last one."""
    assert books.records == ledger["recorded_event"] + ledger["recorded_life"]
    lost = sum(n for name, n in ledger.items() if is_loss(name))
    assert sum(books.lost.values()) == lost


@pytest.mark.parametrize("kind", QUICK)
def test_one_containers_storm_costs_no_other_its_verdict_nor_its_own(bpf_host, patient, storm, kind):
    check_fair(storm, kind, FEW)


@pytest.mark.prove
@pytest.mark.parametrize("kind", KINDS)
def test_fifty_containers_beside_a_storm_have_fifty_right_verdicts(bpf_host, patient, storm, kind):
    check_fair(storm, kind, MANY)


@pytest.mark.prove
def test_whoever_keeps_more_cgroups_than_a_table_holds_costs_no_other_its_verdict(bpf_host, patient, storm):
    check_fair(storm, "hoard", FEW, full=["payers_full"])
