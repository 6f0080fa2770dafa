"""A snapshot goes over a socket as JSON: what comes back is the same, and nobody's JSON does any harm."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.model.causes import Severity
from sigtrace.model.event import Task
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.overview import (
    BRIEFS_MAX,
    HISTORY,
    ROWS_MAX,
    Brief,
    Row,
    Snapshot,
    SnapshotDecoder,
    SnapshotEncoder,
    as_plain,
    of_plain,
)
from sigtrace.model.workload import PreStop, PreStopKind, Workload, WorkloadKind

COUNT = st.integers(0, 1 << 40)
TIME = st.integers(0, 1 << 60)
TEXT = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=20)
SEVERITY = st.none() | st.sampled_from(list(Severity))


def workloads(cgroup_id):
    return st.builds(
        Workload,
        kind=st.just(WorkloadKind.CONTAINER),
        cgroup_id=st.just(cgroup_id),
        runtime=st.none() | TEXT,
        pod=st.none() | TEXT,
        namespace=st.none() | TEXT,
        asked=st.booleans(),
        grace_limit_s=st.none() | st.floats(0, 1e6, allow_nan=False),
        pre_stop=st.none() | st.builds(PreStop, st.sampled_from(list(PreStopKind)), st.tuples(TEXT)),
    )


BRIEFS = st.builds(Brief, TIME, TIME, TEXT, TEXT, SEVERITY, TEXT, TEXT, COUNT, COUNT, st.booleans())


def rows(cgroup_id):
    return st.builds(
        Row,
        workloads(cgroup_id),
        TIME,
        TIME,
        TEXT,
        st.none() | st.builds(Task, COUNT, TIME, TEXT, argv=st.none() | st.tuples(TEXT, TEXT)),
        COUNT,
        COUNT,
        st.floats(0, 1e9, allow_nan=False),
        st.lists(COUNT, max_size=HISTORY).map(tuple),
        COUNT,
        COUNT,
        COUNT,
        COUNT,
        COUNT,
        COUNT,
        TIME,
        SEVERITY,
        st.none() | BRIEFS,
    )


SNAPSHOTS = st.builds(
    Snapshot,
    TIME,
    TIME,
    TIME,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    COUNT,
    st.floats(0, 1e9, allow_nan=False),
    st.none() | st.floats(0, 1e9, allow_nan=False),
    st.dictionaries(TEXT, COUNT, max_size=3),
    st.tuples(rows(1), rows(2)) | st.just(()),
    COUNT,
    st.lists(BRIEFS, max_size=3, unique_by=lambda brief: brief.key).map(tuple),
)
ROW = Row(Workload(WorkloadKind.CONTAINER, 7, container_name="app", runtime="podman"), 1, signals=3, rate=0.5)


def over_the_wire(plain):
    return json.loads(json.dumps(plain, allow_nan=False))


@settings(max_examples=60, deadline=None)
@given(st.lists(SNAPSHOTS, min_size=1, max_size=4))
def test_a_stream_of_snapshots_is_the_same_at_the_other_end(snapshots):
    encoder, decoder = SnapshotEncoder(), SnapshotDecoder()
    assert [decoder.snapshot(over_the_wire(encoder.plain(one))) for one in snapshots] == snapshots


def test_one_snapshot_is_read_without_a_stream():
    snapshot = Snapshot(5, rows=(ROW,), lost={"ring-full": 3})
    assert of_plain(over_the_wire(as_plain(snapshot))) == snapshot


def test_a_row_that_did_not_change_is_neither_made_nor_read_again():
    encoder, decoder = SnapshotEncoder(), SnapshotDecoder()
    other = dataclasses.replace(ROW, workload=dataclasses.replace(ROW.workload, cgroup_id=8))
    first, second = Snapshot(1, rows=(ROW, other)), Snapshot(2, rows=(ROW, dataclasses.replace(other, signals=4)))
    plain, again = encoder.plain(first), encoder.plain(second)
    assert again["rows"][0] is plain["rows"][0]
    assert again["rows"][1]["workload"] is plain["rows"][1]["workload"]
    read, reread = decoder.snapshot(over_the_wire(plain)), decoder.snapshot(over_the_wire(again))
    assert reread.rows[0] is read.rows[0]
    assert reread.rows[1].workload is read.rows[1].workload
    assert reread == second


def broken(**changes):
    return over_the_wire(as_plain(Snapshot(1, rows=(ROW,)))) | changes


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        "x",
        {},
        broken(v=2),
        broken(v="1"),
        broken(rows=None),
        broken(rows={}),
        broken(rows=[1]),
        broken(rows=[{}]),
        broken(rows=[{"workload": 3}]),
        broken(rows=[{"workload": {"kind": "container", "cgroup_id": "7"}}]),
        broken(rows=[{"workload": {"kind": "container", "cgroup_id": 7}, "history": [0] * (HISTORY + 1)}]),
        broken(rows=[{"workload": {"kind": "container", "cgroup_id": 7}, "rate": "fast"}]),
        broken(rows=[{}] * (ROWS_MAX + 1)),
        broken(briefs=None),
        broken(briefs=[3]),
        broken(briefs=[{}] * (BRIEFS_MAX + 1)),
        broken(lost=[]),
        broken(lost={str(n): 1 for n in range(1000)}),
        broken(wall_ns=1 << 70),
        broken(rate=1e300),
    ],
)
def test_what_no_encoder_made_is_refused_in_one_way(plain):
    with pytest.raises(ValueError, match=r"."):
        of_plain(plain)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([f.name for f in dataclasses.fields(Snapshot)])
ROW_FIELDS = st.sampled_from([f.name for f in dataclasses.fields(Row)])


@settings(max_examples=300, deadline=None)
@given(FIELDS, ROW_FIELDS, JSON, JSON)
def test_whatever_stands_in_a_field_it_is_read_or_refused(name, row_name, value, row_value):
    plain = broken()
    plain["rows"][0][row_name] = row_value
    plain[name] = value
    try:
        snapshot = of_plain(plain)
    except ValueError:
        return
    assert len(snapshot.rows) <= ROWS_MAX


def test_text_that_a_terminal_would_act_on_is_made_harmless():
    plain = broken()
    plain["rows"][0]["workload"]["container_name"] = "\x1b[31mred\u202e"
    assert of_plain(plain).rows[0].workload.container_name == "\\x1b[31mred\\u202e"


def test_what_a_later_version_adds_is_passed_over():
    plain = broken(new={"a": 1})
    plain["rows"][0]["new"] = 5
    assert of_plain(plain).rows == (ROW,)


def test_a_choice_keeps_its_containers_and_what_is_nobody_s():
    other = dataclasses.replace(ROW, workload=dataclasses.replace(ROW.workload, cgroup_id=8, container_name="b"))
    briefs = tuple(Brief(n, n, "killed", "", None, "x", "x", n) for n in (7, 8, 0))
    chosen = Snapshot(1, rows=(ROW, other), briefs=briefs).only(WorkloadFilter(container="b"))
    assert [row.workload.cgroup_id for row in chosen.rows] == [8]
    assert [brief.cgroup_id for brief in chosen.briefs] == [8, 0]
    assert chosen.row(8) is other
    assert chosen.row(7) is None
