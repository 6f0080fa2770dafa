"""What is stopped, in which form, and what must come of it."""

from __future__ import annotations

import dataclasses
import shlex
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds from the stop signal to SIGKILL: more than any of these programs needs to leave when it heard the signal.
GRACE_S = 3.0


@dataclass(frozen=True)
class Place:
    """Where a program runs."""

    folder: Path
    """its working directory; everybody may read it"""
    port: int
    """on 127.0.0.1, free a moment ago"""

    def fill(self, text: str) -> str:
        """With @DIR@ and @PORT@ replaced."""
        return text.replace("@DIR@", str(self.folder)).replace("@PORT@", str(self.port))


@dataclass(frozen=True)
class Expected:
    """What sigtrace must say, and how PID 1 must end."""

    outcome: str
    cause: str | None
    status: int
    """as runtimes print it: the exit code, or 128 + the signal"""
    findings: frozenset[str] = frozenset()
    """code/cause"""
    why: str = ""
    """what isn't obvious, for the table's notes"""

    def __str__(self) -> str:
        verdict = f"{self.outcome}/{self.cause}" if self.cause else self.outcome
        return f"{verdict}, {self.status}; {', '.join(sorted(self.findings)) or '–'}"


EXPIRED = "killed/grace-expired"
GRACEFUL = Expected("graceful", None, 0)
#: It cleaned up and then sent itself the signal again, or says 128 + n by itself (a JVM).
GRACEFUL_143 = dataclasses.replace(GRACEFUL, status=143)
TERMINATED = Expected("terminated", "no-handler", 143)
SLOW = Expected("escalated", "slow", 137, frozenset({EXPIRED}))
SHELL_FORM = Expected("escalated", "dropped", 137, frozenset({"signal-dropped/shell-form", EXPIRED}))
NOT_FORWARDED = Expected(
    "escalated", "not-forwarded", 137, frozenset({"signal-not-forwarded/main-kept-waiting", EXPIRED})
)
NO_HANDLER = Expected("escalated", "dropped", 137, frozenset({"signal-dropped/no-handler", EXPIRED}))

#: Form → PID 1's command.
FORMS: Mapping[str, Callable[[list[str]], list[str]]] = {
    "exec": lambda argv: argv,
    "shell": lambda argv: ["sh", "-c", shlex.join(argv)],
    "tini": lambda argv: ["tini", "--", *argv],
    "dumb-init": lambda argv: ["dumb-init", *argv],
    "bash -c": lambda argv: ["bash", "-c", shlex.join(argv)],
    "busybox sh -c": lambda argv: ["busybox", "sh", "-c", shlex.join(argv)],
}


def no_client(_: Place) -> AbstractContextManager[None]:
    """Nobody is connected."""
    return nullcontext()


def nothing_to_prepare(_: Place) -> None:
    """Its files are enough."""


@dataclass(frozen=True, eq=False)
class Program:
    """One program, asked to stop in one way."""

    name: str
    argv: str
    """of the exec form, as a shell would split it; with @DIR@ and @PORT@"""
    forms: Mapping[str, Expected]
    signo: signal.Signals = signal.SIGTERM
    declared: bool = True
    """the image says so (STOPSIGNAL), and the runtime told sigtrace"""
    needs: tuple[str, ...] = ()
    """programs on PATH; ``python:NAME`` is a module of the virtual environment"""
    version: str = ""
    """the command that prints it"""
    files: tuple[str, ...] = ()
    """of tests/programs/files"""
    listens: bool = True
    says: tuple[bytes, int] = (b"", 0)
    """what it writes when it is up, and how often"""
    processes: int = 1
    """at least, in the exec form, when it is up"""
    takes: str = ""
    """of a program that loses a stop signal in its start: who have to catch it, unblocked, before it is up"""
    user: str = "root"
    prepare: Callable[[Place], None] = nothing_to_prepare
    client: Callable[[Place], AbstractContextManager[None]] = no_client
    """who is connected when it is asked to stop"""
    pre_stop: str = ""
    """a shell command that enters the container and asks for the end; then no signal is sent unless that fails"""

    def command(self, form: str, place: Place) -> list[str]:
        """PID 1's, in that form."""
        argv = FORMS[form]([place.fill(word) for word in shlex.split(self.argv)])
        if self.user != "root":
            argv = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", "--", *argv]
        # A runtime makes PID 1 the leader of a session; the lab leaves it in the process group of its shim.
        return ["setsid", *argv]


@dataclass(frozen=True)
class Case:
    """A program in a form."""

    program: Program
    form: str

    @property
    def name(self) -> str:
        """As --only takes it."""
        return f"{self.program.name}-{self.form.replace(' ', '')}"

    @property
    def expected(self) -> Expected:
        """Of this form."""
        return self.program.forms[self.form]

    @property
    def needs(self) -> tuple[str, ...]:
        """The program's, and the form's."""
        form = () if self.form in {"exec", "shell"} else (self.form.split()[0],)
        return (*self.program.needs, *form)


@dataclass(frozen=True)
class Seen:
    """What came of it; the first four without sigtrace."""

    status: int
    duration_s: float
    processes: tuple[str, ...]
    """``ns pid comm`` of each, before the stop"""
    signals: tuple[str, ...]
    output: str
    outcome: str = ""
    cause: str | None = None
    findings: tuple[str, ...] = ()
    reported_status: int | None = None
    records: tuple[str, ...] = field(default=(), repr=False)
    """sigtrace's, as JSON"""

    def __str__(self) -> str:
        verdict = f"{self.outcome}/{self.cause}" if self.cause else self.outcome
        return f"{verdict}, {self.reported_status}; {', '.join(sorted(self.findings)) or '–'}"


def difference(expected: Expected, seen: Seen) -> str:
    """In words; empty if there is none."""
    found = []
    if seen.status != expected.status:
        found.append(f"the program itself ended with {seen.status}, not {expected.status}")
    if seen.reported_status != seen.status:
        found.append(f"sigtrace says status {seen.reported_status}, the lab {seen.status}")
    if (seen.outcome, seen.cause) != (expected.outcome, expected.cause):
        found.append(f"outcome {seen.outcome}/{seen.cause} instead of {expected.outcome}/{expected.cause}")
    if sorted(seen.findings) != sorted(expected.findings):
        found.append(f"findings {sorted(seen.findings)} instead of {sorted(expected.findings)}")
    return "; ".join(found)
