"""signal-not-forwarded: the main process got the stop signal and told nobody (rule: Never forwarded)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sigtrace.detectors.container import Container, Member, kills
from sigtrace.detectors.containers import Containers
from sigtrace.detectors.senders import role_of
from sigtrace.detectors.shell import SHELLS, is_shell_form, script_of
from sigtrace.detectors.words import among, finding_on, what_of
from sigtrace.model import signals
from sigtrace.model.event import Kind, Task
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
    main, asked_ns = container.main, request.event.time_ns
    if main is None or main.comm.startswith(_OTHER_WAYS) or container.told or container.listed_ns < asked_ns:
        return []
    # Who came later is at work for the stop.
    found = [m for m in at_work(container, container.residents(), request.event.signo) if m.task.start_ns <= asked_ns]
    return [] if any(m.asked for m in found) else found


class KeptWaiting:
    """A :class:`sigtrace.detectors.base.Detector`: SIGKILL ended the wait for children that never heard."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def feed(self, observation: Observation) -> Iterable[Finding]:
        """Take in one observation."""
        event = observation.event
        if not observation.main or not (kills(event) or event.kind is Kind.EXIT):
            return
        container = self._containers.of(observation)
        if container is None or container.main is None or container.kept_waiting is not None:
            return
        kill, request = container.stop.kill, container.stop.request_of_kill()
        # Where SIGKILL came before the listing, the main process may have lived long enough for it.
        if kill is None or request is None or container.listed_ns < request.event.time_ns:
            return
        others = left_untold(container, request) if container.stop.delivered(request) else []
        container.kept_waiting = bool(others)
        if not others:
            return
        is_shell = is_shell_form(container.main.argv or ()) or script_of(container.main.argv or ()) is not None
        yield _kept_waiting(
            kill, container.main, request, others, Certainty.OBSERVED if is_shell else Certainty.INFERRED
        )

    def due(self, _token: Any, _now_ns: int) -> Iterable[Finding]:
        """It sets no timer."""
        return ()

    def end(self, _now_ns: int) -> Iterable[Finding]:
        """It waits for nothing."""
        return ()


def _kept_waiting(
    kill: Observation, main: Task, request: Observation, residents: list[Member], certainty: Certainty
) -> Finding:
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
    if kill is None or not torn_down or request.event.time_ns <= container.listed_ns < kill.event.time_ns:
        return None
    if container.told or main.comm.startswith(_OTHER_WAYS) or not container.stop.delivered(request):
        return None
    if any(m.asked or m.task.start_ns > request.event.time_ns for m in torn_down):
        return None
    found = sorted(torn_down, key=lambda m: (m.task.start_ns, m.task.pid))
    return _kept_waiting(kill, main, request, found, Certainty.INFERRED)


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
