"""A collector is killed in the middle of 500 shutdowns, and comes back: nothing is lost unsaid, nothing comes twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.receivers.sending import sending
from tests.receivers.servers import GrpcReceiver, HttpReceiver

KINDS = {"http/protobuf": HttpReceiver, "grpc": GrpcReceiver}
MANY = 500


def outage(kind, down_s, wait_until, queue):
    """Kills the receiver after 100 shutdowns, starts it again ``down_s`` after the last; returns both sides."""
    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": str(queue), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "30"}
    with KINDS[kind]() as receiver, sending(receiver.url, protocol=kind, environ=environ) as sender:
        for n in range(MANY):
            if n == MANY // 5:
                receiver.stop()
            sender.stop_one(n)
            assert sender.adds_up()
        assert sender.tally.waiting > 0
        threading.Event().wait(down_s)  # how long it is down, not how long something takes
        receiver.start()
        wait_until(lambda: sender.adds_up() and not sender.tally.waiting, timeout=60)
        return receiver, sender.tally, sender.lines


def check(receiver, tally):
    assert receiver.checker.finish() == []  # no span twice, each with its parent
    assert tally.made == 3 * MANY
    assert tally.made == tally.exported + tally.lost
    assert len(receiver.checker.spans) == tally.exported


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_outage_that_the_queue_holds_costs_nothing(kind, wait_until):
    receiver, tally, _ = outage(kind, 0.5, wait_until, queue=2048)
    check(receiver, tally)
    assert (tally.exported, tally.lost) == (3 * MANY, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_of_an_outage_that_is_more_than_the_queue_holds_the_rest_is_counted(kind, wait_until):
    receiver, tally, lines = outage(kind, 0.1, wait_until, queue=300)
    check(receiver, tally)
    assert set(tally.dropped) == {"queue-full"}
    assert tally.exported >= 300
    assert any(f"{tally.lost:,} spans were dropped" in line for line in lines)


@pytest.mark.prove
def test_a_minute_without_a_collector(wait_until):
    """All at once: they wait."""
    cases = [(kind, queue) for kind in KINDS for queue in (2048, 300)]
    with ThreadPoolExecutor(len(cases)) as pool:
        ends = list(pool.map(lambda case: outage(case[0], 60.0, wait_until, queue=case[1]), cases))
    for (_, queue), (receiver, tally, _) in zip(cases, ends, strict=True):
        check(receiver, tally)
        assert tally.exported >= min(3 * MANY, queue)
        assert tally.retried > 0
