"""The failure scenarios, in the order in which they tell the story."""

from __future__ import annotations

from sigtrace.lab.scenario import Expectation, Scenario

_READY = "app-server: listening on :8080"

# A server that is one process and waits in read(2), where a shell notices a signal at once (in wait(1) it would need a
# child). The queue (a fifo) is open for writing too, so the read never ends by itself.
_SERVER = f"""\
exec 3<>requests
trap '{{on_term}}' TERM
echo '{_READY}'
while read -r request <&3; do echo "app-server: $request"; done
"""
_GOOD_SERVER = {"app.conf": _SERVER.format(on_term='echo "app-server: bye"; exit 0')}
_SLOW_SERVER = {"app.conf": _SERVER.format(on_term='echo "app-server: a client is still connected"; read -r end <&3')}

_ENTRYPOINT = """\
#!/bin/sh
echo "entrypoint: preparing"
app-server app.conf
"""

_GRACEFUL = Expectation(frozenset(), "graceful", None, 0)


def _dropped(cause: str) -> Expectation:
    findings = frozenset({("signal-dropped", cause), ("killed", "grace-expired")})
    return Expectation(findings, "escalated", "dropped", 137)


_ALL = (
    Scenario(
        name="shell-form",
        title="ENTRYPOINT app-server app.conf: a shell is PID 1, and SIGTERM never reaches the server",
        person="stops the container and waits until the grace period is over",
        argv=("sh", "-c", "app-server app.conf"),
        files=_GOOD_SERVER,
        ready=_READY,
        expect=_dropped("shell-form"),
    ),
    Scenario(
        name="exec-form",
        title='ENTRYPOINT ["app-server", "app.conf"]: the same server as PID 1 hears SIGTERM and leaves',
        person="stops the container",
        argv=("app-server", "app.conf"),
        files=_GOOD_SERVER,
        ready=_READY,
        expect=_GRACEFUL,
    ),
    Scenario(
        name="no-handler",
        title="a program without a handler as PID 1: the kernel drops SIGTERM",
        person="stops the container and waits until the grace period is over",
        argv=("sleep", "infinity"),
        expect=_dropped("no-handler"),
    ),
    Scenario(
        name="slow-handler",
        title="PID 1 handles SIGTERM, but waits for a client longer than the grace period",
        person="stops the container and waits until the grace period is over",
        argv=("app-server", "app.conf"),
        files=_SLOW_SERVER,
        ready=_READY,
        expect=Expectation(frozenset({("killed", "grace-expired")}), "escalated", "slow", 137),
    ),
    Scenario(
        name="kill-from-inside",
        title="kill -9 1 from inside: the kernel protects PID 1 even from SIGKILL",
        person="opens a shell in the container, tries kill -9 1, then stops it",
        argv=("app-server", "app.conf"),
        files=_GOOD_SERVER,
        ready=_READY,
        inside="kill -9 1",
        expect=Expectation(frozenset({("signal-dropped", "from-inside")}), "graceful", None, 0),
    ),
    Scenario(
        name="script",
        title="an entrypoint script starts the server without exec: the script is PID 1 and drops SIGTERM",
        person="stops the container and waits until the grace period is over",
        argv=("./entrypoint.sh",),
        files={"entrypoint.sh": _ENTRYPOINT, **_GOOD_SERVER},
        ready=_READY,
        expect=_dropped("script-without-exec"),
    ),
)

#: Name → scenario, in story order.
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
