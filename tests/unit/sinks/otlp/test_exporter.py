"""Queue, slot and delivery against a collector that is a script: the ledger is exact at every step, nobody waits."""

import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigtrace.sinks.otlp import exporter as module
from sigtrace.sinks.otlp.answers import Accepted, Later, Refused
from sigtrace.sinks.otlp.endpoint import Endpoint
from sigtrace.sinks.otlp.exporter import Exporter
from sigtrace.sinks.otlp.queues import REQUEST_MAX
from sigtrace.sinks.otlp.settings import OtlpSettings

END = Endpoint("http://collector:4318/v1/traces")


class Collector:
    """Answers by its script, then accepts all."""

    def __init__(self):
        self.script = []
        self.got = []
        self.tried = 0
        self.gate = threading.Event()
        self.gate.set()
        self.aborted = False

    def send(self, body, timeout_s):
        assert timeout_s > 0
        self.gate.wait(30)
        self.tried += 1
        answer = self.script.pop(0) if self.script else Accepted()
        if isinstance(answer, Accepted):
            self.got.append(body)
        return answer

    def close(self): ...

    def abort(self):
        self.aborted = True
        self.gate.set()


@pytest.fixture
def world(monkeypatch):
    """(make an exporter, its collectors, what it told). What was opened is closed."""
    collectors = {"traces": Collector(), "metrics": Collector()}
    monkeypatch.setattr(module, "client_for", lambda _, signal: collectors[signal])
    opened, lines = [], []

    def make(**fields):
        fields = {"traces": END, "metrics": END, "delay_s": 0.0, "backoff_s": 0.001} | fields
        opened.append(Exporter(OtlpSettings(**fields), tell=lines.append))
        return opened[-1]

    yield make, collectors, lines
    for exporter in opened:
        exporter.close(0)


def adds_up(exporter):
    for tally in exporter.ledger().values():
        assert tally.made == tally.exported + tally.lost + tally.waiting
    return True


def spans(exporter):
    return exporter.ledger()["spans"]


def points(exporter):
    return exporter.ledger()["data_points"]


def test_what_is_put_is_sent_in_order_and_counted(world, wait_until):
    make, collectors, lines = world
    exporter = make()
    for n in range(20):
        assert exporter.put_spans(n + 1, lambda n=n: b"%d;" % n)
    wait_until(lambda: adds_up(exporter) and spans(exporter).exported == 210)
    assert b"".join(collectors["traces"].got) == b"".join(b"%d;" % n for n in range(20))
    assert exporter.close() is None
    assert not lines


def test_what_the_collector_has_or_will_never_have_is_settled_and_nothing_else(world, wait_until):
    make, collectors, _ = world
    collector, settled = collectors["traces"], []
    exporter = make(batch=1, queue=3)
    collector.script = [
        Later("busy"),
        Accepted(),
        Refused("bad"),
        Refused("huge", too_large=True),
        Accepted(rejected=1),
    ]

    def broken():
        raise RuntimeError("no such field")

    for n, build in enumerate([*[lambda: b"x"] * 4, broken]):
        assert exporter.put_spans(1, build, lambda n=n: settled.append(n))
        wait_until(lambda: spans(exporter).waiting == 0)
    assert settled == [0, 1, 2, 3, 4]
    collector.script = [Later("busy", 100.0)] * 5
    kept = [exporter.put_spans(1, lambda: b"x", lambda: settled.append("late")) for _ in range(10)]
    assert kept == [True] * 3 + [False] * 7
    exporter.close(0.05)
    assert settled == [0, 1, 2, 3, 4], "those for which there was no room, or no time, are left to the next agent"


def test_what_is_ignored_of_the_settings_is_told(world):
    make, _, lines = world
    make(ignored=("OTEL_X: 'y': there is no such thing",))
    assert lines == ["OTLP: OTEL_X: 'y': there is no such thing; it is ignored"]


def test_at_the_end_nothing_is_said_to_wait(world, wait_until):
    """The request that was on its way is ended, and fails; who ends it has said what is lost."""
    make, collectors, lines = world
    collectors["traces"].gate.clear()
    collectors["traces"].script = [Later("the connection was closed")]
    exporter = make(metrics=None)
    exporter.put_spans(7, lambda: b"x")
    wait_until(lambda: spans(exporter).waiting == 7)
    assert exporter.close(0.05).startswith("7 spans could not be sent within 0.05 s")
    assert lines == []


