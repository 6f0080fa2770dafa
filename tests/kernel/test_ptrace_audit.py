"""The audit without BPF: what it predicts from /proc alone then happens, and is what the audit with BPF predicts."""

import contextlib
import dataclasses
import os
import re
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sigtrace.auditor import Auditor
from sigtrace.errors import HostError, RunError
from sigtrace.lab import scenario as lab
from sigtrace.lab.container import Container
from sigtrace.lab.needs import unmet
from sigtrace.lab.scenario import PidNamespace
from sigtrace.lab.scenarios import SCENARIOS
from tests.kernel.targets import READY
from tests.kernel.test_audit import (  # noqa: F401  # fixtures, and tests that run again with the auditor below
    LASTING_S,
    RUNNING,
    box,
    python,
    test_a_stopped_pid_1_drops_it_without_a_handler_and_keeps_it_with_one,
    test_a_thread_in_sigwait_does_not_help_an_init_whose_leader_does_not_block,
    test_another_signal_can_be_asked_about,
    test_pid_1_meets_sigterm_as_predicted,
    test_tini_is_never_called_deaf_however_often_one_looks,
    test_what_only_the_leader_blocks_is_up_to_the_kernel,
    test_what_python_fetches_itself_is_taken_and_never_called_deaf,
    test_zombies_show_that_pid_1_does_not_reap,
)


@pytest.fixture(scope="module")
def auditor():
    with Auditor("ptrace") as opened:
        yield opened


@pytest.fixture(scope="module")
def with_bpf(bpf_host):
    with Auditor() as opened:
        yield opened


@pytest.mark.parametrize("name", RUNNING)
def test_it_says_of_a_scenario_what_the_audit_with_bpf_says(auditor, with_bpf, name):
    scenario = SCENARIOS[name]
    if reason := unmet(scenario.needs):
        with pytest.raises(HostError, match=re.escape(reason)):
            lab.run(scenario)
        return
    found = []
    ended_by_others = scenario.expect.outcome == "killed" or scenario.expect.cause == "pre-stop"

    def act(scene):
        if not ended_by_others:
            scenario.act(scene)
        audits = [one.audit(LASTING_S, asked=scenario.signo) for one in (auditor, with_bpf)]
        found.extend(next(a for a in some if a.workload.cgroup_id == scene.box.cgroup_id) for some in audits)

    # Whoever would end it is not there: SIGKILL does, after the grace period.
    expect = dataclasses.replace(scenario.expect, sent=(scenario.signo, signal.SIGKILL))
    asked = dataclasses.replace(scenario, act=act, expect=expect if ended_by_others else scenario.expect)
    own = scenario.pid_namespace is PidNamespace.OWN
    container = f"audit-{os.getpid()}-{name}" if own else f"docker-{secrets.token_hex(32)}"
    with contextlib.suppress(RunError):  # what else it proves is not asked here
        lab.run(asked, container=container, zombie_after_s=0.1, unanswered_after_s=0.1)
    mine, theirs = found
    assert (mine.would_be, mine.cause, mine.is_init) == (theirs.would_be, theirs.cause, theirs.is_init)
    assert (mine.reaps, sum(debt.count for debt in mine.zombies)) == (
        theirs.reaps,
        sum(d.count for d in theirs.zombies),
    )


def zombies_of(audited):
    return sum(debt.count for debt in audited.zombies)


def tracer_of(pid):
    return Path(f"/proc/{pid}/status").read_text().partition("TracerPid:\t")[2].split()[0]


def test_it_traces_nobody(auditor, program):
    with Container(f"audit-ptrace-{os.getpid()}") as looked_at:
        looked_at.start([str(program), "handler"])
        looked_at.wait_ready(READY)
        (found,) = [one for one in auditor.audit(0.02) if one.main.pid == looked_at.init_pid]
        assert tracer_of(looked_at.init_pid) == "0"
    assert found.cause == "handler"


def test_what_is_not_shown_to_a_plain_user_is_unknown():
    """Its masks are, but whether it waits for the signal in sigwait is not."""
    with Container(f"audit-user-{os.getpid()}") as looked_at:
        looked_at.start(["sleep", "infinity"])
        looked_at.wait_ready()
        script = f"""
import os
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from sigtrace.auditor import Auditor
with Auditor("ptrace") as auditor:
    print([(str(one.would_be), one.cause) for one in auditor.audit(0.02) if one.main.pid == {looked_at.init_pid}])
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout.strip() == "[('unknown', 'not-seen')]", done.stderr
