"""Programs that stand in for others which the kernel leaves out (bpf/process.bpf.h says when). Pure."""

from __future__ import annotations

import re
from typing import Final

#: program → its spare, attached after it
SPARES: Final = {"process_exit": "process_exit_spare", "process_exec": "process_exec_spare"}
#: Before it tracepoints disable preemption; seen in 6.18, and in 7.2 that they don't. Where that was backported, runs
#: that are left out are counted, as everywhere.
_SINCE: Final = (6, 19)


def has_spares(release: str) -> bool:
    """Whether a kernel of this release (``uname -r``) needs them."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) >= _SINCE
