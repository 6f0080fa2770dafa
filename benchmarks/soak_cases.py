# SPDX-License-Identifier: Apache-2.0
"""The ways in which a soak's containers stop, and what must be told of each. Words of programs: see soak.c."""

import dataclasses
import shlex
import shutil
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from sigtrace.model.signals import number

#: Age (s) at which the agent tells a zombie, and how long those of a soak live: it looks once a second.
ZOMBIE_AFTER_S = 2.0
_ZOMBIES_LIVE_S = 4.5
_OOM_BYTES = 16 << 20
_GRACE_S = 0.3


class Act(Enum):
    """What the harness does once the container is up."""

    STOP = auto()
    """SIGTERM, and SIGKILL if it is there still when the grace is over"""
    WATCH = auto()
    """nothing: it ends by itself"""
    KILL_AS_RUNTIME = auto()
    """SIGKILL, sent by something called runc"""
    HALT = auto()
    """SIGSTOP, and then as STOP"""
    HOOK = auto()
    """a program enters and makes it leave, as a preStop hook"""
    PROBE = auto()
    """a program enters and leaves; then as STOP"""
    PROBE_TIMES_OUT = auto()
    """one enters that runc has to kill; then as STOP"""


@dataclass(frozen=True)
class Case:
    """One way to stop."""

    name: str
    argv: tuple[str, ...]
    outcome: str
    """with its cause after a slash, if it has one"""
    code: int
    """as runtimes print it"""
    findings: frozenset[str] = frozenset()
    """code/cause of each, and there are no others"""
    act: Act = Act.STOP
    weight: int = 10
    """how often, beside the others"""
    live_s: float = 0.0
    """from up to the stop, at least"""
    entered: tuple[str, ...] = ()
    """the command that enters"""
    memory_bytes: int = 0
    """its limit; 0: none"""

    @property
    def escalates(self) -> bool:
        """Whether it takes SIGKILL to end it."""
        return self.outcome.startswith("escalated")

    @property
    def grace_s(self) -> float:
        """What the harness grants: little where it must run out, more than it can take elsewhere."""
        return _GRACE_S if self.escalates else 30.0


def target(program: str, words: str) -> tuple[str, ...]:
    """The command of one program; signals by their names."""
    return (program, "target", *(str(number(w)) if w.startswith("SIG") else w for w in words.split()))


_SERVER = "handle SIGTERM ready wait exit 0"
_POOL = "handle SIGTERM times 2 [ fork [ wait ] ]"
_SUPERVISOR = "handle SIGTERM times 6 [ fork [ pause 10000 segv ] reap 1 ] fork [ wait ] ready wait tell SIGTERM reap 0"

#: name, program, outcome, exit code, findings, and the fields that are not usual.
_PROGRAMS: tuple[tuple[str, str, str, int, str, dict[str, object]], ...] = (
    ("server", _SERVER, "graceful", 0, "", {"weight": 60}),
    ("pool", f"{_POOL} ready wait tell SIGTERM reap 0", "graceful", 0, "", {"weight": 30}),
    ("job", "ready pause 20000 exit 0", "exited", 0, "", {"act": Act.WATCH, "weight": 20}),
    ("main-first", "times 2 [ fork [ sleep 1000000000 ] ] handle SIGTERM ready wait exit 0",
        "incomplete/main-exited-first", 0, "signal-not-forwarded/main-exited-first", {}),
    ("no-handler", "ready sleep 1000000000",
        "escalated/dropped", 137, "signal-dropped/no-handler killed/grace-expired", {"weight": 30}),
    ("slow", "handle SIGTERM ready wait sleep 1000000000",
        "escalated/slow", 137, "killed/grace-expired", {}),
    ("ignored", "ignore SIGTERM ready sleep 1000000000",
        "escalated/ignored", 137, "signal-ignored/sig-ign killed/grace-expired", {}),
    ("blocked", "block SIGTERM ready sleep 1000000000",
        "escalated/pending", 137, "signal-pending/blocked killed/grace-expired", {}),
    ("late-drop", "block SIGTERM ready pending SIGTERM unblock SIGTERM sleep 1000000000",
        "escalated/dropped", 137, "signal-dropped/late-drop killed/grace-expired", {}),
    ("stopped", _SERVER, "escalated/pending", 137, "signal-pending/stopped killed/grace-expired", {"act": Act.HALT}),
    ("segfault", "ready segv", "crashed/fatal-signal", 139, "crashed/fatal-signal", {"act": Act.WATCH}),
    ("abort", "ready abort", "crashed/abort-as-pid1", 139, "crashed/abort-as-pid1", {"act": Act.WATCH}),
    ("exit-status", "ready exit 3", "crashed/exit-status", 3, "crashed/exit-status", {"act": Act.WATCH}),
    ("masked-crash", _SUPERVISOR, "graceful", 0, "crash-masked/supervisor-restarts", {"weight": 20}),
    ("worker-crash", "handle SIGTERM fork [ segv ] reap 1 ready wait exit 0",
        "graceful", 0, "crashed/fatal-signal", {}),
    ("runtime-kills", _SERVER, "killed/no-stop-signal", 137, "killed/no-stop-signal", {"act": Act.KILL_AS_RUNTIME}),
    ("by-parent", "handle SIGTERM fork [ sleep 1000000000 ] tell SIGKILL reap 1 ready wait exit 0",
        "graceful", 0, "killed/by-parent", {}),
    ("zombies", "handle SIGTERM times 3 [ fork [ ] ] ready wait exit 0",
        "graceful", 0, "zombie-unreaped/pid1-does-not-reap", {"live_s": _ZOMBIES_LIVE_S, "weight": 4}),
    ("probed", _SERVER, "graceful", 0, "", {"act": Act.PROBE, "entered": "pause 1000"}),
    ("hook", "handle SIGQUIT ready wait exit 0",
        "graceful/pre-stop", 0, "", {"act": Act.HOOK, "entered": "raise 1 SIGQUIT pause 50000"}),
    ("probe-times-out", _SERVER, "graceful", 0, "killed/exec-timeout",
        {"act": Act.PROBE_TIMES_OUT, "entered": "ready sleep 1000000000"}),
)  # fmt: skip