def test_a_full_queue_drops_the_newest_whole_and_never_waits(world, wait_until):
    make, collectors, _ = world
    collectors["traces"].gate.clear()
    exporter = make(queue=10, batch=10)
    taken = [exporter.put_spans(3, lambda: b"x") for _ in range(100)]
    assert taken == [True] * 3 + [False] * 97
    assert (spans(exporter).waiting, spans(exporter).dropped) == (9, {"queue-full": 291})
    collectors["traces"].gate.set()
    wait_until(lambda: adds_up(exporter) and spans(exporter).exported == 9)
    assert "291 spans were dropped" in exporter.close()


def test_a_collector_that_is_down_is_tried_until_it_is_back(world, wait_until):
    make, collectors, lines = world
    collectors["traces"].script = [Later("Connection refused")] * 5
    exporter = make()
    exporter.put_spans(2, lambda: b"x")
    wait_until(lambda: adds_up(exporter) and spans(exporter).exported == 2)
    assert spans(exporter).retried == 10
    assert collectors["traces"].got == [b"x"]
    wait_until(lambda: len(lines) == 2)
    assert lines[0] == "OTLP: http://collector:4318/v1/traces: Connection refused; 2 spans wait, it is tried again"
    assert lines[1].startswith("OTLP: http://collector:4318/v1/traces answers again after ")
    assert lines[1].endswith("nothing was dropped")


def test_what_is_refused_is_not_sent_again(world, wait_until):
    make, collectors, lines = world
    collectors["traces"].script = [Refused("HTTP 400: no")]
    exporter = make()
    exporter.put_spans(2, lambda: b"bad")
    wait_until(lambda: spans(exporter).lost)
    exporter.put_spans(3, lambda: b"good")
    wait_until(lambda: adds_up(exporter) and spans(exporter).exported == 3)
    assert spans(exporter).dropped == {"rejected": 2}
    assert lines == ["OTLP: http://collector:4318/v1/traces refused 2 spans: HTTP 400: no"]


def test_of_a_partial_success_the_rest_is_exported(world, wait_until):
    make, collectors, lines = world
    collectors["traces"].script = [Accepted(3, "too old")]
    exporter = make()
    exporter.put_spans(5, lambda: b"x")
    wait_until(lambda: adds_up(exporter) and not spans(exporter).waiting)
    assert (spans(exporter).exported, spans(exporter).dropped) == (2, {"rejected": 3})
    assert lines == ["OTLP: http://collector:4318/v1/traces rejected 3 of 5 spans: too old"]


def test_the_same_complaint_is_told_once_a_minute(world, wait_until):
    make, collectors, lines = world
    collectors["traces"].script = [Refused("no")] * 50
    exporter = make(batch=1)
    for _ in range(50):
        exporter.put_spans(1, lambda: b"x")
    wait_until(lambda: adds_up(exporter) and spans(exporter).lost == 50)
    assert len(lines) == 1


def test_what_is_too_large_is_halved_until_it_fits_or_is_alone(world, wait_until):
    make, collectors, _ = world
    collector = collectors["traces"]
    collector.gate.clear()
    collector.send = lambda body, _: (
        Refused("too large", too_large=True) if len(body) > 3 else collector.got.append(body) or Accepted()
    )
    exporter = make(delay_s=60.0, batch=9)
    for body in (b"1", b"2", b"3", b"4", b"5", b"monster", b"7", b"8", b"9"):
        exporter.put_spans(1, lambda body=body: body)
    wait_until(lambda: adds_up(exporter) and not spans(exporter).waiting)
    assert sorted(b"".join(collector.got)) == sorted(b"12345789")
    assert spans(exporter).dropped == {"too-large": 1}


