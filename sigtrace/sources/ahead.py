"""The kernel verifies the programs in a thread while the interpreter imports what comes after them.

Both take some tenth of a second. One object is loaded ahead in a process; whoever opens a source with the same options
gets it. Where anything stands in its way nothing is said here: opening the source meets it again, and tells.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from sigtrace.sources._libbpf import Library
from sigtrace.sources.host import read_host
from sigtrace.sources.prepare import opened
from sigtrace.sources.refusals import bpf_refusals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sigtrace.model.hierarchy import Hierarchy
    from sigtrace.sources._libbpf import Object
    from sigtrace.sources.options import BpfOptions


class Ahead:
    """One object, and the thread that loads it. Raises LibbpfError and OSError where there is nothing to load."""

    def __init__(self, options: BpfOptions, hierarchy: Hierarchy | None) -> None:
        self._wanted = (options, hierarchy)
        self._loads = False
        self._object: Object | None = opened(Library(), options, hierarchy)
        # Ends by itself: a process that is to end need not wait for the verifier.
        self._thread = threading.Thread(target=self._load, args=(self._object,), name="load", daemon=True)
        self._thread.start()

    def _load(self, bpf: Object) -> None:
        self._loads = bpf.load_silently()

    def take(self, options: BpfOptions, hierarchy: Hierarchy | None) -> Object | None:
        """The loaded object, once, for whoever will close it; None: it is of other options, or could not be loaded."""
        if self._wanted != (options, hierarchy):
            return None
        self._thread.join()
        if not self._loads:
            return None
        taken, self._object = self._object, None
        return taken

    def close(self) -> None:
        """Unloads what nobody took. Harmless twice."""
        self._thread.join()
        if self._object:
            self._object.close()
            self._object = None


_ahead: Ahead | None = None


@contextlib.contextmanager
def loading(backend: str, options: BpfOptions) -> Iterator[None]:
    """While this is open, ``take`` has what ``backend`` (as the user gave it) will probably need."""
    global _ahead  # noqa: PLW0603  # the process has one
    _ahead = _begun(backend, options)
    try:
        yield
    finally:
        begun, _ahead = _ahead, None
        if begun:
            begun.close()


def _begun(backend: str, options: BpfOptions) -> Ahead | None:
    host = read_host()
    if backend not in {"auto", "bpf"} or options.pin or host.hierarchy is None or bpf_refusals(host):
        return None
    try:
        return Ahead(options, host.hierarchy)
    except OSError:
        return None


def take(options: BpfOptions, hierarchy: Hierarchy | None) -> Object | None:
    """What was loaded ahead for these, if anything was. It waits for the kernel."""
    return _ahead.take(options, hierarchy) if _ahead else None
