"""One program in a container, and how it meets its stop signal."""

from __future__ import annotations

import signal

from sigtrace.lab.scenario import Scenario
from sigtrace.lab.scenarios.common import (
    GOOD_SERVER,
    QUIT_SERVER,
    READY,
    SERVER,
    SLOW_SERVER,
    STOPS,
    WAITS,
    ends,
    escalated,
    graceful,
)
from sigtrace.lab.scene import inside, wait_for_end

EXEC_FORM = Scenario(
    name="exec-form",
    title='ENTRYPOINT ["app-server", "app.conf"]: the same server as PID 1 hears SIGTERM and leaves',
    person=STOPS,
    argv=SERVER,
    files=GOOD_SERVER,
    ready=READY,
    expect=graceful(),
)

NO_HANDLER = Scenario(
    name="no-handler",
    title="a program without a handler as PID 1: the kernel drops SIGTERM",
    person=WAITS,
    argv=("sleep", "infinity"),
    expect=escalated("dropped", "signal-dropped/no-handler"),
)

SLOW_HANDLER = Scenario(
    name="slow-handler",
    title="PID 1 handles SIGTERM, but waits for a client longer than the grace period",
    person=WAITS,
    argv=SERVER,
    files=SLOW_SERVER,
    ready=READY,
    expect=escalated("slow"),
)

KILL_FROM_INSIDE = Scenario(
    name="kill-from-inside",
    title="kill -9 1 from inside: the kernel protects PID 1 even from SIGKILL",
    person="opens a shell in the container, tries kill -9 1, then stops it",
    argv=SERVER,
    files=GOOD_SERVER,
    ready=READY,
    act=inside("kill -9 1"),
    expect=graceful("signal-dropped/from-inside", seen={"inside": 0}),
)

SCENARIOS = (
    EXEC_FORM,
    NO_HANDLER,
    SLOW_HANDLER,
    KILL_FROM_INSIDE,
    Scenario(
        name="stop-signal",
        title="STOPSIGNAL SIGQUIT: a server that knows only this one, as nginx, and gets it",
        person=STOPS,
        argv=SERVER,
        files=QUIT_SERVER,
        ready=READY,
        signo=signal.SIGQUIT,
        expect=ends("graceful", 0, sent=(signal.SIGQUIT,)),
    ),
    Scenario(
        name="job",
        title="a job does its work and ends with 0: nothing to tell",
        person="waits until it is done",
        argv=("./job.sh",),
        files={"job.sh": "#!/bin/sh\necho 'job: 3 rows written'\n"},
        ready=None,
        act=wait_for_end,
        expect=ends("exited", 0, said={"3 rows": 1}),
    ),
)
