"""made = exported + dropped + waiting, whatever happens, in whatever order."""

import threading

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sigtrace.sinks.otlp.ledger import Ledger, Reason

ROOM = 50


class Book(RuleBasedStateMachine):
    """As the queue and its thread use it, one step after the other."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger(ROOM)
        self.on_their_way = []
        self.closed = False

    @rule(count=st.integers(1, 80))
    def something_is_made(self, count):
        waiting = self.ledger.tally().waiting
        taken = self.ledger.take(count)
        assert taken == (not self.closed and (waiting == 0 or waiting + count <= ROOM))
        if taken:
            self.on_their_way.append(count)

    @precondition(lambda self: self.on_their_way)
    @rule(rejected=st.integers(-5, 100))
    def the_collector_takes_it(self, rejected):
        self.ledger.exported(self.on_their_way.pop(0), rejected)

    @precondition(lambda self: self.on_their_way)
    @rule(reason=st.sampled_from(Reason))
    def it_is_given_up(self, reason):
        self.ledger.dropped(self.on_their_way.pop(), reason)

    @precondition(lambda self: self.on_their_way)
    @rule()
    def it_is_sent_again(self):
        self.ledger.retried(self.on_their_way[0])

    @rule()
    def it_ends(self):
        left = self.ledger.close()
        assert left == (0 if self.closed else sum(self.on_their_way))
        self.closed = True

    @invariant()
    def it_adds_up(self):
        tally = self.ledger.tally()
        assert tally.made == tally.exported + tally.lost + tally.waiting
        assert tally.lost == sum(tally.dropped.values())
        assert min(tally.exported, tally.waiting, tally.retried, *tally.dropped.values(), 0) == 0
        assert tally.waiting == (0 if self.closed else sum(self.on_their_way))


TestBook = Book.TestCase


def test_it_adds_up_at_any_moment_while_threads_write_in_it():
    ledger = Ledger(1000)
    end = threading.Event()

    def work(step):
        for n in range(2000):
            if ledger.take(n % 7 + 1):
                step(n % 7 + 1)

    steps = [
        lambda count: ledger.exported(count, rejected=1),
        lambda count: ledger.dropped(count, Reason.REJECTED),
        lambda count: (ledger.retried(count), ledger.exported(count)),
    ]
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    wrong = []

    def watch():
        while not end.is_set():
            tally = ledger.tally()
            if tally.made != tally.exported + tally.lost + tally.waiting:
                wrong.append(tally)

    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    end.set()
    watcher.join()
    assert not wrong
    assert ledger.tally().waiting == 0
    assert ledger.tally().made == 3 * sum(n % 7 + 1 for n in range(2000))


def test_what_is_larger_than_the_queue_passes_if_nothing_else_waits():
    ledger = Ledger(10)
    assert ledger.take(129)
    assert not ledger.take(1)
    assert ledger.tally().dropped == {"queue-full": 1}
