"""Processes on the host, outside every container, under names that sigtrace knows senders by."""

from __future__ import annotations

from pathlib import Path

from sigtrace.errors import RunError
from sigtrace.lab.entered import Exec
from sigtrace.lab.process import PATH, tool


class Outside:
    """dash under other names: its comm is the name it was executed by."""

    def __init__(self, folder: Path) -> None:
        """``folder``: where the names are made; whoever made it removes it."""
        self._folder = folder

    def run(self, comm: str, command: str) -> str:
        """Let a process called ``comm`` (15 bytes at most) do a shell command; returns what it wrote.

        Raises RunError if the command fails.
        """
        self._folder.mkdir(exist_ok=True)
        program = self._folder / comm
        if not program.is_symlink():
            program.symlink_to(tool("dash"))
        # No exec: kill, echo and read are dash's own, so that the named process itself is who does it.
        done = Exec([str(program), "-c", command], {"PATH": PATH}, [comm, "-c", command])
        try:
            code = done.wait()
        finally:
            done.close()
        if code:
            raise RunError(f"{comm} outside the container: {command!r} gave {code}: {done.output.decode()!r}")
        return done.output.decode(errors="replace")
