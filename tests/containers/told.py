"""A capture of real runtimes, and what was told of each of their containers."""

import contextlib
import time

from sigtrace.capture import Capture, run_in_background
from sigtrace.model.event import Kind
from sigtrace.model.finding import Finding, Shutdown
from sigtrace.sinks.chosen import Tally
from sigtrace.sources.options import BpfOptions


class Told(Tally):
    """By container id; the machine's own containers are nobody's here."""

    def __init__(self):
        super().__init__(keep=True)
        self.observations = []

    def observation(self, observation):
        if observation.workload and observation.workload.container_id:
            self.observations.append(observation)

    def of(self, container):
        return [v for v in self.verdicts if v.workload and v.workload.container_id == container]

    def findings(self, container):
        return {(f.code, f.cause) for f in self.of(container) if isinstance(f, Finding)}

    def shutdown(self, container, timeout_s=60):
        """The container's one story."""
        deadline = time.monotonic() + timeout_s
        while True:
            told = [v for v in self.of(container) if isinstance(v, Shutdown)]
            if told:
                assert len(told) == 1
                return told[0]
            assert time.monotonic() < deadline, f"no shutdown of {container[:12]} within {timeout_s} s"
            time.sleep(0.01)

    def outcome(self, container):
        shutdown = self.shutdown(container)
        return shutdown.outcome, shutdown.cause

    def exits(self, container):
        return [
            o
            for o in self.observations
            if o.workload.container_id == container and o.event.kind is Kind.EXIT and o.main
        ]


@contextlib.contextmanager
def telling(*sockets):
    """``with telling("cri:/x.sock") as told``: what happens meanwhile, and on to the end of the block."""
    told = Told()
    with Capture("bpf", BpfOptions(), [told], sockets=sockets) as capture:
        capture.feed.step(0)
        finish = run_in_background(capture)
        try:
            yield told
        finally:
            finish()
