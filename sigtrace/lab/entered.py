"""A program that the lab started beside PID 1, most of all one that entered a container from outside."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from sigtrace.errors import RunError
from sigtrace.lab.process import PATIENCE_S, Child, argv_of, descendants_of, pipe, read_available, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Exec:
    """A program that entered the container from outside, as ``kubectl exec`` makes one; it runs in the background."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], argv: Sequence[str]) -> None:
        """``command`` leads to the program ``argv``."""
        self._argv = tuple(argv)
        self._reader, writer = pipe()
        try:
            self._child = Child(command, env, subprocess.DEVNULL, writer, writer)
        except BaseException:
            os.close(self._reader)
            raise
        finally:
            os.close(writer)
        #: What it wrote, once it has ended; 64 KiB at most.
        self.output = b""

    def await_pid(self) -> int:
        """The program's pid on the host, once it is the program. Raises RunError if that takes long."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = [pid for pid in descendants_of(self._child.pid) if argv_of(pid) == self._argv]
            return bool(found)

        until(is_there, f"{' '.join(self._argv)!r} to start in the container")
        return found[0]

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, or 128 + the signal; 1 if the container was gone (nsenter). Raises RunError if it is late."""
        code = self._child.wait(timeout_s, f"the end of {' '.join(self._argv[-3:])!r} in the container")
        if self._reader >= 0:
            # Not until the end of the pipe: a process it left behind may hold it.
            self.output = read_available(self._reader)
            os.close(self._reader)
            self._reader = -1
        return code

    def close(self) -> None:
        """Wait for it, which the container's end has ended; kill the parent outside if that is not so."""
        try:
            self.wait()
        except RunError:
            self._child.kill()
            raise
