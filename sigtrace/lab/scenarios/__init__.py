"""The failure scenarios: a module a group, in the order in which they tell the story."""

from __future__ import annotations

from typing import Final

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios import (
    crashes,
    forwarding,
    inits,
    kills,
    masks,
    memory,
    namespaces,
    plain,
    pre_stop,
    shells,
    zombies,
)

#: Group → its scenarios.
GROUPS: Final[dict[str, tuple[Scenario, ...]]] = {
    "shells": shells.SCENARIOS,
    "one program": plain.SCENARIOS,
    "inits": inits.SCENARIOS,
    "masks": masks.SCENARIOS,
    "forwarding": forwarding.SCENARIOS,
    "zombies": zombies.SCENARIOS,
    "crashes": crashes.SCENARIOS,
    "kills": kills.SCENARIOS,
    "memory": memory.SCENARIOS,
    "namespaces": namespaces.SCENARIOS,
    "preStop hooks": pre_stop.SCENARIOS,
}

#: Name → scenario, group by group.
SCENARIOS: Final = {scenario.name: scenario for group in GROUPS.values() for scenario in group}

#: The names of those that tell the most in ten seconds, in story order.
TOUR: Final = tuple(
    scenario.name
    for scenario in (
        shells.SHELL_FORM,
        plain.EXEC_FORM,
        plain.NO_HANDLER,
        plain.SLOW_HANDLER,
        plain.KILL_FROM_INSIDE,
        shells.SCRIPT,
        crashes.PREFORK,
        zombies.EXEC_SLEEP,
        memory.OOM_CHILD,
        kills.BY_PARENT,
    )
)
