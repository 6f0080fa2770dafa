"""A capture in the background for tests that stop many containers, and what it said of each."""

from sigtrace.capture import run_in_background
from sigtrace.demonstration import Known, Verdicts, capture_for, mismatch
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.finding import Shutdown


class Bench:
    """``with Bench() as bench: wrong = bench.stop_one("shell-form", "box-1")``."""

    def __init__(self):
        self.verdicts = Verdicts()
        self.known = Known()
        self.capture = capture_for("bpf", self.verdicts, self.known)

    def __enter__(self):
        self.capture.__enter__()
        self.finish = run_in_background(self.capture)
        return self

    def __exit__(self, *error):
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
