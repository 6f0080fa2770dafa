"""One socket: a thread that plans what is asked, and some that ask. Again where a container is not known yet.

Several ask at once, because a runtime answers for a container only when nobody else works on it: Podman and Docker
hold its lock while they start it. A socket that hangs holds up its own threads alone.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from sigtrace.attribution.runtimes.base import Client, RuntimeInfo, SocketState, SocketStatus
from sigtrace.attribution.runtimes.questions import MAX, Questions
from sigtrace.attribution.runtimes.sockets import Socket
from sigtrace.attribution.runtimes.values import clean
from sigtrace.errors import SigtraceError

#: Questions that are asked at once, and as long as only this many are, some that are not urgent: each answer's JSON is
#: parsed at the cost of the capture, so that a node's hundreds of containers shall not come all at once at the start.
_WIDTH: Final = 16
_CALM: Final = 2
#: Between tries of a socket that fails, seconds: doubled from the first to the last.
_BACK_OFF_S: Final = (0.25, 10.0)
#: All are listed again so often, seconds, to learn which are gone.
_LIST_S: Final = 300.0
#: The longest sleep, seconds.
_IDLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """The runtime knows it."""

    worker: Worker
    info: RuntimeInfo


@dataclass(frozen=True, slots=True)
class Unknown:
    """The runtime doesn't know it, also after having been asked again; or could not be asked."""

    worker: Worker
    container_id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """All that run."""

    worker: Worker
    infos: list[RuntimeInfo]
    began: float
    """monotonic seconds: what was found later need not be in it"""


@dataclass(frozen=True, slots=True)
class Settled:
    """Its first try is over: it failed, or all that ran at the start are known."""

    worker: Worker


Answer: TypeAlias = Found | Unknown | Listed | Settled


