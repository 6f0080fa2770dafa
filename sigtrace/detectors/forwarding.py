"""signal-not-forwarded: the main process got the stop signal and told nobody (rule: Never forwarded)."""

from __future__ import annotations

from typing import Final

from sigtrace.detectors.container import Container, Member
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.shell import SHELLS
from sigtrace.detectors.words import among, finding_on, what_of
from sigtrace.model import signals
from sigtrace.model.event import Task
from sigtrace.model.finding import Certainty, Finding
from sigtrace.model.workload import Observation

CODE: Final = "signal-not-forwarded"
#: What a shell keeps to wait with.
_IDLE: Final = ("sleep", "tail")
#: Servers whose master tells its workers by a socket or a pipe, where no tracepoint sees it, or has its reasons to wait
#: (PostgreSQL's SIGTERM waits for its clients).
_OTHER_WAYS: Final = ("nginx", "apache2", "httpd", "php-fpm", "openresty", "angie", "postgres", "systemd")


def hearers(members: list[Member], signo: int) -> list[Member]:
    """Those that would hear the stop signal: who ignores it wants to outlive it, and ends with its parent."""
    return [m for m in members if not m.ignores(signo)]


def at_work(container: Container, members: list[Member], signo: int) -> list[Member]:
    """Those that would hear it, but for what a shell keeps to wait with (``sleep 5 & wait``, ``tail -f``)."""
    main = container.main
    idle = main is not None and main.comm in SHELLS
    found = hearers(members, signo)
    return [m for m in found if not (idle and m.task.comm in _IDLE and main and m.task.parent_key == main.key)]


def left_untold(container: Container, request: Observation) -> list[Member]:
    """Whom the main process left at work when it took the stop signal; nobody if it told one, or if nobody knows."""
    if container.main is None or container.listed_ns < request.event.time_ns:
        return []
    residents = at_work(container, container.residents(), request.event.signo)
    return _untold(container, container.main, request, residents)


def _untold(container: Container, main: Task, request: Observation, members: list[Member]) -> list[Member]:
    """These, if none of them was told. Who came after the stop signal is at work for the stop."""
    found = [m for m in members if m.task.start_ns <= request.event.time_ns]
    if container.told or main.comm.startswith(_OTHER_WAYS) or any(m.asked for m in found):
        return []
    return found


def kept_waiting(
    kill: Observation, main: Task, request: Observation, residents: list[Member], certainty: Certainty
) -> Finding:
    """SIGKILL ended the main process's wait for those that never heard."""
    others = [m.task for m in residents]
    return finding_on(
        kill,
        CODE,
        "main-kept-waiting",
        certainty=certainty,
        subject=main,
        signo=request.event.signo,
        message=f"{what_of(main)} got {signals.name(request.event.signo)} and did not pass it on: {among(others)} "
        f"{'were' if len(others) > 1 else 'was'} never told, and it waited for them until SIGKILL came",
        evidence=(request.event, kill.event),
        sender_role=role_of(request),
    )


def kept_waiting_unlisted(
    container: Container, main: Task, request: Observation, torn_down: list[Member]
) -> Finding | None:
    """Where SIGKILL came before anybody had listed who was there: by those whom the kernel tore down after it."""
    kill = container.stop.kill
    if kill is None or request.event.time_ns <= container.listed_ns < kill.event.time_ns:
        return None
    found = _untold(container, main, request, torn_down)
    if not found or not container.stop.delivered(request):
        return None
    found.sort(key=lambda m: (m.task.start_ns, m.task.pid))
    return kept_waiting(kill, main, request, found, Certainty.INFERRED)


#: Who tells so many tells all; what was not seen of it the limiter has kept (500 records in advance, three a process).
_MANY_TOLD: Final = 100


def exited_first(
    exit_: Observation, container: Container, main: Task, request: Observation, left: list[Member]
) -> Finding | None:
    """The main process left in time; ``left``: those that were torn down with it. None if they had been told."""
    never = sorted((m.task for m in left if m.asked is None), key=lambda t: (t.start_ns, t.pid))
    if not never or container.told >= _MANY_TOLD:
        return None
    how = "left before all were told" if container.told else "left without passing it on"
    return finding_on(
        exit_,
        CODE,
        "main-exited-first",
        certainty=Certainty.OBSERVED,
        subject=main,
        signo=request.event.signo,
        message=f"{what_of(main)} got {signals.name(request.event.signo)} and {how}: "
        f"{among(never)} {'were' if len(never) > 1 else 'was'} never told, and torn down with it",
        evidence=(request.event, exit_.event),
        sender_role=role_of(request),
    )
