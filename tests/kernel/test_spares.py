"""Programs that stand in for others that the kernel leaves out: all is told once, whoever of the two tells it."""

import os
from contextlib import closing

import pytest

from sigtrace.model.event import Kind
from sigtrace.sources import spares
from sigtrace.sources.bpf import BpfSource
from sigtrace.sources.options import BpfOptions
from tests.kernel.watcher import Watcher

#: So many at once on each CPU that some are preempted in a program.
WORKERS, FORKS = 6, 300
NEEDED = spares.has_spares(os.uname().release)


@pytest.fixture
def watch(bpf_host, monkeypatch):
    """With spares, whatever the kernel."""
    monkeypatch.setattr(spares, "_SINCE", (0, 0))
    watcher = Watcher(BpfOptions(tell_all=True))
    yield watcher
    watcher.close()


def told_of_a_command(watch):
    """How often its exec and its exit were, and what of it the spares did."""
    before = watch.source.ledger()
    pid = os.posix_spawn("/bin/false", ["false", "it is"], {})
    os.waitpid(pid, 0)
    key = watch.executed(pid, ["false", "it is"])
    watch.first(key, Kind.EXIT)
    watch.drain(0.05)
    after = watch.source.ledger()
    done = [after[name] - before[name] for name in ("recorded_by_spare_exec", "recorded_by_spare_exit")]
    return [len(watch.of(key, kind)) for kind in (Kind.EXEC, Kind.EXIT)], done


def test_a_spare_has_nothing_to_do_after_its_program(watch):
    told, done = told_of_a_command(watch)
    assert told == [1, 1]
    assert NEEDED or done == [0, 0], "what it counts is taken for not lost"


def test_a_spare_tells_what_its_program_did_not(watch):
    watch.source._loaded.object.detach(["process_exec", "process_exit"])
    told, done = told_of_a_command(watch)
    assert told == [1, 1]
    assert min(done) >= 1


def test_one_process_that_executes_again_and_again_is_told_each_time(watch):
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exec sh -c 'exec sh -c \"exit 3\"'"], {})
    os.waitpid(pid, 0)
    key = watch.executed(pid, ["sh", "-c", "exit 3"])
    watch.first(key, Kind.EXIT)
    assert len(watch.of(key, Kind.EXEC)) == 3


def test_of_exits_and_execs_on_crowded_cpus_none_is_left_out(bpf_host):
    """With spares where the kernel needs them: see bpf/process.bpf.h."""
    with closing(BpfSource()) as source:
        source.open()
        workers = []
        for _ in range(WORKERS):
            workers.append(os.fork())
            if workers[-1] == 0:
                for n in range(FORKS):
                    child = os.fork()
                    if child == 0:
                        os.execv("/bin/true", ["true"]) if n % 8 == 0 else os._exit(0)
                    os.waitpid(child, 0)
                os._exit(0)
        for worker in workers:
            os.waitpid(worker, 0)
        assert source.ledger()["missed"] == 0
