"""A failure scenario, what it must show, and how to run it."""

from __future__ import annotations

import secrets
import signal
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from sigtrace.errors import HostError, RunError
from sigtrace.lab import needs
from sigtrace.lab.cgroups import MemoryLimit
from sigtrace.lab.container import Container
from sigtrace.lab.folder import Folder
from sigtrace.lab.outside import Outside
from sigtrace.lab.process import PATIENCE_S, ReapedError, argv_of, descendants_of, now_ns, until
from sigtrace.lab.scene import Act, Scene, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sigtrace.lab.record import Stop
    from sigtrace.model.waitstatus import WaitStatus

#: Seconds between the stop signal and SIGKILL, where a scenario is not about time. Kubernetes gives 30.
GRACE_S: Final = 0.3

#: Seconds that nothing happens in scenarios of zombies, and in those of a stop signal that nothing follows. sigtrace's
#: thresholds have to be lower: it looks for zombies once a second.
ZOMBIE_AFTER_S: Final = 2.0
UNANSWERED_AFTER_S: Final = 6.0

#: A run whose PID 1 was reaped unseen is done again, so often.
_TRIES: Final = 2

# One process that is PID 1 of a namespace and there for others to join, as a pod's pause.
_PAUSE: Final = "trap 'exit 0' TERM INT; exec 3<>requests; read -r end <&3"


class PidNamespace(Enum):
    """Whose PID namespace a container is in."""

    OWN = auto()
    HOST = auto()
    SHARED = auto()
    """that of a container called ``<name>-pause``, whose PID 1 is ``pause``"""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What sigtrace must say, in the words of its records, and what the lab must see without it."""

    findings: frozenset[tuple[str, str]]
    """(code, cause) of each finding, and there are no others"""
    outcome: str
    """of the shutdown"""
    cause: str | None
    """of the shutdown"""
    status_code: int
    """of PID 1 as runtimes print it: the exit code, or 128 + the signal"""
    relayed: bool = False
    """a code above 128 with which PID 1 exited by itself"""
    sent: tuple[int, ...] = (signal.SIGTERM,)
    """the signals that PID 1 is sent from the host, in this order"""
    seen: Mapping[str, int] = field(default_factory=dict)
    """what the acts of the scenario and the kernel's counters show: ``zombies``, ``oom_kills``, an exec's code"""
    said: Mapping[str, int] = field(default_factory=dict)
    """how often the programs write something, for what only they can see"""

    @property
    def killed(self) -> bool:
        """Whether it takes SIGKILL from the host to end it."""
        return signal.SIGKILL in self.sent


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way in which a container stops, or does not."""

    name: str
    title: str
    """what happens, in one line"""
    person: str
    """what somebody does that makes it happen"""
    argv: tuple[str, ...]
    """of PID 1"""
    expect: Expectation
    files: Mapping[str, str] = field(default_factory=dict)
    """name → content, where PID 1 starts; what begins with ``#!`` is executable"""
    ready: str | None = ""
    """what it writes when it is up; empty: it is up once it sleeps; None: it ends too soon to be waited for"""
    act: Act = nothing
    """what is done once it is up; the stop follows if PID 1 is there still"""
    signo: int = signal.SIGTERM
    """the stop signal"""
    grace_limit_s: float | None = None
    """the grace period that the container's configuration promises, where one is known"""
    pid_namespace: PidNamespace = PidNamespace.OWN
    v2: bool = False
    """it needs a cgroup of version 2, wherever containers live"""
    memory: MemoryLimit | None = None
    also_needs: tuple[str, ...] = ()
    """of the host, beside what the other fields imply; see needs"""

    @property
    def needs(self) -> tuple[str, ...]:
        """All that the host must have, for needs.unmet."""
        own = [word for word in self.argv if word in ("bash", "busybox", "tini", "dumb-init")]
        return (*own, *["v2"] * self.v2, *["memory"] * (self.memory is not None), *self.also_needs)


