"""`sigtrace doctor`: what this host can do; each backend, why it is refused, the fix; and who can know what."""

from __future__ import annotations

import json
import os
import shutil
import textwrap
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import click

from sigtrace import __version__
from sigtrace.cli import options
from sigtrace.errors import EXIT_HOST, EXIT_OK, HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sigtrace.attribution.runtimes.base import SocketStatus
    from sigtrace.sources.host import Host
    from sigtrace.sources.select import Backend

#: Columns of a fact's name, and where its value begins.
_NAME, _INDENT = 16, 22

#: Backends that prove by trying that they work.
_TRIED = ("bpf", "bcc")
_SECCOMP = {0: "off", 1: "strict", 2: "a filter"}


@dataclass(frozen=True, slots=True)
class Row:
    """One fact for people; ``good``: None where it is neither."""

    name: str
    value: str
    good: bool | None = None


def try_out(name: str) -> None:
    """Loads, attaches and detaches the programs of bpf or bcc. Raises HostError with the reason and the next step."""
    if name == "bcc":
        from sigtrace.sources import bcc

        bcc.probe()
    else:
        from sigtrace.sources import bpf

        bpf.probe()


def ask_runtimes() -> list[SocketStatus]:
    """Each runtime's socket that is there, and what it answers."""
    from sigtrace import commands

    return commands.ask_runtimes()


@dataclass(frozen=True, slots=True)
class Pinned:
    """What an agent left in the kernel."""

    count: int
    read: bool | None
    """an agent reads it now; None: that can't be seen from here"""


def look_at_pins() -> Pinned:
    """What is pinned where an agent is told to pin, or at the usual place."""
    from sigtrace.sources import pins

    folder = os.environ.get("SIGTRACE_AGENT_PIN") or pins.FOLDER
    count = len(pins.leftovers(folder))
    return Pinned(count, pins.reading(folder) if count else False)


@click.command()
@options.output
def doctor(output: str) -> int:
    """What this host can do, and what to change.

    Exits with 0 if a backend works and 3 if none does.
    """
    from sigtrace.sources.host import read_host
    from sigtrace.sources.select import backends

    host = read_host()
    runtimes, pinned = ask_runtimes(), look_at_pins()
    found = [_tried(backend) for backend in backends(host)]
    if output == "json":
        click.echo(json.dumps(_record(host, found, runtimes, pinned)))
    else:
        click.echo("\n".join(_lines(host, found, runtimes, pinned)), color=options.wants_colour())
    return EXIT_OK if any(backend.available for backend in found) else EXIT_HOST


def _tried(backend: Backend) -> Backend:
    """Facts promise, only trying proves."""
    if backend.name not in _TRIED or not backend.available:
        return backend
    try:
        try_out(backend.name)
    except HostError as error:
        from sigtrace.sources.refusals import Refusal

        return replace(backend, refusals=(Refusal("it was tried", error.message, error.next_step),))
    return backend


def _rows(host: Host) -> Iterator[Row]:
    yield Row("kernel", f"{host.release} {host.machine}")
    yield Row("BTF", "/sys/kernel/btf/vmlinux" if host.btf else "missing", host.btf)
    yield Row("BPF programs", "compiled" if host.bpf_object else "missing", host.bpf_object)
    yield Row(
        "libbpf", host.libbpf or "libbpf.so.1 not found (Debian: libbpf1, Fedora: libbpf)", host.libbpf is not None
    )
    enough = host.has("CAP_BPF") and host.has("CAP_PERFMON")
    yield Row("capabilities", ", ".join(host.capabilities) or "none that matters", enough)
    yield Row("user namespace", _whose(host.userns), host.userns)
    yield Row("PID namespace", _whose(host.pidns), host.pidns)
    yield Row("seccomp", "unknown" if host.seccomp is None else _SECCOMP.get(host.seccomp, str(host.seccomp)))
    limit = "unlimited" if host.memlock is None else f"{host.memlock / 1024:,.0f} KiB"
    counts = "BPF maps count against it" if host.charges_memlock else "no matter: BPF maps don't count from 5.11 on"
    yield Row("memlock", f"{limit} ({counts})")
    guards = ", ".join(host.lsm) or "unknown"
    yield Row(
        "security",
        f"modules {guards}; lockdown {host.lockdown or 'unknown'}",
        False if host.lockdown == "confidentiality" else None,
    )
    if host.hierarchy is None:
        yield Row("cgroups", "no hierarchy found: containers can't be told apart", good=False)
    else:
        which = {"v2": "v2", "pids": "v1 pids", "memory": "v1 memory"}[host.hierarchy.kind.name.lower()]
        yield Row("cgroups", f"{host.cgroup_layout}; containers are in {which}, {host.hierarchy.mount}", good=True)


