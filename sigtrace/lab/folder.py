"""The folder that a scenario's container starts in, with its programs; it goes, even if the lab is killed with -9."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sigtrace.lab.process import PATH, PATIENCE_S, Child, pipe, tool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

# Its stdin closes when the lab dies.
_JANITOR: Final = 'read -r word; [ "$word" = bye ] || exec "$2" -rf -- "$1"'
_PREFIX: Final = "sigtrace-lab-"
#: Younger ones may not be locked yet, s.
_YOUNG_S: Final = 60.0


def sweep() -> None:
    """Removes folders whose owner and whose janitor were both killed: nobody has them locked any more."""
    for entry in os.scandir(tempfile.gettempdir()):
        # Of others there is nothing to remove: anybody may give a folder such a name.
        if not entry.name.startswith(_PREFIX) or not entry.is_dir(follow_symlinks=False):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                status = os.fstat(fd)
                ours = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == stat.S_IRWXU
                if ours and time.time() - status.st_mtime > _YOUNG_S:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(fd)


class Folder:
    """``with Folder(files) as path:``; ``files`` is name → content, and what begins with ``#!`` is executable."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._control = -1
        self._lock = -1
        self._janitor: Child | None = None
        self.path: Path | None = None

    def __enter__(self) -> Path:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._guard(self.path)
            self._furnish(self.path)
        except BaseException:
            self.close()
            raise
        return self.path

    def _guard(self, path: Path) -> None:
        orders, self._control = pipe()
        command = [tool("dash"), "-c", _JANITOR, "sigtrace-lab-janitor", str(path), tool("rm")]
        try:
            self._janitor = Child(command, {"PATH": PATH}, orders, subprocess.DEVNULL, subprocess.DEVNULL)
        finally:
            os.close(orders)

    def _furnish(self, path: Path) -> None:
        # Most programs of the scenarios are dash under other names, so that they start in a millisecond, are one
        # process and read on the screen like what they stand for. sh, too: where /bin/sh is bash, it would execute its
        # last command.
        for name in ("sh", "app-server", "pause"):
            (path / name).symlink_to(tool("dash"))
        # The interpreter that we run on, outside any virtual environment.
        (path / "python3").symlink_to(os.path.realpath(sys.executable))
        os.mkfifo(path / "requests")
        for name, text in self._files.items():
            (path / name).write_text(text, encoding="utf-8")
            if text.startswith("#!"):
                (path / name).chmod(0o755)

    def close(self) -> None:
        """Remove it; safe to call twice."""
        if self.path:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._control >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._control, b"bye\n")
            os.close(self._control)
            self._control = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._janitor:
            self._janitor.wait(PATIENCE_S, f"the janitor of {self.path}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