@dataclass(frozen=True, slots=True)
class Result:
    """One run of a scenario as the lab saw it; times are CLOCK_BOOTTIME ns."""

    scenario: Scenario
    container: str
    cgroup_id: int
    init_pid: int
    """in the lab's PID namespace, which has to be the host's to be found in an event"""
    started_ns: int
    ready_ns: int
    seen: Mapping[str, int]
    grace_s: float
    """granted"""
    stop: Stop
    output: str

    @property
    def wait_status(self) -> WaitStatus:
        """Of PID 1."""
        return self.stop.wait_status

    @property
    def as_expected(self) -> bool:
        """Whether the container itself did what the scenario says; sigtrace's verdict is another matter."""
        return not self.surprises

    @property
    def surprises(self) -> list[str]:
        """In what the container itself was not as the scenario says."""
        expect, status = self.scenario.expect, self.wait_status
        found = []
        if (status.code, status.exit_code is not None) != (expect.status_code, expect.relayed or status.code < 128):
            found.append(f"it ended with {status}")
        if (sent := tuple(s.signo for s in self.stop.signals)) != expect.sent:
            found.append(f"PID 1 was sent {[*map(int, sent)]}, not {[*map(int, expect.sent)]}")
        found += [
            f"{what}: {self.seen.get(what)}, not {n}" for what, n in expect.seen.items() if self.seen.get(what) != n
        ]
        found += [
            f"{text!r} was said {self.output.count(text)} times, not {n}"
            for text, n in expect.said.items()
            if self.output.count(text) != n
        ]
        return found


def run(
    scenario: Scenario,
    grace_s: float = GRACE_S,
    *,
    container: str = "",
    zombie_after_s: float = ZOMBIE_AFTER_S,
    unanswered_after_s: float = UNANSWERED_AFTER_S,
) -> Result:
    """Start a container, wait until it is up, do what the person does, stop it, remove it.

    ``grace_s``: seconds from the stop signal to SIGKILL, in scenarios that come to that; the others get as long as they
    need. ``container``: its name, if not the scenario's + random. ``zombie_after_s``, ``unanswered_after_s``: how long
    scenarios of zombies and of unanswered stops last. Raises HostError (no root, something is missing) and RunError.
    """
    if reason := needs.unmet(scenario.needs):
        raise HostError(f"the scenario {scenario.name} can't be run here: {reason}", next_step="choose another")
    name = container or f"{scenario.name}-{secrets.token_hex(3)}"
    grace_s = grace_s if scenario.expect.killed else PATIENCE_S
    for _ in range(_TRIES):
        with suppress(ReapedError):
            return _run(scenario, grace_s, name, zombie_after_s, unanswered_after_s)
    return _run(scenario, grace_s, name, zombie_after_s, unanswered_after_s)


def _run(scenario: Scenario, grace_s: float, name: str, zombie_after_s: float, unanswered_after_s: float) -> Result:
    with ExitStack() as outer:
        folder = outer.enter_context(Folder(scenario.files))
        box = outer.enter_context(_container(scenario, name, folder, outer))
        stack = outer.enter_context(ExitStack())
        scene = Scene(box, Outside(folder / "host"), zombie_after_s, unanswered_after_s, stack)
        started_ns = now_ns()
        box.start(scenario.argv)
        if scenario.ready is not None:
            box.wait_ready(scenario.ready.encode())
            # Not only PID 1: see wait_ready.
            until(lambda: set(descendants_of(box.init_pid).values()) <= {"S", "Z"}, f"all in {name} to wait for work")
        ready_ns = now_ns()
        _require_shell(scenario, box)
        scenario.act(scene)
        if box.has_exited() and scenario.signo in scenario.expect.sent and not box.sent:
            raise RunError(f"PID 1 of container {name} ended before it was asked to stop ({box.wait()})")
        stop = box.stop(grace_s, scenario.signo)
        if box.cgroups and scenario.memory:
            scene.seen["oom_kills"] = kills = box.cgroups.oom_kills()
            scene.seen["oom_group"] = kills > 1  # the kernel counts the first victim of a group twice
    return Result(
        scenario=scenario,
        container=name,
        cgroup_id=box.cgroup_id,
        init_pid=box.init_pid,
        started_ns=started_ns,
        ready_ns=ready_ns,
        seen=scene.seen,
        grace_s=grace_s,
        stop=stop,
        output=box.output.decode(errors="replace"),
    )


def _container(scenario: Scenario, name: str, folder: Path, outer: ExitStack) -> Container:
    sandbox = None
    if scenario.pid_namespace is PidNamespace.SHARED:
        sandbox = outer.enter_context(Container(f"{name}-pause", workdir=folder))
        sandbox.start(["pause", "-c", _PAUSE])
        sandbox.wait_ready()
    return Container(
        name,
        workdir=folder,
        host_pid=scenario.pid_namespace is PidNamespace.HOST,
        sandbox=sandbox,
        v2=scenario.v2,
        memory=scenario.memory,
    )


def _require_shell(scenario: Scenario, box: Container) -> None:
    if ("signal-dropped", "shell-form") in scenario.expect.findings and argv_of(box.init_pid) != scenario.argv:
        command = " ".join(scenario.argv)
        raise HostError(
            f"this {scenario.argv[0]} does not stay PID 1 of {command}, so {scenario.name} can't be shown",
            next_step="use dash 0.5.12, bash 5.2 and BusyBox 1.35, or choose another scenario",
        )