def test_requests_are_bounded_in_bytes(world, wait_until):
    make, collectors, _ = world
    exporter = make(delay_s=60.0, batch=9)
    for _ in range(9):
        exporter.put_spans(1, lambda: b"x" * (REQUEST_MAX // 4))
    wait_until(lambda: spans(exporter).exported == 9)
    assert [len(body) // (REQUEST_MAX // 4) for body in collectors["traces"].got] == [4, 4, 1]


def test_a_verdict_that_cannot_be_told_stops_no_other(world, wait_until):
    make, collectors, lines = world
    exporter = make(delay_s=60.0, batch=3)
    for build in (lambda: b"a", lambda: 1 // 0, lambda: b"b"):
        exporter.put_spans(1, build)
    wait_until(lambda: adds_up(exporter) and spans(exporter).exported == 2)
    assert spans(exporter).dropped == {"faulty": 1}
    assert collectors["traces"].got == [b"ab"]
    assert lines == ["OTLP: 1 spans could not be made: ZeroDivisionError"]


def test_the_end_flushes_at_once_whatever_the_delay_is(world):
    make, collectors, _ = world
    exporter = make(delay_s=3600.0)
    exporter.put_spans(1, lambda: b"x")
    assert exporter.close(30) is None
    assert collectors["traces"].got == [b"x"]
    assert exporter.close(30) is None


def test_the_end_says_what_it_had_to_drop_and_why(world):
    make, collectors, _ = world
    collectors["traces"].script = [Later("Connection refused")] * 1000
    exporter = make(backoff_s=5.0)
    exporter.put_spans(7, lambda: b"x")
    said = exporter.close(0.05)
    assert said == "7 spans could not be sent within 0.05 s: Connection refused"
    assert adds_up(exporter)
    assert spans(exporter).dropped == {"closed": 7}
    assert not exporter.put_spans(1, lambda: b"late")
    assert adds_up(exporter)
    assert collectors["traces"].aborted


def test_a_collector_that_hangs_does_not_hold_up_the_end(world):
    make, collectors, _ = world
    collectors["traces"].gate.clear()
    exporter = make()
    exporter.put_spans(1, lambda: b"x")
    assert "1 spans could not be sent" in exporter.close(0.05)
    assert spans(exporter).dropped == {"closed": 1}


def test_at_the_end_a_pause_that_the_collector_asked_for_is_kept(world, wait_until):
    make, collectors, _ = world
    collector = collectors["traces"]
    collector.script = [Later("HTTP 429", 200.0)]
    exporter = make()
    exporter.put_spans(1, lambda: b"x")
    wait_until(lambda: collector.tried == 1)
    assert "HTTP 429" in exporter.close(0.05)
    assert collector.tried == 1


def test_at_the_end_a_pause_of_our_own_is_cut_short_for_a_last_try(world, wait_until):
    make, collectors, _ = world
    collector = collectors["traces"]
    collector.script = [Later("Connection refused")]
    exporter = make(backoff_s=3600.0)
    exporter.put_spans(1, lambda: b"x")
    wait_until(lambda: collector.tried == 1)
    assert exporter.close(30) is None
    assert collector.got == [b"x"]


def test_newer_metrics_take_the_place_of_those_that_still_wait(world, wait_until):
    make, collectors, _ = world
    collector = collectors["metrics"]
    collector.gate.clear()
    exporter = make()
    done = []
    exporter.export_metrics(b"first", 5, lambda ok: done.append(("first", ok)))
    wait_until(lambda: points(exporter).waiting == 5 and exporter._metrics._slot is None)
    exporter.export_metrics(b"second", 6, lambda ok: done.append(("second", ok)))
    exporter.export_metrics(b"third", 7, lambda ok: done.append(("third", ok)))
    assert done == [("second", False)]
    assert adds_up(exporter)
    collector.gate.set()
    wait_until(lambda: len(done) == 3)
    assert done[1:] == [("first", True), ("third", True)]
    assert (points(exporter).exported, points(exporter).dropped) == (12, {"superseded": 6})
    assert collector.got == [b"first", b"third"]


def test_metrics_are_asked_for_at_each_interval_and_once_more_at_the_end(world, wait_until):
    make, collectors, _ = world
    exporter = make(metric_interval_s=0.01)
    done, asked = [], []

    def collect():
        asked.append(threading.current_thread().name)
        return b"%d" % len(asked), 2, done.append

    exporter.collect_metrics(collect)
    wait_until(lambda: len(done) >= 3)
    exporter.close(30)
    assert adds_up(exporter)
    assert done == [True] * len(asked)
    assert points(exporter).exported == 2 * len(asked)
    assert set(asked) == {"otlp-metrics"}
    assert collectors["metrics"].got[-1] == b"%d" % len(asked)


def test_the_end_asks_for_metrics_though_the_interval_is_not_over(world):
    make, collectors, _ = world
    exporter = make(metric_interval_s=3600.0)
    exporter.collect_metrics(lambda: (b"last", 1, None))
    exporter.close(30)
    assert collectors["metrics"].got == [b"last"]


def test_metrics_that_cannot_be_collected_are_told_and_tried_again(world, wait_until):
    make, collectors, lines = world
    exporter = make(metric_interval_s=0.01)
    answers = iter([ZeroDivisionError("no"), None])

    def collect():
        answer = next(answers, (b"x", 1, None))
        if isinstance(answer, Exception):
            raise answer
        return answer

    exporter.collect_metrics(collect)
    wait_until(lambda: collectors["metrics"].got)
    assert lines == ["OTLP: metrics could not be collected: ZeroDivisionError: no"]


def test_a_delta_is_told_that_it_did_not_leave(world, wait_until):
    make, collectors, _ = world
    collectors["metrics"].script = [Refused("no")]
    exporter = make()
    done = []
    exporter.export_metrics(b"x", 3, done.append)
    wait_until(lambda: done)
    assert done == [False]
    assert points(exporter).dropped == {"rejected": 3}


def test_a_signal_without_an_endpoint_is_not_exported(world):
    make, _, _ = world
    exporter = make(metrics=None)
    done = []
    exporter.export_metrics(b"x", 1, done.append)
    assert done == [False]
    assert set(exporter.ledger()) == {"spans"}
    assert not exporter.exports_metrics
    assert not make(traces=None).put_spans(1, lambda: b"x")


ANSWERS = st.sampled_from(
    [Accepted(), Accepted(1), Accepted(1000), Later("down"), Later("busy", 0.0), Refused("no"), Refused("big", True)]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ANSWERS, max_size=40), st.lists(st.integers(1, 9), max_size=40), st.integers(1, 30), st.booleans())
def test_the_ledger_is_exact_whatever_the_collector_answers(script, counts, queue, flushed):
    collector = Collector()
    collector.script = list(script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "client_for", lambda *_: collector)
        exporter = Exporter(
            OtlpSettings(traces=END, queue=queue, batch=min(7, queue), delay_s=0.0, backoff_s=0.0001),
            tell=lambda _: None,
        )
    try:
        for count in counts:
            exporter.put_spans(count, lambda count=count: b"%d," % count)
            assert adds_up(exporter)
        deadline = time.monotonic() + 30
        while spans(exporter).waiting and time.monotonic() < deadline and flushed:
            assert adds_up(exporter)
            time.sleep(0.0005)
    finally:
        exporter.close(30 if flushed else 0)
    assert adds_up(exporter)
    tally = spans(exporter)
    assert (tally.made, tally.waiting) == (sum(counts), 0)
    delivered = sum(int(n) for n in b"".join(collector.got).split(b",") if n)
    if flushed:
        rejected = tally.dropped.get("rejected", 0) + tally.dropped.get("too-large", 0)
        assert tally.exported <= delivered <= tally.exported + rejected
        assert tally.exported + rejected + tally.dropped.get("queue-full", 0) == sum(counts)


def test_whoever_gives_never_waits_for_a_collector(world):
    make, collectors, _ = world
    collectors["traces"].gate.clear()
    collectors["metrics"].gate.clear()
    exporter = make(queue=5000)
    given_all = threading.Event()

    def give():
        for _ in range(10_000):
            exporter.put_spans(1, lambda: b"x")
            exporter.export_metrics(b"x", 1)
        given_all.set()

    threading.Thread(target=give, daemon=True).start()
    assert given_all.wait(60)  # with the collector still hanging
    assert adds_up(exporter)
    assert spans(exporter).waiting == 5000


class Held:
    """Something in what is sent, of which it can be told whether anybody holds it."""

    def __call__(self, *_):
        return b"x"


def test_what_was_sent_is_held_no_longer(world, wait_until):
    make, _, _ = world
    exporter = make(metric_interval_s=3600.0)
    build, done = Held(), Held()
    held = weakref.ref(build), weakref.ref(done)
    exporter.put_spans(1, build)
    exporter.export_metrics(b"x", 1, done)
    del build, done
    wait_until(lambda: spans(exporter).exported == points(exporter).exported == 1)
    wait_until(lambda: [one() for one in held] == [None, None])