def _of_runtimes(runtimes: list[SocketStatus]) -> Iterator[Row]:
    for status in runtimes:
        words = f"{status.runtime}, {status.path}" if status.runtime else f"{status.path}: {status.error}"
        yield Row("runtime", words, status.error is None)
    if not runtimes:
        yield Row("runtimes", "no socket of containerd, CRI-O, Docker or Podman seen from here: containers go by ids")


def _of_pins(pinned: Pinned) -> Iterator[Row]:
    if pinned.read:
        yield Row("pins", f"{pinned.count} in bpffs, read by an agent", good=True)
    elif pinned.count and pinned.read is None:
        yield Row("pins", f"{pinned.count} in bpffs; whether an agent reads them can't be seen from here")
    elif pinned.count:
        yield Row("pins", f"{pinned.count} in bpffs, read by nobody; remove them: sigtrace agent --unpin", good=False)


def _whose(first: bool | None) -> str:
    return "unknown" if first is None else "the host's" if first else "not the host's"


def _lines(host: Host, found: list[Backend], runtimes: list[SocketStatus], pinned: Pinned) -> Iterator[str]:
    from sigtrace.sources.select import KNOWLEDGE

    width = max(40, min(80, shutil.get_terminal_size().columns))
    marks = {True: click.style("ok", fg="green"), False: click.style("no", fg="red", bold=True), None: "  "}
    yield click.style(f"sigtrace {__version__} on this host", bold=True)
    for row in (*_rows(host), *_of_runtimes(runtimes), *_of_pins(pinned)):
        text = _fill(row.value, width, _INDENT)
        yield f"  {marks[row.good]}  {row.name:<{_NAME}}{text}"
    yield ""
    yield click.style("backends, the best first", bold=True)
    for backend in found:
        if backend.available:
            proof = (
                "loaded, attached and detached" if backend.name in _TRIED else "nothing is known to stand in its way"
            )
            yield f"  {marks[True]}  {backend.name:<{_NAME}}{proof}"
        for number, refusal in enumerate(backend.refusals):
            start = f"  {marks[False]}  {backend.name:<{_NAME}}" if number == 0 else " " * _INDENT
            yield start + _fill(str(refusal), width, _INDENT)
            yield (
                " " * (_INDENT - 5)
                + click.style("fix", fg="green", bold=True)
                + "  "
                + _fill(refusal.fix, width, _INDENT)
            )
    yield ""
    yield click.style("who can know what", bold=True)
    first = max(len(what) for what, _ in KNOWLEDGE) + 4
    # bcc knows what bpf knows: two columns say it all in 80.
    yield " " * first + "bpf, bcc".ljust(19) + "ptrace"
    for what, (by_bpf, _, by_ptrace) in KNOWLEDGE:
        yield f"  {what}".ljust(first) + by_bpf.ljust(19) + by_ptrace
    yield "  " + _fill("names of containers and pods: whoever can reach the runtime's socket", width, 2)


def _fill(text: str, width: int, indent: int) -> str:
    """Wrapped to follow something that is ``indent`` columns wide."""
    pad = " " * indent
    return textwrap.fill(text, width, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False).lstrip()


def _record(host: Host, found: list[Backend], runtimes: list[SocketStatus], pinned: Pinned) -> dict[str, object]:
    from sigtrace.sources.select import BACKENDS, KNOWLEDGE

    hierarchy = host.hierarchy
    return {
        "schema": 1,
        "type": "doctor",
        "version": __version__,
        "kernel": {"release": host.release, "machine": host.machine},
        "btf": host.btf,
        "bpf_object": host.bpf_object,
        "libbpf": host.libbpf,
        "uid": host.uid,
        "capabilities": list(host.capabilities),
        "user_namespace_first": host.userns,
        "pid_namespace_first": host.pidns,
        "seccomp": host.seccomp,
        "memlock": {"bytes": host.memlock, "counts": host.charges_memlock},
        "lsm": list(host.lsm),
        "lockdown": host.lockdown,
        "unprivileged_bpf_disabled": host.unprivileged_bpf_disabled,
        "cgroups": {
            "layout": host.cgroup_layout,
            "hierarchy": hierarchy.kind.name.lower() if hierarchy else None,
            "mount": hierarchy.mount if hierarchy else None,
        },
        "runtimes": [asdict(status) for status in runtimes],
        "pins": asdict(pinned),
        "backends": [
            {"name": one.name, "available": one.available, "refusals": [asdict(refusal) for refusal in one.refusals]}
            for one in found
        ],
        "knows": {what: dict(zip(BACKENDS, answers, strict=True)) for what, answers in KNOWLEDGE},
    }
