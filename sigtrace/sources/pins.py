"""What outlives its agent: programs, their links and their maps, pinned in bpffs, so that the kernel goes on.

The folder holds ``map_NAME``, ``prog_NAME`` and ``link_NAME``. One agent reads at a time: it holds a lock on the
folder. Each ring's consumer position lies in the ring itself, and stays behind what was read, so that a successor reads
the last records again: it may see one twice, and none is lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sigtrace.errors import HostError
from sigtrace.model.event import Loss
from sigtrace.model.text import printable
from sigtrace.sources._libbpf import Map

#: Where they are unless the user names another place; below a mounted bpffs.
FOLDER: Final = "/sys/fs/bpf/sigtrace"
_CAUSES: Final = tuple(Loss)
_PATIENCE_S: Final = 0.3
_STEP_S: Final = 0.02
#: struct about of bpf/include/maps.h
ABOUT: Final = struct.Struct("<32sQQ8Q")
_FIRST: Final = bytes(4)


@dataclass(slots=True)
class About:
    """What one agent leaves to the next."""

    digest: bytes
    """of the object and of all that was set in it: pins of another are of no use"""
    since_ns: int
    """CLOCK_BOOTTIME: since when the kernel counts"""
    until_ns: int = 0
    """up to here everything was told"""
    lost: tuple[int, ...] = (0,) * 8
    """what was told to be lost, in the order of Loss"""

    def pack(self) -> bytes:
        """As the map holds it."""
        return ABOUT.pack(self.digest, self.since_ns, self.until_ns, *self.lost)

    @classmethod
    def read(cls, table: Map) -> About:
        """Raises ValueError if it is none."""
        raw = table.lookup(_FIRST)
        if raw is None or len(raw) != ABOUT.size:
            raise ValueError("no description of the pins")
        digest, since, until, *lost = ABOUT.unpack(raw)
        return cls(digest, since, until, tuple(lost))

    def write(self, table: Map) -> None:
        """For whoever comes after."""
        table.update(_FIRST, self.pack())

    def told(self) -> dict[Loss, int]:
        """What was told to be lost, by cause."""
        return dict(zip(_CAUSES, self.lost, strict=False))

    def note(self, until_ns: int, told: dict[Loss, int]) -> None:
        """Everything was told up to ``until_ns``, and so much of losses."""
        self.until_ns = until_ns
        lost = [told.get(cause, 0) for cause in _CAUSES]
        self.lost = tuple((lost + [0] * 8)[:8])


def digest_of(path: str, *settings: object) -> bytes:
    """Of the object file and everything that the loader sets in it."""
    with open(path, "rb") as file:
        whole = hashlib.sha256(file.read())
    whole.update(repr(settings).encode())
    return whole.digest()


class Pins:
    """The folder. Who reads, and who removes, holds its lock."""

    def __init__(self, folder: str = FOLDER) -> None:
        self.folder = folder
        self._fd = -1

    def lock(self) -> None:
        """Makes the folder and takes its lock. Raises HostError: no bpffs there, no permission, another reader."""
        shown = printable(self.folder)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            self._fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._take()
        except BlockingIOError:
            self.unlock()
            raise HostError(
                f"another agent reads the rings pinned in {shown}", next_step="end it, or start with --replace"
            ) from None
        except OSError as e:
            self.unlock()
            raise HostError(
                f"cannot pin in {shown}: {e.strerror}",
                next_step="mount a bpffs there: mount -t bpf bpf /sys/fs/bpf (in a pod: the hostPath /sys/fs/bpf)",
            ) from e
        if not _is_bpffs(self.folder):
            self.unlock()
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)
            raise HostError(
                f"cannot pin in {shown}: it is in no bpffs", next_step="mount one: mount -t bpf bpf /sys/fs/bpf"
            )

    def _take(self) -> None:
        """Raises BlockingIOError. A doctor that looks holds it for a moment only."""
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
            time.sleep(_STEP_S)

    def unlock(self) -> None:
        """Lets another agent read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def path(self, kind: str, name: str) -> str:
        """Of a pin: ``map``, ``prog`` or ``link``."""
        return os.path.join(self.folder, f"{kind}_{name}")

    def names(self) -> list[str]:
        """What is pinned; empty if nothing is."""
        try:
            return sorted(os.listdir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, names: Iterable[str] | None = None) -> int:
        """Unpins all, links first: from then on nothing is attached that nobody reads. Returns how many there were."""
        found = list(self.names() if names is None else names)
        for name in sorted(found, key=lambda name: not name.startswith("link_")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))
        if names is None:
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)
        return len(found)


def leftovers(folder: str = FOLDER) -> list[str]:
    """What is pinned there, for doctor; empty if nothing is, or nobody may look."""
    try:
        return Pins(folder).names()
    except OSError:
        return []


def is_read(folder: str = FOLDER) -> bool:
    """Whether an agent holds the lock, as far as it can be seen."""
    return reading(folder) is not False


def reading(folder: str = FOLDER) -> bool | None:
    """Whether an agent holds the lock; None: that can't be seen from here, as without the right to look."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)
    return False


def unpin(folder: str = FOLDER) -> int:
    """Removes all that is pinned there; returns how many pins there were. Raises HostError if an agent still reads."""
    pins = Pins(folder)
    if not pins.names():
        return 0
    pins.lock()
    try:
        return pins.remove()
    except OSError as e:
        raise HostError(f"cannot unpin {printable(folder)}: {e.strerror}", next_step="run as root") from e
    finally:
        pins.unlock()


def _is_bpffs(path: str) -> bool:
    """By its type in /proc/self/mountinfo: statfs is not in Python's os."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return any(fields[2] == wanted and kind == "bpf" for fields, kind in _mounts())


def _mounts() -> Iterator[tuple[list[str], str]]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            own, _, rest = line.partition(" - ")
            yield own.split(), rest.split(" ", 1)[0]
