"""Whose budget a cgroup spends that was there before sigtrace; bpf/cgroup.bpf.h has the same for those made later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sigtrace.sources._libbpf import LibbpfError, Map

#: As in bpf/include/maps.h.
DELEGATED_MAX: Final = 4096


def charge(limits: Map, payers: Map, owners: Iterable[tuple[int, int, bool]]) -> int:
    """Give each (cgroup, owner, made by a user) its entry; how many got none, and share the strangers' budget."""
    fresh = bytes(limits.value_size)
    users = unowned = 0
    for cgroup, owner, is_users in owners:
        key = cgroup.to_bytes(8, "little")
        users += is_users
        try:
            if owner != cgroup:
                payers.update(key, owner.to_bytes(8, "little"))
            # What has an entry, the kernel knows better than its path.
            elif payers.lookup(key) is None and limits.lookup(key) is None:
                if is_users and users > DELEGATED_MAX:
                    unowned += 1
                else:
                    limits.update(key, fresh)
        except LibbpfError:
            unowned += 1  # full
    return unowned
