"""The user's choice of workloads: target *or* sender matches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sigtrace.model.finding import Verdict
from sigtrace.model.text import printable
from sigtrace.model.workload import Observation, Workload

_ID: Final = re.compile("[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True)
class WorkloadFilter:
    """Each is None (any) or what it must be; a container also goes by the beginning of its id (4 digits or more)."""

    container: str | None = None
    pod: str | None = None
    namespace: str | None = None
    runtime: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether everything passes."""
        return not (self.container or self.pod or self.namespace or self.runtime)

    @property
    def words(self) -> str:
        """As options say it: ``--pod api --namespace default``; empty: everything passes. Printable."""
        given = {"container": self.container, "pod": self.pod, "namespace": self.namespace, "runtime": self.runtime}
        return " ".join(f"--{name} {printable(value)}" for name, value in given.items() if value)

    @property
    def by_name(self) -> bool:
        """Whether it takes names to decide, which only a runtime knows; a container's id is in its cgroup's name."""
        return bool(self.pod or self.namespace or (self.container and not _ID.fullmatch(self.container)))

    def workload(self, workload: Workload | None) -> bool:
        """Whether this one is meant."""
        if self.is_open:
            return True
        if workload is None:
            return False
        wanted = self.container
        by_id = wanted and len(wanted) >= 4 and (workload.container_id or "").startswith(wanted)
        return (
            (not wanted or workload.container_name == wanted or bool(by_id))
            and (not self.pod or workload.pod == self.pod)
            and (not self.namespace or workload.namespace == self.namespace)
            and (not self.runtime or workload.runtime == self.runtime)
        )

    def observation(self, observation: Observation) -> bool:
        """Whether its target or its sender is meant."""
        return self.workload(observation.workload) or self.workload(observation.sender_workload)

    def verdict(self, verdict: Verdict) -> bool:
        """Whether its workload is meant."""
        return self.workload(verdict.workload)
