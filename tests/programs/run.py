"""Runs one case: a container, the program in it, the stop; what came of it, without sigtrace."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sigtrace.errors import RunError
from sigtrace.lab.container import Container
from sigtrace.lab.process import is_asleep, tool
from sigtrace.model import signals
from tests.programs.case import GRACE_S, Case, Place, Program, Seen
from tests.programs.helpers import SEARCH, VENV, answers, free_port

FILES = Path(__file__).with_name("files")
FIX = "run tools/programs"

#: A JVM that compiles its program, or PostgreSQL, on a loaded machine.
_READY_S = 60.0
_PAUSE_S = 0.01


def missing(case: Case) -> str:
    """What this machine lacks for it, with the fix; empty if nothing."""
    lacking = [need for need in case.needs if not _is_there(need)]
    return f"{', '.join(lacking)} missing: {FIX}" if lacking else ""


def _is_there(need: str) -> bool:
    kind, _, module = need.partition(":")
    if kind == "python":
        return any(VENV.glob(f"lib/python3*/site-packages/{module}/__init__.py"))
    return shutil.which(need, path=SEARCH) is not None


def version(program: Program) -> str:
    """The first number with a dot that its version command prints."""
    argv = shlex.split(program.version)
    done = subprocess.run(argv, env={"PATH": SEARCH}, capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).replace("/", " ").replace("=", " ").replace('"', " ").split()
    numbers = (word.strip("v,()") for word in words)
    return next((n for n in numbers if n[:1].isdigit() and "." in n), "?")


def run(case: Case) -> tuple[Seen, int]:
    """Returns what was seen without sigtrace, and the id of the container's cgroup.

    Raises RunError, also if the program is not up within a minute, with what it wrote.
    """
    program = case.program
    with tempfile.TemporaryDirectory(prefix="sigtrace-programs-", ignore_cleanup_errors=True) as folder:
        place = Place(Path(folder), free_port())
        _furnish(place, program)
        name = f"{case.name}-{secrets.token_hex(3)}"
        with Container(name, workdir=folder, env={"PATH": f"{folder}:{SEARCH}", "HOME": folder}) as box:
            box.start(program.command(case.form, place))
            _wait_until_up(box, case, place)
            with program.client(place):
                processes = _processes(box)
                seen = _stop(box, case, place, processes)
        return seen, box.cgroup_id


def _furnish(place: Place, program: Program) -> None:
    place.folder.chmod(0o755)  # PostgreSQL and www-data have to read it
    # Where /bin/sh is bash, it would execute its last command: no shell form.
    (place.folder / "sh").symlink_to(tool("dash"))
    for name in program.files:
        text = (FILES / name).read_text(encoding="utf-8")
        (place.folder / name).write_text(place.fill(text), encoding="utf-8")
    program.prepare(place)


def _wait_until_up(box: Container, case: Case, place: Place) -> None:
    program = case.program
    line, times = program.says
    extra = int(case.form in {"shell", "tini", "dumb-init"})  # the others become the program
    deadline = time.monotonic() + _READY_S
    while True:
        box.wait_ready(asleep=False)  # also reads what it writes, and raises if it ends
        pids = box.cgroup.pids() if box.cgroup else []
        lacking = [
            f"{times} × {os.fsdecode(line)!r}" if box.output.count(line) < times else "",
            f"port {place.port}" if program.listens and not answers(place.port) else "",
            f"{program.processes + extra} processes" if len(pids) < program.processes + extra else "",
            "all its processes to wait for work" if not all(map(is_asleep, pids)) else "",
            f"{program.takes} to take {program.signo.name}" if not _takes_it(program, pids) else "",
        ]
        if not any(lacking):
            return
        if time.monotonic() > deadline:
            raise RunError(
                f"waited {_READY_S:g} s for {', '.join(filter(None, lacking))} of {case.name}; it says "
                f"{box.output[-2000:].decode(errors='replace')!r}",
                next_step="start it by hand",
            )
        time.sleep(_PAUSE_S)


def _takes_it(program: Program, pids: Sequence[int]) -> bool:
    """Whether those that must take the stop signal would, if any must."""
    statuses = [status for status in map(_status, pids) if status.get("Name") == program.takes]
    return all(
        signals.in_mask(int(status["SigCgt"], 16), program.signo)
        and not signals.in_mask(int(status["SigBlk"], 16), program.signo)
        for status in statuses
    )


def _processes(box: Container) -> tuple[str, ...]:
    statuses = map(_status, box.cgroup.pids() if box.cgroup else [])
    return tuple(f"{status['NSpid'].split()[-1]} {status['Name']}" for status in statuses if status)


def _status(pid: int) -> dict[str, str]:
    """/proc/PID/status by its names; nothing of a process that is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}


def _stop(box: Container, case: Case, place: Place, processes: tuple[str, ...]) -> Seen:
    program = case.program
    began = time.monotonic()
    if program.pre_stop:
        box.exec(["sh", "-c", place.fill(program.pre_stop)])
        with contextlib.suppress(RunError):
            box.wait(GRACE_S)
    stop = box.stop(GRACE_S, program.signo)
    return Seen(
        status=stop.wait_status.code,
        duration_s=stop.duration_s or time.monotonic() - began,
        processes=processes,
        signals=tuple(signals.name(sent.signo) for sent in stop.signals),
        output=box.output.decode(errors="replace"),
    )
