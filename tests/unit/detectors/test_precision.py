"""What must not be told: healthy programs, and what runtimes, probes and operators do every day."""

import dataclasses

import pytest

from sigtrace.detectors.chain import Chain
from sigtrace.model import signals
from sigtrace.model.finding import Shutdown
from sigtrace.model.workload import WorkloadKind
from tests.unit.detectors.events import (
    BASH,
    BLOCKED,
    BY_DEFAULT,
    DROPPED,
    HANDLED,
    IGNORED,
    KILLED,
    KUBELET,
    MS,
    RUNC,
    SCRIPT,
    TAKEN,
    Container,
    S,
    exited,
    findings,
    killed_by,
    lost,
    run,
    story,
)

BOX = Container(argv=("app",))
HOST = Container(2, host_pid=True)
UP = [BOX.exec(1, BOX.init)]
TERM, INT, QUIT, HUP = signals.SIGTERM, signals.SIGINT, signals.SIGQUIT, signals.SIGHUP
USR1 = signals.number("USR1")
HOUR = 3600 * S


def stops(*during, at=S, status=None, took=40 * MS, box=BOX, fields=HANDLED, others=()):
    """Asked to stop, and it does."""
    delivered = [] if fields is TAKEN or fields is BLOCKED else [box.deliver(at + 1000)]
    return [
        box.term(at, **fields),
        delivered,
        box.snapshot(at + 20 * MS, box.init, *others),
        *during,
        box.exit(at + took, status or exited(0)),
    ]


def quiet(*steps, outcome="graceful", cause=None, until=HOUR):
    """No finding at all, and this one story."""
    shutdown, found = story(*steps, until=until)
    assert [f"{f.code}/{f.cause}" for f in found] == []
    assert (shutdown.outcome, shutdown.cause) == (outcome, cause)
    return shutdown


# ---- servers


def test_uvicorn_raises_sigterm_again_when_it_is_done():
    quiet(UP, stops(BOX.term(S + 30 * MS, BOX.init, **DROPPED)))


def test_uvicorn_that_raises_it_again_under_an_init_dies_of_it():
    worker = BOX.child(comm="uvicorn")
    forwarded = BOX.term(S + MS, BOX.init, task=worker, **HANDLED)
    again = BOX.term(S + 30 * MS, worker, task=worker, **BY_DEFAULT)
    died = BOX.exit(S + 31 * MS, killed_by(TERM), worker)
    quiet(UP, BOX.term(S, **TAKEN), forwarded, again, died, BOX.exit(S + 32 * MS, exited(143)))


def test_a_java_program_leaves_with_143_by_itself():
    quiet(UP, stops(status=exited(143)))


def test_a_jvm_takes_faults_and_makes_thread_dumps_all_day():
    faults = [BOX.signal(S + n, signals.SIGSEGV, None, si_code=1, **HANDLED) for n in range(50)]
    dumps = [
        o for n in range(10, 60, 10) for o in (BOX.signal(n * S, QUIT, BASH, **HANDLED), BOX.deliver(n * S + 1, QUIT))
    ]
    quiet(UP, faults, dumps, stops(at=HOUR), until=3 * HOUR)


def test_a_thread_dump_is_no_request_to_end():
    assert not findings(UP, BOX.signal(S, QUIT, BASH, **HANDLED), BOX.deliver(S + 1, QUIT), until=24 * HOUR)


def test_nginx_reloads_reopens_its_logs_and_tells_its_workers_by_a_channel():
    main = dataclasses.replace(BOX.init, comm="nginx", argv=("nginx",))
    old, new = BOX.child(1, "nginx"), BOX.child(2, "nginx")
    reload = [BOX.signal(S, HUP, RUNC, **HANDLED), BOX.deliver(S + 1, HUP), BOX.signal(2 * S, USR1, BASH, **HANDLED)]
    seen = [BOX.snapshot(1, main, old), *reload]
    # `old` left with 0 at the reload, which is never told; `new` leaves when the channel is closed.
    leaves = BOX.exit(60 * S + 30 * MS, exited(0), new)
    steps = [
        BOX.signal(60 * S, QUIT, **HANDLED),
        BOX.deliver(60 * S + 1, QUIT),
        BOX.snapshot(60 * S + 20 * MS, main, new),
    ]
    quiet(seen, steps, leaves, BOX.exit(60 * S + 40 * MS, exited(0)))


def test_a_master_whose_workers_left_unnoticed_and_that_leaves_before_it_is_listed():
    seen = BOX.snapshot(1, BOX.init, BOX.child(1), BOX.child(2))
    quiet(seen, BOX.term(60 * S, **HANDLED), BOX.deliver(60 * S + 1), BOX.exit(60 * S + 5 * MS, exited(0)))


def test_gunicorn_recycles_its_workers():
    steps = []
    for k in range(1, 30):
        worker = BOX.child(k, "gunicorn", start_ns=k * 60 * S)
        steps += [
            BOX.term(k * 60 * S + 50 * S, BOX.init, task=worker, **HANDLED),
            BOX.exit(k * 60 * S + 51 * S, exited(0), worker),
        ]
    assert not findings(UP, steps, until=HOUR)


