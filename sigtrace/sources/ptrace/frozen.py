"""Whether a process's cgroup is frozen: of v2 cgroup.events says so, of v1 freezer.state."""

from __future__ import annotations

import re
from typing import Final

_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def mounts(controller: str) -> tuple[str, str]:
    """Where v2 is mounted, and this controller of v1; empty for what is not."""
    v1 = v2 = ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace", newline="\n") as f:
            lines = [line.split(" ") for line in f.read().split("\n")]
    except OSError:
        return "", ""
    for fields in (f for f in lines if "-" in f[:-1] and len(f) > 9):
        mount = _OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4])
        if fields[fields.index("-") + 1] == "cgroup2":
            v2 = v2 or mount
        elif controller in fields[-1].split(","):
            v1 = v1 or mount
    return v2, v1


class Freezers:
    """Knows where the hierarchies are mounted that can freeze."""

    def __init__(self) -> None:
        self._v2, self._v1 = mounts("freezer")

    def holds(self, pid: int) -> bool:
        """Whether it is frozen; False too if that can't be read."""
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape", newline="\n") as f:
                lines = f.read().split("\n")  # names may hold any other line break
        except OSError:
            return False
        for line in lines:
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0" and self._v2 and "frozen 1" in _text(f"{self._v2}{path}/cgroup.events"):
                return True
            if "freezer" in controllers.split(",") and self._v1:
                state = _text(f"{self._v1}{path}/freezer.state")
                if state.startswith("FR"):  # FROZEN, FREEZING
                    return True
        return False


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as f:
            return f.read(4096)
    except OSError:
        return ""
