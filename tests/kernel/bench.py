"""A capture in the background for tests that stop many containers, and what it said of each."""

from collections import OrderedDict, deque

import pytest

from sigtrace import demonstration
from sigtrace.capture import run_in_background
from sigtrace.demonstration import Known, Verdicts, capture_for, mismatch
from sigtrace.errors import RunError
from sigtrace.lab.scenario import run
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.model.finding import Shutdown

#: From the end of a container to its verdict. How long that takes says what else the machine does.
_PATIENCE_S = 60.0


#: Of so many cgroups, the latest, so many records are kept.
_CGROUPS, _RECORDS = 400, 60


class Trail:
    """A sink: what was recorded of each container, to be read if its verdict is wrong."""

    def __init__(self):
        self._by_cgroup = OrderedDict()

    def observation(self, observation):
        event = observation.event
        cgroup = event.task.cgroup_id if event.task else event.cgroup_id
        self._by_cgroup.setdefault(cgroup, deque(maxlen=_RECORDS)).append(observation)
        if len(self._by_cgroup) > _CGROUPS:
            self._by_cgroup.popitem(last=False)

    def verdict(self, verdict): ...
    def pass_time(self, now_ns): ...
    def close(self): ...

    def take_dropped(self):
        return 0

    def of(self, cgroup):
        """A line each."""
        return "".join(f"\n    {_line(one)}" for one in list(self._by_cgroup.get(cgroup, ())))


def _line(observation):
    event, task = observation.event, observation.event.task
    yes = [name for name in ("watched", "outside", "exiting", "leaving", "blocked") if getattr(event, name)]
    yes += ["main"] if observation.main else []
    facts = (event.signo, event.result, event.disposition, event.wait_status, event.masks and hex(event.masks.pending))
    who = f"{task.pid} {task.comm}" if task else event.cgroup_name
    sender = f" from {event.sender.pid} {event.sender.comm}" if event.sender else ""
    known = " ".join(str(fact) for fact in facts if fact)
    workload = observation.workload and observation.workload.cgroup
    return f"{event.time_ns} {event.kind.value} {who}{sender}: {known} {' '.join(yes)} in {workload}"


def none_wrong(told):
    """Fails with all that ``stop_one`` said of many: the text of an assertion would be cut."""
    __tracebackhide__ = True
    if any(told):
        pytest.fail("\n".join(filter(None, told)), pytrace=False)


class Bench:
    """``with Bench() as bench: wrong = bench.stop_one("shell-form", "box-1")``."""

    def __init__(self):
        self.verdicts = Verdicts()
        self.known = Known()
        self.trail = Trail()
        self.capture = capture_for("bpf", self.verdicts, self.known, sinks=[self.trail])
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
        try:
            wrong = mismatch(SCENARIOS[name], result, *self.verdicts.wait_for_shutdown(result.cgroup_id))
        except RunError as error:
            wrong = str(error)
        if not wrong:
            return ""
        lost = {cause: n for cause, n in self.capture.lost().items() if n}
        return f"{container} {name}: {wrong}; {lost}; of cgroup {result.cgroup_id}:{self.trail.of(result.cgroup_id)}"

    def shutdowns(self, prefix):
        """Of the containers with such a name, but for a pod's pause; the machine may have real ones too."""
        told = [(v.workload.container_name or "", v) for v in self.verdicts.verdicts if isinstance(v, Shutdown)]
        return [v for name, v in told if name.startswith(prefix) and not name.endswith("-pause")]
