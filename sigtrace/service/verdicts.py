"""Verdicts as JSON and back, so that who reads them renders them as who made them would.

{"tasks": [{…}, …], "finding": {…}}      a task comes again in each event: it goes by its number
{"tasks": [{…}, …], "shutdown": {…}}
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

from sigtrace.model import codes, signals
from sigtrace.model.event import Task
from sigtrace.model.finding import Finding, Shutdown, Verdict
from sigtrace.model.recording import plain, values

#: Bytes of a verdict's JSON. One that would be longer loses its evidence and most of its processes.
VERDICT_MAX: Final = 1 << 18
#: Processes that such a one keeps.
_PROCESSES_MAX: Final = 64

_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
_KINDS: Final[dict[str, type]] = {"finding": Finding, "shutdown": Shutdown}


class UnknownVerdictError(ValueError):
    """Of a kind that this version has no words for."""


class VerdictEncoder:
    """Verdicts to JSON."""

    def __init__(self, boot_id: str = "") -> None:
        """``boot_id``: of the boot that they are of; a store may keep those of several."""
        self._boot = {"boot": boot_id} if boot_id else {}
        self._numbers: dict[Task, int] = {}
        self._tasks: list[plain.Json] = []
        self._values = values.Encoder({Task: self._number})

    def json(self, verdict: Verdict) -> bytes:
        """ASCII without a line break; VERDICT_MAX bytes at most."""
        raw = self._json(verdict)
        if len(raw) > VERDICT_MAX:
            shorter: dict[str, Any] = {"evidence": ()}
            if isinstance(verdict, Shutdown):
                shorter["processes"] = verdict.processes[:_PROCESSES_MAX]
            raw = self._json(dataclasses.replace(verdict, **shorter))
        if len(raw) > VERDICT_MAX:
            raise ValueError(f"a verdict of {len(raw)} bytes")
        return raw

    def _json(self, verdict: Verdict) -> bytes:
        self._numbers.clear()
        self._tasks = []
        kind = "finding" if isinstance(verdict, Finding) else "shutdown"
        inner = self._values.object(verdict)
        return _ENCODE({**self._boot, "tasks": self._tasks, kind: inner}).encode("ascii")

    def _number(self, task: Task) -> int:
        known = self._numbers.get(task)
        if known is None:
            known = self._numbers[task] = len(self._tasks)
            self._tasks.append(values.Encoder({}).object(task))
        return known


class VerdictDecoder:
    """JSON that anyone may have written, to verdicts."""

    def __init__(self) -> None:
        self.boot_id = ""
        """of the last one; empty if it is not known"""
        self._tasks: list[Any] = []
        self._plain = values.Decoder({})
        self._values = values.Decoder({Task: self._tasks})

    def verdict(self, value: plain.Json) -> Verdict:
        """Raises ValueError for what no agent wrote, UnknownVerdictError for what a later one did."""
        if not isinstance(value, dict):
            raise ValueError(f"a verdict is {plain.shown(value)}")  # noqa: TRY004 - one error to expect
        boot_id = plain.text(value.get("boot"))
        self.boot_id = "" if boot_id is plain.UNKNOWN else boot_id
        tasks = value.get("tasks", [])
        if not isinstance(tasks, list):
            raise ValueError(f"tasks are {plain.shown(tasks)}")  # noqa: TRY004 - as above
        self._tasks[:] = [self._plain.object(Task, task) for task in tasks]
        if plain.UNKNOWN in self._tasks:
            raise UnknownVerdictError("a task without its pid")
        for name, kind in _KINDS.items():
            if name in value:
                found = self._values.object(kind, value[name])
                if found is plain.UNKNOWN:
                    raise UnknownVerdictError(f"a {name} of a later version")
                return _checked(found)
        raise UnknownVerdictError("neither finding nor shutdown")


def _checked(verdict: Verdict) -> Verdict:
    """What the renderers look up by name has to be there."""
    if isinstance(verdict, Finding):
        code = codes.CODES.get(verdict.code)
        if code is None or verdict.cause not in code.causes:
            raise UnknownVerdictError(f"{verdict.code}, {verdict.cause}")
        return verdict
    outcome = codes.OUTCOMES.get(verdict.outcome)
    if outcome is None or (verdict.cause is not None and verdict.cause not in outcome.causes):
        raise UnknownVerdictError(f"{verdict.outcome}, {verdict.cause}")
    if not 0 <= verdict.stop_signo <= signals.MAX_SIGNO:
        raise ValueError(f"Shutdown.stop_signo: {verdict.stop_signo}")
    return verdict
