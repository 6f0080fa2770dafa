"""Which source of events this host allows, and why each of the others was refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sigtrace.errors import HostError, UsageError
from sigtrace.sources.ptrace.refusals import ptrace_refusals
from sigtrace.sources.refusals import bpf_refusals

if TYPE_CHECKING:
    from sigtrace.sources.base import Source
    from sigtrace.sources.host import Host
    from sigtrace.sources.options import BpfOptions
    from sigtrace.sources.refusals import Refusal

AUTO: Final = "auto"
#: In the order in which `auto` takes them: the first sees most.
BACKENDS: Final = ("bpf", "bcc", "ptrace")

#: What each backend can know, in the order of BACKENDS. What it can't is null in records, never guessed. In full, and
#: checked: docs/backends.md, tests/contract.
KNOWLEDGE: Final = (
    ("processes", ("all of the node", "all of the node", "all of the node")),
    ("signals: dropped, ignored, queued", ("the kernel's word", "the kernel's word", "deliveries only")),
    ("to whom", ("every process", "every process", "containers' mains")),
    ("who sent a signal", ("yes", "yes", "own PID namespace")),
    ("handlers, blocked and pending signals", ("at the signal", "at the signal", "from /proc")),
    ("signals taken by sigwait or signalfd", ("yes", "yes", "no")),
    ("who sent SIGKILL, and why", ("yes", "yes", "no")),
    ("exits and their status", ("yes", "yes", "yes")),
    ("zombies, and who owes the wait", ("yes", "yes", "from /proc")),
    ("what programs notice of it", ("nothing", "nothing", "EINTR at times")),
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
    from sigtrace.sources.bcc_host import bcc_refusals, read_tools

    refusals = {
        "bpf": bpf_refusals(host),
        "bcc": bcc_refusals(host, read_tools(host.release)),
        "ptrace": ptrace_refusals(host),
    }
    return [Backend(name, tuple(refusals[name])) for name in BACKENDS]


def choices(name: str, host: Host, without: Sequence[str] = ()) -> list[str]:
    """The backends to open, one after the other until one can be: the one asked for; for ``auto`` all that may work.

    ``without``: those that ``auto`` is not to come to.

    Raises HostError with every reason if there is none, UsageError for a name that is no backend.
    """
    known = backends(host)
    if name == AUTO:
        known = [backend for backend in known if backend.name not in without]
        found = [backend.name for backend in known if backend.available]
        if not found:
            raise no_backend(known)
        return found
    for backend in known:
        if backend.name == name:
            if backend.available:
                return [name]
            first = backend.refusals[0]
            raise HostError(f"cannot use backend {name}: {first}", next_step=first.fix)
    raise UsageError(f"{name!r} is no backend", next_step=f"use one of {', '.join((AUTO, *BACKENDS))}")


def choose(name: str, host: Host) -> str:
    """The first of :func:`choices`."""
    return choices(name, host)[0]


def why_not_better(name: str, host: Host) -> list[str]:
    """Why ``auto`` came to this one: the first reason against each that sees more."""
    known = backends(host)
    above = known[: BACKENDS.index(name)]
    return [f"{one.name} is refused: {one.refusals[0]}" for one in above if one.refusals]


def make(name: str, options: BpfOptions) -> Source:
    """The source of that name, not yet open; a BccSource is a BpfSource."""
    if name == "ptrace" and options.signalfds:
        from sigtrace.sources.ptrace.onlooker import Onlooker

        return Onlooker()
    if name == "ptrace":
        from sigtrace.sources.ptrace.options import PtraceOptions
        from sigtrace.sources.ptrace.source import PtraceSource

        return PtraceSource(
            PtraceOptions(
                signal_mask=options.signal_mask,
                tell_all=options.tell_all,
                follow=options.follow,
                children=options.children,
                zombie_after_s=options.zombie_after_s,
                max_tracees=options.max_tracees,
                whole=options.whole,
            )
        )
    if name == "bcc":
        from sigtrace.sources.bcc import BccSource

        return BccSource(options)
    from sigtrace.sources.bpf import BpfSource

    return BpfSource(options)


def no_backend(known: list[Backend]) -> HostError:
    """What to say when none works: each one's first reason, and the fix for the first that can be mended here."""
    refused = [backend for backend in known if backend.refusals]
    reasons = "; ".join(f"{backend.name}: {backend.refusals[0]}" for backend in refused)
    fixes = [backend.refusals[0].fix for backend in refused]
    return HostError(f"no backend works on this host ({reasons})", next_step=fixes[0] if fixes else "")
