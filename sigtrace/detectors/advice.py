"""Advice where the catalogue's, which goes by the cause alone, would mislead. Pure; None: the catalogue's is right."""

from __future__ import annotations

from typing import Final

from sigtrace.detectors.container import Container
from sigtrace.detectors.killers import Killing
from sigtrace.detectors.stop import is_configured, is_stop_signal
from sigtrace.model import signals
from sigtrace.model.stages import is_stage
from sigtrace.model.workload import Observation, OomScope

#: The runtime's own process ended in place of the program.
NOT_STARTED: Final = "the runtime's own error: is the program there, executable, and made for this machine?"

#: Of a signal that asks nobody to end (a reload): handed on by an init, it would end the program.
_NOT_TO_STOP: Final = {
    "no-handler": "a handler for it in the program, or nobody who sends it: its default action is to end a process",
    "shell-form": 'exec form (ENTRYPOINT ["app", "arg"]), or `exec app …` in the shell, and a handler for it there',
}
_IGNORED_BY_DEFAULT: Final = (
    "STOPSIGNAL SIGTERM (docker run --stop-signal), with a handler for it or an init as PID 1: nothing ends by this one"
)
_NODE_FULL: Final = "fewer pods on the node, or requests near what they use: its own limit was not reached"
_STOPPING: Final = "less to do after the stop signal, or a supervisor that waits longer (gunicorn --graceful-timeout)"
#: Programs that end by another signal than the one they were stopped with (systemd(1), PostgreSQL: Server Shutdown).
_ENDS_BY: Final = {
    ("systemd", signals.SIGTERM): "STOPSIGNAL SIGRTMIN+3: by SIGTERM systemd starts itself anew",
    ("postgres", signals.SIGTERM): "STOPSIGNAL SIGINT: after SIGTERM PostgreSQL waits for its clients, however long",
}


def for_drop(first: Observation, cause: str) -> str | None:
    """Of signal-dropped."""
    if cause not in ("no-handler", "shell-form", "script-without-exec"):
        return None
    if cause == "no-handler" and not signals.is_fatal(first.event.signo):
        return _IGNORED_BY_DEFAULT
    reload = first.event.signo == signals.SIGHUP and not is_configured(first)
    return _NOT_TO_STOP.get(cause) if reload or not is_stop_signal(first) else None


def for_kill(container: Container, kill: Observation, killing: Killing) -> str | None:
    """Of killed."""
    if killing.cause == "oom":
        mark = container.oom_near(kill.event.time_ns, kill.event.task.key if kill.event.task else None)
        return _NODE_FULL if mark and mark.oom_scope is OomScope.NODE else None
    if kill.main:
        if container.main and is_stage(container.main):
            return NOT_STARTED  # crun kills its own process if it could not become the program
        if killing.request is None or killing.cause != "grace-expired":
            return None
        return _ENDS_BY.get((container.main.comm if container.main else "", killing.request.event.signo))
    return _STOPPING if is_within_stop(container, kill, killing) else None


def is_within_stop(container: Container, kill: Observation, killing: Killing) -> bool:
    """Whether a supervisor lost its patience in a stop that it had passed on."""
    passed_on = container.told > 0 and container.stop.asked(kill.event.time_ns)
    return passed_on and killing.cause in ("by-parent", "by-peer")
