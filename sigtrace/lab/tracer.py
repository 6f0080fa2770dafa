"""A tracer on the host that holds a process stopped."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from sigtrace.errors import HostError
from sigtrace.lab.process import PATH, PATIENCE_S, Child, pipe, read_available, readable


class Tracer:
    """``with Tracer(pid):`` the process is stopped under ptrace; it goes on, if it lives, when the block is left."""

    def __init__(self, pid: int) -> None:
        """Raises HostError if the process can't be traced."""
        program = Path(__file__).with_name("_ptrace.py")
        orders, self._hold = pipe()
        reader, said = pipe()
        try:
            self._child = Child([sys.executable, "-I", str(program), str(pid)], {"PATH": PATH}, orders, said, said)
        except BaseException:
            os.close(self._hold)
            os.close(reader)
            raise
        finally:
            os.close(orders)
            os.close(said)
        answer = read_available(reader) if readable(PATIENCE_S, reader) else b"no answer"
        os.close(reader)
        if answer != b"attached\n":
            self.close()
            raise HostError(
                f"pid {pid} can't be traced: {answer.decode().strip()}", next_step="run as root on the host"
            )

    def close(self) -> None:
        """Let go; safe to call twice."""
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1
        self._child.wait(PATIENCE_S, "the tracer to let go")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