def test_a_master_that_passes_it_on_and_waits():
    workers = [BOX.child(k) for k in (1, 2)]
    told = [BOX.term(S + 21 * MS + k, BOX.init, task=task, **HANDLED) for k, task in enumerate(workers)]
    left = [BOX.exit(S + 30 * MS + k, exited(0), task) for k, task in enumerate(workers)]
    quiet(UP, stops(told, left, others=workers))


def test_systemd_reads_its_stop_signal_from_a_descriptor():
    quiet(UP, BOX.signal(S, 37, **BLOCKED), BOX.snapshot(S + 20 * MS, BOX.init), BOX.exit(2 * S, exited(0)))


def test_a_shell_that_traps_it_and_ends_its_child():
    main, child = dataclasses.replace(BOX.init, argv=SCRIPT, comm="sh"), BOX.child(comm="app")
    steps = [BOX.exec(1, main), BOX.term(S, **HANDLED), BOX.deliver(S + 1), BOX.snapshot(S + 20 * MS, main, child)]
    quiet(
        steps,
        BOX.term(S + 21 * MS, main, task=child, **BY_DEFAULT),
        BOX.exit(S + 22 * MS, killed_by(TERM), child),
        BOX.exit(S + 23 * MS, exited(0)),
    )


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("comm", ["pg_isready", "nc", "curl", "mysqladmin"])
def test_a_script_waits_until_its_database_answers(comm, status):
    """``until pg_isready; do sleep 1; done``"""
    main = dataclasses.replace(BOX.init, argv=SCRIPT, comm="sh")
    tries = [BOX.exit((5 + k) * S, exited(1), BOX.child(k, comm, start_ns=(5 + k) * S - 20 * MS)) for k in range(1, 90)]
    died = BOX.exit(200 * S, exited(status))
    told = run(Chain(), BOX.exec(1, main), tries, died, until=HOUR)
    assert "crash-masked" not in [v.code for v in told if not isinstance(v, Shutdown)]
    assert len(told) == (1 if status == 0 else 2)


def test_threads_end_by_a_sigkill_that_nobody_sent_when_one_of_them_executes_a_program():
    """De_thread in fs/exec.c: delivered to the other threads, never generated."""
    delivered = BOX.deliver(S, signals.SIGKILL, disposition=BOX.term(0).event.disposition)
    quiet(UP, delivered, BOX.exec(S + 1, BOX.init), stops(at=9 * S))


# ---- jobs


def test_a_job_ends():
    quiet(UP, BOX.exit(9 * S, exited(0)), outcome="exited")


def test_a_command_that_failed_in_a_job_that_went_on():
    quiet(UP, BOX.exit(S, exited(1), BOX.child(comm="grep")), BOX.exit(9 * S, exited(0)), outcome="exited")


def test_a_pipeline_whose_writer_died_of_sigpipe():
    quiet(
        UP, BOX.exit(S, killed_by(signals.SIGPIPE), BOX.child(comm="yes")), BOX.exit(2 * S, exited(0)), outcome="exited"
    )


# ---- what runtimes and the kernel do at the end


def torn_down(*tasks, at, box=BOX):
    return [o for k, t in enumerate(tasks) for o in (box.teardown(at + k, t), box.exit(at + MS + k, KILLED, t))]


def test_the_kernel_tears_a_jobs_children_down():
    child = BOX.child()
    quiet(UP, BOX.exec(2, child), BOX.exit(S, exited(0)), torn_down(child, at=S + 1), outcome="exited")


@pytest.mark.parametrize("after", [100_000, 50 * MS, 300 * MS, 5 * S, 60 * S])
@pytest.mark.parametrize("way", ["kill", "cgroup_kill"])
def test_a_runtime_cleans_up_what_a_job_left_behind_in_a_host_pid_namespace(after, way):
    left = HOST.child(comm="left")
    clean = getattr(HOST, way)(S + after, RUNC, task=left)
    steps = [HOST.exec(1, HOST.init), HOST.exec(2, left), HOST.exit(S, exited(0)), clean]
    quiet(steps, HOST.exit(S + after + MS, KILLED, left), outcome="exited")


def test_a_process_dies_with_its_parent_as_it_had_asked_to():
    parent, child = BOX.child(1), BOX.child(2)
    orphaned = [BOX.exit(S, exited(0), parent), BOX.parent_died(S + 1, child), BOX.exit(S + MS, KILLED, child)]
    quiet(UP, [BOX.exec(2, parent), BOX.exec(3, child)], orphaned, stops(at=9 * S))


@pytest.mark.parametrize("signo", [TERM, INT, HUP])
def test_a_parents_death_signal_may_be_any(signo):
    child = BOX.child(2)
    died = BOX.signal(S, signo, None, task=child, info=BOX.parent_died(0, child).event.info)
    quiet(UP, BOX.exec(2, child), died, BOX.exit(S + MS, killed_by(signo), child), stops(at=9 * S))


def test_a_container_that_is_killed_after_it_has_ended():
    quiet(UP, stops(), BOX.kill(2 * S, leaving=True), BOX.kill(3 * S))


