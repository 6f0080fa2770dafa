"""Names of containers, without ever making the capture wait: a look-up in a table that another thread fills.

The thread ``runtimes`` owns the table and hands questions to the sockets' threads (worker.py); whoever captures only
reads the table and puts questions into a bounded queue.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

from sigtrace.attribution.runtimes import sockets as places
from sigtrace.attribution.runtimes.base import Api, Client, RuntimeInfo, SocketState, SocketStatus
from sigtrace.attribution.runtimes.sockets import Socket
from sigtrace.attribution.runtimes.table import KNOWN_MAX, Entry, Table
from sigtrace.attribution.runtimes.values import is_container_id
from sigtrace.attribution.runtimes.worker import Answer, Found, Listed, Settled, Unknown, Worker
from sigtrace.model.workload import Workload

#: Questions that wait for the thread, at most.
_QUEUE_MAX: Final = 4_096
#: How often it is looked whether an answer has come, seconds.
_STEP_S: Final = 0.005
#: New sockets are looked for, and old entries thrown away, so often, seconds.
_HOUSEKEEPING_S: Final = 5.0

#: Which sockets may know a container, by the runtime that its cgroup's path names; any other runtime: all of them.
_APIS: Final = {"containerd": Api.CRI, "cri-o": Api.CRI, "docker": Api.DOCKER, "podman": Api.DOCKER}


@dataclass(frozen=True, slots=True)
class Want:
    """A question from outside."""

    container_id: str
    runtime: str | None
    fresh: bool
    """it has begun (again): what is known may be old"""


@dataclass(frozen=True, slots=True)
class Gone:
    """Its cgroup was removed."""

    container_id: str


@dataclass(slots=True)
class Counters:
    """What became of the questions."""

    wanted: int = 0
    """containers that were asked for"""
    found: int = 0
    """of these, or of a list, how many got their names"""
    given_up: int = 0
    """no runtime knew them, also after having been asked again"""
    dropped: int = 0
    """questions for which a queue to the sockets' threads was full; their own: ``Worker.dropped``"""
    evicted: int = 0
    """entries thrown away early: the table was full"""


