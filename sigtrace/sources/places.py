"""Where cgroups are, for an agent that comes after us: kept beside what is pinned."""

from __future__ import annotations

from collections.abc import Iterator

from sigtrace.sources._libbpf import LibbpfError, Map


class Places:
    """The map `places`: cgroup id → path. What finds no room, or is too long, a successor has to find by itself."""

    def __init__(self, table: Map) -> None:
        self._map = table

    def add(self, cgroup: int, path: str) -> None:
        """It was made there, or found."""
        raw = path.encode("utf-8", "surrogateescape")
        if cgroup and len(raw) < self._map.value_size:
            try:
                self._map.update(cgroup.to_bytes(8, "little"), raw.ljust(self._map.value_size, b"\0"))
            except LibbpfError:
                return

    def discard(self, cgroup: int) -> None:
        """It is gone, and all about it was told."""
        self._map.delete(cgroup.to_bytes(8, "little"))

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for key, raw in self._map.items():
            yield int.from_bytes(key, "little"), raw.rstrip(b"\0").decode("utf-8", "surrogateescape")
