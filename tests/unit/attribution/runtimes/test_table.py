"""What is kept for how long."""

import pytest

from sigtrace.attribution.runtimes import table as module
from sigtrace.attribution.runtimes.table import KEPT_S, UNKNOWN_S, Table, merge
from sigtrace.model.workload import WorkloadKind
from tests.unit.attribution.runtimes.fakes import ident, info, workload


@pytest.fixture
def table():
    return Table()


def test_names_are_put_into_a_workload_and_what_is_not_told_stays():
    before = workload(runtime="unknown", pod_uid="hash", qos="burstable", stop_signal=15)
    told = info(name="web", pod="api", namespace="default", pod_uid="u-1", grace_limit_s=0.0)
    after = merge(before, told)
    assert (after.runtime, after.container_name, after.pod, after.namespace) == ("containerd", "web", "api", "default")
    assert (after.pod_uid, after.qos, after.grace_limit_s, after.stop_signal) == ("u-1", "burstable", 0.0, 15)
    assert (after.cgroup_id, after.cgroup) == (before.cgroup_id, before.cgroup)


def test_a_sandbox_is_one_if_either_says_so():
    assert merge(workload(), info(kind=WorkloadKind.SANDBOX)).kind is WorkloadKind.SANDBOX
    by_name = merge(workload(), info(kind=WorkloadKind.SANDBOX))
    assert merge(by_name, info()).kind is WorkloadKind.SANDBOX


def test_the_same_workload_gets_the_same_answer_until_it_is_told_anew(table):
    entry = table.begin(ident(1), None, 0)
    asked = workload()
    assert entry.apply(asked) is asked
    table.tell(info(name="old"), None, 1)
    first = entry.apply(asked)
    assert first.container_name == "old"
    assert entry.apply(asked) is first
    table.tell(info(name="new"), None, 2)
    assert entry.apply(asked).container_name == "new"


def test_what_is_told_while_the_capture_reads_is_not_hidden_by_the_old(table, monkeypatch):
    def telling(asked, told):
        if told.name == "old":
            table.tell(info(name="new"), None, 1)  # the other thread, just now
        return merge(asked, told)

    table.tell(info(name="old"), None, 0)
    asked = workload()
    monkeypatch.setattr(module, "merge", telling)
    table.entries[ident(1)].apply(asked)
    assert table.entries[ident(1)].apply(asked).container_name == "new"


def test_one_that_is_gone_is_kept_for_ten_minutes(table):
    table.tell(info(), None, 0)
    table.went(ident(1), 100)
    table.sweep(100 + KEPT_S - 1)
    assert ident(1) in table.entries
    table.sweep(100 + KEPT_S)
    assert ident(1) not in table.entries


def test_one_that_begins_again_is_not_gone_and_keeps_its_names(table):
    table.tell(info(), None, 0)
    table.went(ident(1), 100)
    table.begin(ident(1), None, 200)
    table.sweep(100 + 2 * KEPT_S)
    assert table.entries[ident(1)].info == info(main_pid=None)


def test_what_arrives_after_its_end_makes_nothing_alive(table):
    table.begin(ident(1), None, 0)
    table.went(ident(1), 1)
    table.tell(info(), None, 2)
    table.sweep(1 + KEPT_S)
    assert not table.entries


def test_going_twice_does_not_keep_it_longer(table):
    table.tell(info(), None, 0)
    table.went(ident(1), 1)
    table.went(ident(1), 500)
    table.sweep(1 + KEPT_S)
    assert not table.entries


def test_one_that_nobody_knows_is_forgotten_soon_to_be_asked_for_again(table):
    table.begin(ident(1), None, 0)
    table.begin(ident(2), None, 0)
    table.went(ident(2), 1)
    table.sweep(UNKNOWN_S)
    assert not table.entries


def test_a_full_table_gives_up_the_unknown_first_then_those_that_went_and_then_the_oldest(table, monkeypatch):
    monkeypatch.setattr(module, "KNOWN_MAX", 3)
    for number in (1, 2, 3):
        table.tell(info(number), None, number)
    table.went(ident(2), 4)
    table.begin(ident(4), None, 5)
    assert set(table.entries) == {ident(1), ident(3), ident(4)}
    table.begin(ident(5), None, 6)
    assert set(table.entries) == {ident(1), ident(3), ident(5)}
    table.tell(info(5), None, 7)
    table.begin(ident(6), None, 8)
    assert set(table.entries) == {ident(3), ident(5), ident(6)}
    assert table.evicted == 3


def test_invented_ids_push_out_nobody_who_is_there(table, monkeypatch):
    monkeypatch.setattr(module, "KNOWN_MAX", 20)
    for number in range(10):
        table.tell(info(number), None, number)
    for number in range(1000, 1200):
        table.begin(ident(number), None, number)
    assert {ident(number) for number in range(10)} <= set(table.entries)


def test_going_without_having_come_is_nothing(table):
    table.went(ident(1), 1)
    table.forget(ident(1))
    table.sweep(1_000_000)
    assert not table.entries
