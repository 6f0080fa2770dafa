"""What a person wants to know beside a shutdown's verdict, and what is no finding. Pure."""

from __future__ import annotations

import re
from typing import Final

from sigtrace.model import signals
from sigtrace.model.finding import Ended, ProcessEnd, Shutdown
from sigtrace.sinks.headlines import after, seconds

#: Faster than endpoints follow: kube-proxies and load balancers are told at the same time as the container.
_TOO_FAST_S: Final = 1.0
#: Longer than this a person asks who was the last.
_SLOW_S: Final = 5.0

#: Options by which servers are told how long to wait for their own work: gunicorn's, uvicorn's and others'.
_OWN_TIMEOUT: Final = re.compile(
    r"--(?:graceful-timeout|timeout-graceful-shutdown|shutdown-timeout|shutdown-grace-period|grace-period)(?:=(\d+)s?)?"
)
#: And how long they wait if they are told nothing, seconds.
_DEFAULTS: Final = {"gunicorn": ("--graceful-timeout", 30.0)}


def notes(shutdown: Shutdown) -> list[tuple[str, str]]:
    """(label, text): who was the last, whose own timeout is in the way, what clients may see, what of the pod went."""
    found = []
    if shutdown.outcome == "crashed" and (victim := shutdown.first_victim):
        who = f"{victim.comm} (pid {victim.ns_pid or victim.pid})"
        found.append(("note", f"shortly before, the OOM killer took {who} in this container: look there first"))
    if last := _last(shutdown):
        found.append(("last", last))
    if timeout := _own_timeout(shutdown):
        found.append(("note", timeout))
    if _left_clients(shutdown):
        text = (
            f"no preStop hook: endpoints may send traffic for some seconds after {signals.name(shutdown.stop_signo)}. "
            "If clients see 502s, add a preStop sleep."
        )
        found.append(("note", text))
    if shutdown.scope == "container":
        found.append(("scope", "only this container was asked to stop; its pod stays"))
    return found


def _left_clients(shutdown: Shutdown) -> bool:
    """Kubernetes, under a second, no preStop hook, not a job: whoever routes to it may not have heard yet."""
    workload = shutdown.workload
    fast = shutdown.duration_s is not None and shutdown.duration_s < _TOO_FAST_S
    asked = shutdown.outcome in ("graceful", "terminated") and shutdown.stop_signo != 0
    hooked = workload.pre_stop or shutdown.pre_stop_kind or shutdown.pre_stop_s is not None
    known = workload.asked and workload.pod is not None and not workload.job
    return asked and fast and known and not hooked and shutdown.scope != "container"


def _last(shutdown: Shutdown) -> str:
    """The last process alive, of a stop that took long: who, and when it was told."""
    if not shutdown.stop_signo or (shutdown.duration_s or 0.0) < _SLOW_S or len(shutdown.processes) < 2:
        return ""
    if shutdown.outcome == "escalated" and shutdown.cause not in ("slow", "not-forwarded"):
        return ""
    main, *others = shutdown.processes
    lasting = [p for p in others if p.ended in (Ended.KILLED, Ended.TORN_DOWN, None)]
    last = lasting[0] if lasting else max(others, key=lambda p: p.exited_wall_ns or 0)
    began = main.signalled_wall_ns
    if not lasting and began is not None and ((last.exited_wall_ns or 0) - began) / 1e9 < _SLOW_S:
        return ""
    more = f" and {len(lasting) - 1} more" if len(lasting) > 1 else ""
    return (
        f"{last.task.comm} (pid {last.task.ns_pid or last.task.pid}){more}: {_told(last, began)}, {_end(last, began)}"
    )


def _told(process: ProcessEnd, began_ns: int | None) -> str:
    if process.signalled_wall_ns is None:
        return "never told"
    if began_ns is None:
        return "told"
    passed_s = max(0.0, (process.signalled_wall_ns - began_ns) / 1e9)
    return f"told {seconds(passed_s)} after the stop signal"


def _end(process: ProcessEnd, began_ns: int | None) -> str:
    if process.ended in (Ended.KILLED, Ended.TORN_DOWN, None):
        return "still at work when SIGKILL came"
    return "ended" if began_ns is None else f"ended {after(((process.exited_wall_ns or 0) - began_ns) / 1e9)}"


def _own_timeout(shutdown: Shutdown) -> str:
    """The program waits for its own work as long as it is given: SIGKILL comes before it is done."""
    limit = shutdown.grace_limit_s
    if shutdown.cause not in ("slow", "not-forwarded") or limit is None:
        return ""
    argv = shutdown.main.argv or ()
    for word, following in zip(argv, (*argv[1:], ""), strict=False):
        if (option := _OWN_TIMEOUT.fullmatch(word)) and (value := option[1] or following.rstrip("s")).isdecimal():
            own, name = float(value[:9]), word.partition("=")[0]
            break
    else:
        name, own = _DEFAULTS.get(shutdown.main.comm, ("", 0.0))
    if not name or own < limit:
        return ""
    how = "equals" if own == limit else "is longer than"
    return f"its own {name} {own:g} {how} the grace period of {limit:g} s: SIGKILL comes before it is over"