class Runtimes:
    """All runtimes of this node. ``get``, ``prefetch`` and ``gone`` never wait and are for the capturing thread."""

    def __init__(
        self,
        given: Sequence[Socket] | None = None,
        *,
        client: Callable[[Socket], Client] = Socket.client,
        find: Callable[[], list[Socket]] = places.find,
    ) -> None:
        """``given``: these sockets and no others; otherwise those at the usual places, also such as appear later."""
        self.counters = Counters()
        self._given = given
        self._client = client
        self._find = find
        self._table = Table()
        self._entries = self._table.entries
        self._missed: set[str] = set()
        """asked for by ``get``; taken out when the question is handed on"""
        self._workers: dict[str, Worker] = {}
        self._unsettled: set[str] = set()
        self._settled = threading.Event()
        self._inbox: queue.SimpleQueue[Want | Gone | Answer | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="runtimes", daemon=True)
        self._next_keeping = 0.0
        self._stopping = False

    def start(self) -> Self:
        """Look for sockets and list what runs."""
        self._thread.start()
        return self

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that run now are known, or their sockets have failed; False: it takes longer."""
        return self._settled.wait(timeout_s)

    def close(self, timeout_s: float = 0.5) -> None:
        """End the threads; one that hangs in a call is left alone after ``timeout_s`` seconds."""
        self._stopping = True
        self._inbox.put(None)
        deadline = time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        workers = list(self._workers.values())
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # For the capturing thread.

    def get(self, workload: Workload) -> Workload:
        """The workload with its names, as far as they are known by now."""
        container_id = workload.container_id
        if container_id is None:
            return workload
        entry = self._entries.get(container_id)
        if entry is None:
            self._miss(container_id, workload.runtime)
            return workload
        return entry.apply(workload)

    def pending(self, container_id: str) -> bool:
        """Whether its names have been asked for, and a runtime that answers has not yet."""
        entry = self._entries.get(container_id)
        asked = container_id in self._missed if entry is None else entry.asked > 0 and entry.info is None
        return asked and any(w.status.state is SocketState.CONNECTED for w in list(self._workers.values()))

    def settle_for(self, container_ids: Collection[str], timeout_s: float) -> None:
        """Ask for these and wait, at most so long (s), until each is known or no runtime knows it."""
        for container_id in container_ids:
            self._put(Want(container_id, None, fresh=False))
        end = time.monotonic() + timeout_s
        waiting = set(container_ids)
        while waiting and time.monotonic() < end:
            time.sleep(_STEP_S)
            waiting -= {one for one in waiting if (entry := self._entries.get(one)) and (entry.info or entry.refused)}

    def info(self, container_id: str) -> RuntimeInfo | None:
        """All that is known of one by now."""
        entry = self._entries.get(container_id)
        return entry.info if entry else None

    def prefetch(self, container_id: str, runtime: str | None = None) -> None:
        """It has begun: ask at once. ``runtime``: as its cgroup's path says."""
        self._put(Want(container_id, runtime, fresh=True))

    def gone(self, container_id: str) -> None:
        """Its cgroup was removed: keep what is known for ten minutes more."""
        self._put(Gone(container_id))

    def _miss(self, container_id: str, runtime: str | None) -> None:
        if container_id in self._missed:
            return
        self._missed.add(container_id)  # before: the other thread takes it out
        if not self._put(Want(container_id, runtime, fresh=False)):
            self._missed.discard(container_id)

    def _put(self, message: Want | Gone) -> bool:
        if self._inbox.qsize() >= _QUEUE_MAX:
            self.counters.dropped += isinstance(message, Want)
            return False
        self._inbox.put(message)
        return True

    # For anybody.

    def status(self) -> list[SocketStatus]:
        """How it stands with each socket."""
        return [worker.status for worker in list(self._workers.values())]

    def dropped(self) -> int:
        """Questions for which some queue was full."""
        return self.counters.dropped + sum(worker.dropped for worker in list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._entries)

    # On the thread of its own.

    def _run(self) -> None:
        while not self._stopping:
            now = time.monotonic()
            if now >= self._next_keeping:
                self._next_keeping = now + _HOUSEKEEPING_S
                self._discover()
                self._table.sweep(now)
                self.counters.evicted = self._table.evicted
            try:
                message = self._inbox.get(timeout=max(0.0, self._next_keeping - time.monotonic()))
            except queue.Empty:
                continue
            if message is not None:
                self._handle(message)

    def _handle(self, message: Want | Gone | Answer) -> None:
        now = time.monotonic()
        match message:
            case Want():
                self._want(message, now)
            case Gone():
                self._table.went(message.container_id, now)
            case Found():
                self._found(message.worker, message.info, now)
            case Unknown():
                self._unknown(message.container_id)
            case Listed():
                self._listed(message, now)
            case Settled():
                self._unsettled.discard(message.worker.socket.path)
                if not self._unsettled:
                    self._settled.set()

    def _discover(self) -> None:
        for socket in self._find() if self._given is None else self._given:
            if socket.path not in self._workers:
                worker = Worker(socket, self._client(socket), self._inbox.put)
                self._workers[socket.path] = worker
                if not self._settled.is_set():
                    self._unsettled.add(socket.path)
                worker.start()
        if not self._unsettled:
            self._settled.set()

    def _want(self, want: Want, now: float) -> None:
        self._missed.discard(want.container_id)
        if not is_container_id(want.container_id):
            return
        known = want.container_id in self._entries
        if known and not want.fresh:
            return
        entry = self._table.begin(want.container_id, want.runtime, now)
        self.counters.wanted += not known
        for worker in self._workers.values():
            if may_know(worker.socket.api, want.runtime):
                self._ask(worker, want.container_id, entry)

    def _ask(self, worker: Worker, container_id: str, entry: Entry) -> None:
        if worker.want(container_id):
            entry.asked += 1
        else:
            self.counters.dropped += 1

    def _found(self, worker: Worker, info: RuntimeInfo, now: float) -> None:
        entry = self._table.entries.get(info.container_id)
        # Another runtime must not rename a container: what told first goes on telling, as long as it can.
        other = entry.source if entry else None
        if other is not None and other is not worker and other.status.state is SocketState.CONNECTED:
            return
        self.counters.found += entry is None or entry.info is None
        self._table.tell(info, worker, now)

    def _unknown(self, container_id: str) -> None:
        entry = self._entries.get(container_id)
        if entry is None or entry.info is not None:
            return
        entry.asked -= 1
        if entry.asked <= 0:
            entry.refused = True
            self.counters.given_up += 1

    def _listed(self, listed: Listed, now: float) -> None:
        worker = listed.worker
        running = {info.container_id for info in listed.infos}
        for info in listed.infos[:KNOWN_MAX]:
            entry = self._entries.get(info.container_id)
            if entry is None or entry.info is None:
                self._found(worker, info, now)
                worker.want(info.container_id, urgent=False)
            elif entry.source is worker and entry.info.main_pid is None:
                worker.want(info.container_id, urgent=False)
        for container_id, entry in list(self._entries.items()):
            if entry.source is worker and container_id not in running and entry.stored < listed.began:
                self._table.went(container_id, now)
            elif entry.info is None and entry.gone is None and may_know(worker.socket.api, entry.runtime):
                self._ask(worker, container_id, entry)


def may_know(api: Api, runtime: str | None) -> bool:
    """Whether a socket may know a container whose cgroup's path names this runtime."""
    return _APIS.get(runtime or "", api) is api
