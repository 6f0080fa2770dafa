"""Which source of events this host allows, and why each of the others was refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sigtrace.errors import HostError, UsageError
from sigtrace.sources.refusals import Refusal, bpf_refusals

if TYPE_CHECKING:
    from sigtrace.sources.host import Host

AUTO: Final = "auto"
#: In the order in which `auto` takes them: the first sees most.
BACKENDS: Final = ("bpf", "bcc", "ptrace")

_LATER: Final = Refusal("not in this version", "it comes with a later one", "use bpf, the one that this version has")


#: What each backend can know, in the order of BACKENDS. What it can't is null in records, never guessed.
KNOWLEDGE: Final = (
    ("processes", ("all of the node", "all of the node", "those it traces")),
    ("signals: dropped, ignored, queued", ("the kernel's word", "the kernel's word", "deliveries only")),
    ("who sent a signal", ("yes", "yes", "own PID namespace")),
    ("handlers, blocked and pending signals", ("at the signal", "at the signal", "from /proc")),
    ("exits, and who was killed by what", ("yes", "yes", "those it traces")),
    ("zombies, and who owes the wait", ("yes", "yes", "from /proc")),
)


@dataclass(frozen=True, slots=True)
class Backend:
    """A source, and what stands in its way."""

    name: str
    refusals: tuple[Refusal, ...]

    @property
    def available(self) -> bool:
        """Whether nothing is known to stand in its way; only opening it proves that it works."""
        return not self.refusals


def backends(host: Host) -> list[Backend]:
    """All of them, in the order of BACKENDS."""
    refusals = {"bpf": tuple(bpf_refusals(host))}
    return [Backend(name, refusals.get(name, (_LATER,))) for name in BACKENDS]


def choose(name: str, host: Host) -> str:
    """The backend to open: the one asked for or, for ``auto``, the first that is available.

    Raises HostError with every reason if there is none, UsageError for a name that is no backend.
    """
    known = backends(host)
    if name == AUTO:
        for backend in known:
            if backend.available:
                return backend.name
        raise no_backend(known)
    for backend in known:
        if backend.name == name:
            if backend.available:
                return name
            first = backend.refusals[0]
            raise HostError(f"cannot use backend {name}: {first}", next_step=first.fix)
    raise UsageError(f"{name!r} is no backend", next_step=f"use one of {', '.join((AUTO, *BACKENDS))}")


def no_backend(known: list[Backend]) -> HostError:
    """What to say when none works: each one's first reason, and the fix for the first that can be mended here."""
    mendable = [backend for backend in known if backend.refusals and backend.refusals[0] is not _LATER]
    reasons = "; ".join(f"{backend.name}: {backend.refusals[0]}" for backend in mendable)
    fixes = [backend.refusals[0].fix for backend in known if backend.refusals and backend.refusals[0] is not _LATER]
    return HostError(f"no backend works on this host ({reasons})", next_step=fixes[0] if fixes else "")
