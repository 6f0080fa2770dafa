"""sigtrace judges real programs right: catalogue.py has what is expected, tools/programs installs them."""

import pytest

from tests.programs.case import GRACEFUL, Seen, difference
from tests.programs.catalogue import CASES
from tests.programs.run import missing, run
from tests.programs.watched import judged, watching

#: In the normal run: what nearly every machine has, and a server with workers.
QUICK = ("sleep-tini", "sleep-shell", "http.server-exec", "http.server-tini", "nginx-exec", "nginx-tini")


@pytest.fixture(scope="module")
def verdicts(bpf_host):
    with watching() as told:
        yield told


def check(case, verdicts):
    if reason := missing(case):
        pytest.skip(reason)
    seen, cgroup_id = run(case)
    seen = judged(seen, verdicts, cgroup_id)
    assert not difference(case.expected, seen), "\n".join([difference(case.expected, seen), seen.output, *seen.records])


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_program_is_judged_right(name, verdicts):
    check(CASES[name], verdicts)


@pytest.mark.prove
@pytest.mark.parametrize("name", [name for name in CASES if name not in QUICK])
def test_a_program_is_judged_right(name, verdicts):
    check(CASES[name], verdicts)


RIGHT = Seen(0, 0.1, (), ("SIGTERM",), "", outcome="graceful", reported_status=0)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (RIGHT, ""),
        (Seen(137, 3, (), (), "", outcome="graceful", reported_status=137), "the program itself ended with 137"),
        (Seen(0, 0.1, (), (), "", outcome="graceful", reported_status=1), "sigtrace says status 1, the lab 0"),
        (Seen(0, 0.1, (), (), "", outcome="exited", reported_status=0), "outcome exited/None instead of graceful/None"),
        (
            Seen(0, 0.1, (), (), "", outcome="graceful", reported_status=0, findings=("killed/unknown",)),
            "findings ['killed/unknown'] instead of []",
        ),
    ],
)
def test_each_difference_is_said(seen, words):
    assert words in difference(GRACEFUL, seen)
    assert bool(difference(GRACEFUL, seen)) == bool(words)