def test_a_kill_of_what_is_dying_already_is_no_escalation():
    quiet(UP, BOX.term(S, **HANDLED), BOX.deliver(S + 1), BOX.kill(2 * S, leaving=True), BOX.exit(2 * S + 1, exited(0)))


@pytest.mark.parametrize("sender", [RUNC, KUBELET])
@pytest.mark.parametrize("way", ["term", "kill"])
def test_the_pause_container_of_a_pod(sender, way):
    pause = Container(kind=WorkloadKind.SANDBOX)
    for fields in (DROPPED, IGNORED, HANDLED, {}):
        steps = [pause.exec(1, pause.init), getattr(pause, way)(S, sender, **fields), pause.exit(2 * S, KILLED)]
        assert not run(Chain(), steps, until=HOUR)


# ---- what enters from outside


def probes(*numbers, every=10 * S, status=0, box=BOX):
    tasks = [(k, box.guest(50 + k, argv=("sh", "-c", "test -f /ok"), start_ns=k * every)) for k in numbers]
    return [o for k, t in tasks for o in (box.exec(k * every, t), box.exit(k * every + 30 * MS, exited(status), t))]


@pytest.mark.parametrize("status", [0, 1])
def test_a_probe_that_repeats_whatever_it_says(status):
    shutdown = quiet(UP, probes(*range(1, 30), status=status), stops(at=290 * S + 100 * MS))
    assert shutdown.pre_stop_s is None


def test_a_probe_that_is_torn_down_with_the_container():
    probe = BOX.guest(argv=("sh", "-c", "sleep 1"))
    quiet(UP, BOX.exec(2, probe), stops(others=[probe]), torn_down(probe, at=S + 41 * MS))


@pytest.mark.parametrize("listed_first", ["probe", "child"])  # pids wrap around, and a listing goes by pid
@pytest.mark.parametrize("ends_first", ["probe", "child"])
@pytest.mark.parametrize("seen", [False, True])
def test_so_are_its_children_in_whatever_order_they_are_listed_and_end(listed_first, ends_first, seen):
    probe = BOX.guest(argv=("sh", "-c", "sleep 1"))
    sleep = BOX.child(51, "sleep", parent=probe)
    before = BOX.exec(2, probe) if seen else []
    listed = [probe, sleep] if listed_first == "probe" else [sleep, probe]
    ends = [probe, sleep] if ends_first == "probe" else [sleep, probe]
    quiet(UP, before, stops(others=listed), torn_down(*ends, at=S + 41 * MS))


@pytest.mark.parametrize("argv", [("bash",), ("sh",), ("bash", "-il"), ("/bin/zsh",)])
def test_an_operators_open_shell_and_what_runs_in_it(argv):
    shell = BOX.guest(comm="bash", argv=argv)
    top = BOX.child(51, "top", parent=shell)
    shutdown = quiet(
        UP, BOX.exec(2, shell), stops(others=[shell, top], took=40 * MS), torn_down(shell, top, at=S + 41 * MS)
    )
    assert shutdown.pre_stop_s is None


def test_an_operators_shell_is_hung_up_when_its_terminal_goes():
    shell = BOX.guest(comm="bash", argv=("bash",))
    hung_up = [BOX.signal(S, HUP, None, task=shell, **HANDLED), BOX.exit(S + MS, killed_by(HUP), shell)]
    quiet(UP, BOX.exec(2, shell), hung_up, stops(at=9 * S))


def test_a_command_that_sends_the_main_process_what_it_handles():
    """``kubectl exec … -- kill -HUP 1``"""
    shell = BOX.guest(comm="kill", argv=("kill", "-HUP", "1"))
    sent = [BOX.signal(S + 1, HUP, shell, **HANDLED), BOX.deliver(S + 2, HUP), BOX.exit(S + MS, exited(0), shell)]
    quiet(UP, BOX.exec(S, shell), sent, stops(at=9 * S))


def test_a_browsers_sandbox_comes_and_goes():
    init, tab = BOX.nested(40), BOX.child(41, "tab", ns_pid=2, pidns=4026539001)
    gone = [BOX.exit(2 * S, exited(0), init), BOX.teardown(2 * S + 1, tab), BOX.exit(2 * S + MS, KILLED, tab)]
    quiet(UP, BOX.exec(S, init), gone, stops(at=9 * S))


# ---- what is not known


def test_what_was_lost_is_told_as_lost_and_nothing_is_made_of_it():
    told = run(Chain(), UP, lost(S), stops(at=2 * S), lost(3 * S), until=HOUR)
    assert {v.code for v in told if not isinstance(v, Shutdown)} == {"events-lost"}
    assert [v.outcome for v in told if isinstance(v, Shutdown)] == ["graceful"]


def test_an_end_of_which_nothing_else_was_seen():
    quiet(BOX.exit(S, exited(0)), outcome="exited")


def test_a_signal_of_which_a_source_knows_next_to_nothing():
    """Ptrace knows no disposition of others, and no result."""
    bare = BOX.term(S, None, result=None, disposition=None, info=None, blocked=None)
    assert not findings(UP, bare, until=HOUR)
