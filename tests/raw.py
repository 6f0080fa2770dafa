"""The second build of the programs, for raw tracepoints, where a host has BTF and perhaps no headers.

All of the backend bcc but for one thing: where the fields are is what the kernel's own BTF says, not its headers.
tests/vm/bcc.py has the rest, on a kernel whose BTF is hidden.
"""

from sigtrace.sources.bcc import BccSource
from sigtrace.sources.bcc_host import bcc_refusals, read_tools
from sigtrace.sources.host import read_host
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.refusals import bpf_refusals


class FittedByBtf(BccSource):
    """bcc without bcc."""

    def _refusals(self, host):
        return bpf_refusals(host)

    def _layout(self):
        return None


def bcc_source(options: BpfOptions | None = None) -> BccSource:
    """The backend itself if this host allows it, else what comes nearest."""
    host = read_host()
    if bcc_refusals(host, read_tools(host.release)):
        return FittedByBtf(options)
    return BccSource(options)
