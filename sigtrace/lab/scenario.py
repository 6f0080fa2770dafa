"""A failure scenario, what it must show, and how to run it."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sigtrace.errors import HostError, RunError
from sigtrace.lab.container import Container
from sigtrace.lab.process import argv_of, now_ns, tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sigtrace.lab.record import Stop
    from sigtrace.model.waitstatus import WaitStatus

#: Seconds between the stop signal and SIGKILL, where a scenario is not about time. Kubernetes gives 30.
GRACE_S = 0.3


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

    @property
    def killed(self) -> bool:
        """Whether it takes SIGKILL to end it."""
        return self.status_code == 128 + signal.SIGKILL


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
    ready: str = ""
    """what it writes when it is up; empty: it is up once it sleeps"""
    inside: str = ""
    """a shell command that a person gives inside the container before the stop"""
    signo: int = signal.SIGTERM
    """the stop signal"""


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
    inside_code: int | None
    """exit code of ``Scenario.inside``"""
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
        expect = self.scenario.expect
        return self.wait_status.code == expect.status_code and self.stop.killed == expect.killed


def run(scenario: Scenario, grace_s: float = GRACE_S, *, container: str = "") -> Result:
    """Start a container, wait until it is up, do what the person does, stop it, remove it.

    ``grace_s``: seconds from the stop signal to SIGKILL. ``container``: its name, if not the scenario's + random.
    Raises HostError (no root, something is missing) and RunError.
    """
    with tempfile.TemporaryDirectory(prefix="sigtrace-lab-", ignore_cleanup_errors=True) as folder:
        _furnish(Path(folder), scenario)
        with Container(container or f"{scenario.name}-{secrets.token_hex(3)}", workdir=folder) as box:
            started_ns = now_ns()
            box.start(scenario.argv)
            box.wait_ready(scenario.ready.encode())
            ready_ns = now_ns()
            _require_shell(scenario, box)
            inside_code = box.kill_from_inside(scenario.inside) if scenario.inside else None
            if box.has_exited():
                raise RunError(f"PID 1 of container {box.name} ended before it was asked to stop ({box.wait()})")
            stop = box.stop(grace_s, scenario.signo)
    return Result(
        scenario=scenario,
        container=box.name,
        cgroup_id=box.cgroup_id,
        init_pid=box.init_pid,
        started_ns=started_ns,
        ready_ns=ready_ns,
        inside_code=inside_code,
        grace_s=grace_s,
        stop=stop,
        output=box.output.decode(errors="replace"),
    )


def _furnish(folder: Path, scenario: Scenario) -> None:
    # The programs of the scenarios are dash under other names, so that they start in a millisecond, are one process and
    # read on the screen like what they stand for. sh, too: where /bin/sh is bash, it would execute its last command.
    for name in ("sh", "app-server"):
        (folder / name).symlink_to(tool("dash"))
    os.mkfifo(folder / "requests")
    for name, text in scenario.files.items():
        (folder / name).write_text(text, encoding="utf-8")
        if text.startswith("#!"):
            (folder / name).chmod(0o755)


def _require_shell(scenario: Scenario, box: Container) -> None:
    if scenario.argv[:2] == ("sh", "-c") and argv_of(box.init_pid) != scenario.argv:
        raise HostError(
            f"this dash does not stay PID 1 of {' '.join(scenario.argv)}, so {scenario.name} can't be shown",
            next_step="use dash 0.5.12",
        )