@dataclass(frozen=True, slots=True)
class _Want:
    container_id: str
    urgent: bool


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came of one question: of the list, if there is no id."""

    container_id: str | None
    connection: int
    """the how manieth; what an earlier one broke says nothing of this one"""
    info: RuntimeInfo | None = None
    listed: Listed | None = None
    error: str | None = None


class Worker:
    """Talks to one socket. Answers go to ``tell``, on its own thread."""

    def __init__(self, socket: Socket, client: Client, tell: Callable[[Answer], None]) -> None:
        """Nothing happens before ``start``."""
        self.socket = socket
        self.status = SocketStatus(socket.path, socket.api, since=time.time())
        """replaced as a whole: any thread may read it"""
        self.failures = 0
        self.dropped = 0
        """questions that it took and had no room for"""
        self._client = client
        self._tell = tell
        self._inbox: queue.SimpleQueue[_Want | _Reply | None] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[tuple[str | None, int] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"runtime {socket.path}", daemon=True)]
        self._questions = Questions()
        self._open = 0
        """questions that are being asked"""
        self._connected = False
        self._connection = 0
        self._anew = False
        """connected, and not listed yet"""
        self._settled = False
        self._next_try = 0.0
        self._next_list: float | None = None
        """None: the list is being asked for"""
        self._in_a_row = 0

    def start(self) -> None:
        """Begin with a list of all that run."""
        self._threads[0].start()

    def stop(self) -> None:
        """No new question. Its threads are daemons, so that one that hangs in a call keeps nobody."""
        self._stopping.set()
        self._inbox.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the threads; False: one still runs."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def want(self, container_id: str, *, urgent: bool = True) -> bool:
        """Ask about one, those that are not urgent after all that are. False: too many wait already."""
        if self._inbox.qsize() >= MAX:
            return False
        self._inbox.put(_Want(container_id, urgent))
        return True

    # The thread that plans.

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except SigtraceError as error:
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001 -- what a runtime makes us stumble over costs names, not the thread
                self._failed(_words(error))
        for _ in self._threads:
            self._jobs.put(None)
        self._client.close()

    def _turn(self) -> None:
        """Take what came in, then hand out what is due."""
        self._take(self._pause(time.monotonic()))
        now = time.monotonic()
        if self._stopping.is_set():
            return
        if not self._connected:
            if now < self._next_try:
                return
            runtime = self._client.open()
            self._connection += 1
            self._connected, self._anew, self._next_list = True, True, 0.0
            self.status = SocketStatus(
                self.socket.path, self.socket.api, SocketState.CONNECTED, runtime, since=time.time()
            )
        if self._next_list is not None and now >= self._next_list:
            self._next_list = None
            self._hand_out(None)
        while self._open < _WIDTH and (container_id := self._questions.take(now, later=self._open < _CALM)):
            self._hand_out(container_id)

    def _pause(self, now: float) -> float:
        """Seconds until there is something to do, if nothing comes in."""
        if not self._connected:
            return max(0.0, self._next_try - now)
        waits = [_IDLE_S]
        if self._next_list is not None:
            waits.append(max(0.0, self._next_list - now))
        if self._open < _WIDTH and (wait := self._questions.wait(now, later=self._open < _CALM)) is not None:
            waits.append(wait)
        return min(waits)

    def _take(self, pause: float) -> None:
        try:
            message = self._inbox.get(timeout=pause) if pause > 0 else self._inbox.get_nowait()
            while True:
                if isinstance(message, _Want):
                    if not self._questions.add(message.container_id, time.monotonic(), urgent=message.urgent):
                        self.dropped += 1
                        self._tell(Unknown(self, message.container_id))
                elif message:
                    self._reply(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _hand_out(self, container_id: str | None) -> None:
        self._open += 1
        if len(self._threads) <= min(self._open, _WIDTH):
            thread = threading.Thread(target=self._ask_all, name=f"asks {self.socket.path}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((container_id, self._connection))

    def _reply(self, reply: _Reply) -> None:
        self._open -= 1
        now, container_id = time.monotonic(), reply.container_id
        if container_id is None:
            self._next_list = now + _LIST_S
        if reply.error is None:
            self._in_a_row = 0
        if reply.listed:
            if reply.connection == self._connection and self._connected:
                self.status = replace(self.status, listed=True)
            self._tell(reply.listed)
            for info in reply.listed.infos if self._anew else ():
                self._questions.add(info.container_id, now, urgent=False)
            self._anew = False
        elif container_id and reply.error is None:
            if reply.info:
                self._tell(Found(self, reply.info))
            complete = reply.info is not None and not reply.info.starting
            if self._questions.answered(container_id, now, complete=complete) and not reply.info:
                self._tell(Unknown(self, container_id))
        elif container_id and self._questions.broken(container_id, now):
            self._tell(Unknown(self, container_id))
        if reply.error is not None:
            self._doubt(reply.error, reply)
        elif not self._questions and not self._open:
            self._settle()

    def _doubt(self, error: str, reply: _Reply) -> None:
        """A question broke: perhaps the runtime did, perhaps it is the question."""
        self.failures += 1
        if not self._connected or reply.connection != self._connection:
            return
        if reply.container_id is None:
            self._failed(error)
            return
        try:
            self._client.check()
        except SigtraceError as broken:
            self._failed(str(broken))

    def _settle(self) -> None:
        if not self._settled:
            self._settled = True
            self._tell(Settled(self))

    def _failed(self, reason: str) -> None:
        self.failures += 1
        self._connected = False
        first, last = _BACK_OFF_S
        wait = min(first * 2 ** min(self._in_a_row, 16), last)
        self._in_a_row += 1
        self._next_try = time.monotonic() + wait
        before = self.status
        since = before.since if before.state is SocketState.FAILING else time.time()
        self.status = replace(before, state=SocketState.FAILING, error=reason, since=since, retry_s=wait, listed=False)
        self._settle()

    # The threads that ask.

    def _ask_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._stopping.is_set():
                return
            try:
                self._inbox.put(self._ask(*job))
            except SigtraceError as error:
                self._inbox.put(_Reply(*job, error=str(error)))
            except Exception as error:  # noqa: BLE001 -- as above
                self._inbox.put(_Reply(*job, error=_words(error)))

    def _ask(self, container_id: str | None, connection: int) -> _Reply:
        if container_id is None:
            began = time.monotonic()
            return _Reply(None, connection, listed=Listed(self, self._client.listing(), began))
        return _Reply(container_id, connection, self._client.fetch(container_id))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {clean(str(error))}"