def cases(program: str, folder: Path, *, memory: bool) -> list[Case]:
    """All that can be had. ``program``: soak.c's; ``folder``: takes scripts; ``memory``: it can be limited here."""
    found = []
    for name, words, outcome, code, findings, fields in _PROGRAMS:
        rest = dict(fields)
        rest["entered"] = target(program, str(rest["entered"])) if "entered" in rest else ()
        found.append(Case(name, target(program, words), outcome, code, frozenset(findings.split()), **rest))  # type: ignore[arg-type]
    server = shlex.join(target(program, _SERVER))
    script = folder / "entrypoint.sh"
    script.write_text(f"#!/bin/sh\n{server}\ntrue\n")
    script.chmod(0o755)
    dropped = frozenset({"signal-dropped/shell-form", "killed/grace-expired"})
    shell_form = Case("shell-form", ("sh", "-c", f"{server}; true"), "escalated/dropped", 137, dropped, weight=30)
    by_script = frozenset({"signal-dropped/script-without-exec", "killed/grace-expired"})
    relays = ("sh", "-c", f"{shlex.join(target(program, 'ready segv'))}; exit $?")
    found += [
        shell_form,
        dataclasses.replace(shell_form, name="script", argv=(str(script),), findings=by_script, weight=10),
        Case("relayed", relays, "crashed/relayed", 139, frozenset({"crashed/relayed"}), Act.WATCH),
    ]
    if shutil.which("tini"):
        found += [
            Case("tini", ("tini", "--", *target(program, _SERVER)), "graceful", 0, weight=20),
            Case("tini-plain", ("tini", "--", *target(program, "ready wait")), "terminated/no-handler", 143, weight=20),
        ]
    if memory:
        oom = Case("oom", target(program, "ready eat"), "oom/main-process", 137, frozenset({"killed/oom"}), Act.WATCH)
        child = target(program, "ready fork [ eat ] reap 1 exit 1")
        both = frozenset({"killed/oom", "crashed/exit-status"})
        oom = dataclasses.replace(oom, memory_bytes=_OOM_BYTES, weight=3)
        found += [
            oom,
            dataclasses.replace(
                oom, name="oom-child", argv=child, outcome="crashed/exit-status", code=1, findings=both
            ),
        ]
    return found


#: Long-lived: what is busy beside those that stop, and of which nothing may be told until they are stopped, too.
BUSY = {
    "forks": "handle SIGTERM ready rate 300 [ fork [ ] reap 1 ] exit 0",
    "counted": "handle SIGTERM take SIGURG ready rate 5000 [ self SIGURG ] exit 0",
    "zombies": "handle SIGTERM ready loop [ times 20 [ fork [ ] ] pause 500000 reap 0 ] exit 0",
    "told": "handle SIGTERM take SIGHUP ready wait exit 0",
    "probed": "handle SIGTERM ready wait exit 0",
}
