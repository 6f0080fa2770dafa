"""A capture in the background for tests that stop many containers, and what it said of each."""

import pytest

from sigtrace import demonstration
from sigtrace.capture import run_in_background
from sigtrace.demonstration import Known, Verdicts, capture_for, mismatch
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.finding import Shutdown

#: From the end of a container to its verdict. How long that takes says what else the machine does.
_PATIENCE_S = 60.0


class Bench:
    """``with Bench() as bench: wrong = bench.stop_one("shell-form", "box-1")``."""

    def __init__(self):
        self.verdicts = Verdicts()
        self.known = Known()
        self.capture = capture_for("bpf", self.verdicts, self.known)
        self._patient = pytest.MonkeyPatch()

    def __enter__(self):
        self._patient.setattr(demonstration, "_PATIENCE_S", _PATIENCE_S)
        self.capture.__enter__()
        self.finish = run_in_background(self.capture)
        return self

    def __exit__(self, *error):
        self._patient.undo()
        self.finish()
        self.capture.__exit__(*error)

    def stop_one(self, name, container, **options):
        """Run a scenario; return what was wrong with the verdict, in words, else an empty string."""
        result = run(SCENARIOS[name], container=self.known.add(SCENARIOS[name], container), **options)
        shutdown, findings = self.verdicts.wait_for_shutdown(result.cgroup_id)
        wrong = mismatch(SCENARIOS[name], result, shutdown, findings)
        return f"{container} {name}: {wrong}" if wrong else ""

    def shutdowns(self, prefix):
        """Of the containers with such a name, but for a pod's pause; the machine may have real ones too."""
        told = [(v.workload.container_name or "", v) for v in self.verdicts.verdicts if isinstance(v, Shutdown)]
        return [v for name, v in told if name.startswith(prefix) and not name.endswith("-pause")]
