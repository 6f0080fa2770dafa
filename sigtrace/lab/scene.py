"""A scenario while it runs, and what the person or the runtime in it may do before the stop, or in its place."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from sigtrace.lab.container import Container
from sigtrace.lab.outside import Outside
from sigtrace.lab.process import argv_of, descendants_of, state_of, until
from sigtrace.lab.tracer import Tracer


@dataclass(slots=True)
class Scene:
    """One run; an act gets it once PID 1 is up."""

    box: Container
    outside: Outside
    zombie_after_s: float
    """how old zombies have to become"""
    unanswered_after_s: float
    """how long nothing follows a stop signal"""
    stack: ExitStack
    """what lasts until the container has ended"""
    seen: dict[str, int] = field(default_factory=dict)
    """what the lab saw, to be held against Expectation.seen"""


Act = Callable[[Scene], None]


def nothing(_: Scene) -> None:
    """Only the stop follows."""


def wait_for_end(scene: Scene) -> None:
    """Nobody asks: PID 1 ends by itself."""
    scene.box.wait()


def kill_by(comm: str) -> Act:
    """A process called ``comm`` on the host sends PID 1 SIGKILL."""

    def act(scene: Scene) -> None:
        scene.box.kill_by(scene.outside, comm)
        scene.box.wait()

    return act


def kill_by_cgroup(scene: Scene) -> None:
    """A shell on the host kills the whole cgroup."""
    cgroups = scene.box.cgroups
    if cgroups:
        scene.box.kill_by(scene.outside, "sh", command=f"echo 1 >{cgroups.kill_file}")
        scene.box.wait()


def leave_unanswered(scene: Scene) -> None:
    """It is asked to stop, nothing happens for as long as it takes to be told, and then a shell kills it."""
    scene.box.kill(signal.SIGTERM)
    time.sleep(scene.unanswered_after_s)
    kill_by("sh")(scene)


def inside(command: str) -> Act:
    """Somebody gives a shell command in the container."""

    def act(scene: Scene) -> None:
        scene.seen["inside"] = scene.box.kill_from_inside(command)

    return act


def stop_by_hook(command: str) -> Act:
    """A preStop hook: the command runs in the container, and PID 1 leaves because of it."""

    def act(scene: Scene) -> None:
        scene.box.exec(["sh", "-c", command])
        scene.box.wait()

    return act


def use_up(seconds: float, *argv: str) -> Act:
    """A preStop hook is given up after so long, and is still at work when the stop comes."""

    def act(scene: Scene) -> None:
        scene.box.exec(argv).await_pid()
        time.sleep(seconds)

    return act


def time_out(*argv: str) -> Act:
    """A program that entered the container takes too long, and the runtime kills it."""

    def act(scene: Scene) -> None:
        entered = scene.box.exec(argv)
        scene.outside.run("runc", f"kill -9 {entered.await_pid()}")
        scene.seen["exec"] = entered.wait()

    return act


def let_zombies_age(count: int) -> Act:
    """Nobody does anything until this many zombies have been there for ``zombie_after_s``."""

    def act(scene: Scene) -> None:
        until(lambda: len(scene.box.zombies()) >= count, f"{count} zombies in container {scene.box.name}")
        young = scene.box.zombies()
        time.sleep(scene.zombie_after_s)
        scene.seen["zombies"] = len(young & scene.box.zombies())

    return act


def leave_orphan(scene: Scene) -> None:
    """A probe starts something in the background and is gone before it; then as ``let_zombies_age``."""
    scene.box.exec(["sh", "-c", "sleep 0.1 & exit"]).wait()
    let_zombies_age(1)(scene)


def until_reaped(processes: int) -> Act:
    """Nobody does anything until just this many processes are left below PID 1."""

    def act(scene: Scene) -> None:
        pid = scene.box.init_pid
        until(lambda: len(descendants_of(pid)) <= processes, f"orphans of container {scene.box.name} to be reaped")
        scene.seen["zombies"] = len(scene.box.zombies())

    return act


def until_runs(*argv: str) -> Act:
    """Nobody does anything until PID 1 has started this program."""

    def act(scene: Scene) -> None:
        pid = scene.box.init_pid
        until(lambda: argv in map(argv_of, descendants_of(pid)), f"{' '.join(argv)!r} in container {scene.box.name}")

    return act


def halt(scene: Scene) -> None:
    """PID 1 is stopped with SIGSTOP."""
    scene.box.kill(signal.SIGSTOP)
    until(lambda: state_of(scene.box.init_pid) == "T", f"PID 1 of container {scene.box.name} to stop")


def freeze(scene: Scene) -> None:
    """The whole container is frozen."""
    if scene.box.cgroups:
        scene.box.cgroups.freeze()


def trace(scene: Scene) -> None:
    """A debugger on the host holds PID 1."""
    scene.stack.enter_context(Tracer(scene.box.init_pid))
