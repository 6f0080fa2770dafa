"""The predictor against the kernel's table, what an audit adds to it, and how it is told."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace import auditor
from sigtrace.audit.audits import audit
from sigtrace.audit.predict import _meets, predict
from sigtrace.audit.rows import Reaps, SignalSource, WouldBe
from sigtrace.audit.words import _CLAUSES, _RATED
from sigtrace.cli import main as cli_main
from sigtrace.model import signals
from sigtrace.model.causes import Severity
from sigtrace.model.event import Event, Kind, Masks
from sigtrace.model.record import SCHEMA
from sigtrace.model.text import columns
from sigtrace.model.workload import Observation, WorkloadKind
from sigtrace.sinks.audit import audit_record, audit_text
from sigtrace.sinks.style import Style
from tests.unit.detectors.events import PROGRAM, SCRIPT, SHELL_FORM, WALL, Container

TERM, CHLD, WINCH, TSTP, CONT, KILL, STOP = 15, 17, 28, 20, 18, 9, 19
ALL = (1 << 64) - 1


def bit(*signos):
    return sum(1 << (signo - 1) for signo in signos)


def task_of(box, task=None, **fields):
    """The TASK observation of a container's process, its PID 1 unless said otherwise."""
    main = task is None
    task = task or box.init
    flags = {"ns_init": True, "container_init": True} if task.ns_pid == 1 else {}
    event = Event(1, WALL, Kind.TASK, task, **{"masks": Masks(), **flags, **fields})
    return Observation(event, box.workload, main=main)


def init(**fields):
    return task_of(Container(), **fields).event


def plain(**fields):
    """A main process that is no PID 1."""
    return dataclasses.replace(init(**fields), ns_init=False)


CAUGHT = Masks(caught=bit(TERM))
WAITED = Masks(real_blocked=bit(TERM))
READ = Masks(blocked=bit(TERM), signalfd=bit(TERM))

TABLE = [
    # the rows of kernel-signals.md, "SIGTERM from an ancestor namespace": event, PID 1's, an ordinary process's
    ({}, "dropped/no-handler", "default/default-action"),
    ({"masks": CAUGHT}, "handled/handler", "handled/handler"),
    ({"masks": Masks(ignored=bit(TERM))}, "ignored/sig-ign", "ignored/sig-ign"),
    ({"masks": Masks(blocked=bit(TERM))}, "pending/blocked", "pending/blocked"),
    ({"masks": Masks(blocked=bit(TERM), ignored=bit(TERM))}, "pending/blocked", "pending/blocked"),
    ({"masks": Masks(blocked=bit(TERM), caught=bit(TERM))}, "pending/blocked", "pending/blocked"),
    ({"masks": WAITED}, "taken/sigwait", "taken/sigwait"),
    ({"masks": READ}, "taken/signalfd", "taken/signalfd"),
    # a thread in sigwait for another signal, with this one blocked
    ({"masks": Masks(blocked=bit(TERM), real_blocked=bit(TERM, CHLD))}, "pending/blocked", "pending/blocked"),
    # what is not blocked does not get into a descriptor
    ({"masks": Masks(signalfd=bit(TERM))}, "dropped/no-handler", "default/default-action"),
    ({"stopped": True}, "dropped/no-handler", "pending/stopped"),
    ({"stopped": True, "masks": CAUGHT}, "pending/stopped", "pending/stopped"),
    ({"stopped": True, "masks": WAITED}, "pending/stopped", "pending/stopped"),
    ({"stopped": True, "masks": READ}, "pending/stopped", "pending/stopped"),
    ({"frozen": True}, "dropped/no-handler", "unknown/frozen"),
    ({"frozen": True, "masks": CAUGHT}, "pending/frozen", "pending/frozen"),
    ({"ptraced": True}, "unknown/traced", "unknown/traced"),
    ({"ptraced": True, "masks": CAUGHT}, "unknown/traced", "unknown/traced"),
    ({"exiting": True, "masks": CAUGHT}, "unknown/exiting", "unknown/exiting"),
    ({"masks": None}, "unknown/not-seen", "unknown/not-seen"),
]


def words(prediction):
    return f"{prediction.would_be}/{prediction.cause}"


@pytest.mark.parametrize(("fields", "of_init", "_of_other"), TABLE)
def test_pid_1_meets_sigterm_as_the_kernel_says(fields, of_init, _of_other):
    assert words(predict(init(**fields), TERM)) == of_init


@pytest.mark.parametrize(("fields", "_of_init", "of_other"), TABLE)
def test_another_main_process_meets_sigterm_as_the_kernel_says(fields, _of_init, of_other):
    assert words(predict(plain(**fields), TERM)) == of_other


@pytest.mark.parametrize(
    ("signo", "fields", "of_init", "of_other"),
    [
        (KILL, {}, "default/uncatchable", "default/uncatchable"),
        (STOP, {}, "default/uncatchable", "default/uncatchable"),
        (KILL, {"frozen": True}, "unknown/frozen", "unknown/frozen"),
        (WINCH, {}, "ignored/ignored-by-default", "ignored/ignored-by-default"),
        (CONT, {}, "ignored/ignored-by-default", "ignored/ignored-by-default"),
        (WINCH, {"masks": Masks(caught=bit(WINCH))}, "handled/handler", "handled/handler"),
        (TSTP, {}, "dropped/no-handler", "default/default-action"),
        (37, {"masks": Masks(caught=bit(37))}, "handled/handler", "handled/handler"),
        (64, {"masks": Masks(blocked=bit(64), signalfd=bit(64))}, "taken/signalfd", "taken/signalfd"),
        (64, {"masks": Masks(blocked=ALL & ~bit(64))}, "dropped/no-handler", "default/default-action"),
    ],
)
def test_other_stop_signals(signo, fields, of_init, of_other):
    assert words(predict(init(**fields), signo)) == of_init
    assert words(predict(plain(**fields), signo)) == of_other


B, W, N = (bit(TERM), bit(TERM)), (0, bit(TERM)), (0, 0)  # a thread that blocks it, one that waits for it, neither


@pytest.mark.parametrize(
    ("leader", "others", "of_init", "of_other"),
    [
        # The leader alone decides whether an init is spared: a waiting thread beside it does not help.
        (N, [W], "dropped/no-handler", "default/default-action"),
        (N, [B], "dropped/no-handler", "default/default-action"),
        (B, [W], "taken/sigwait", "taken/sigwait"),
        (W, [N], "taken/sigwait", "taken/sigwait"),
        (W, [B], "taken/sigwait", "taken/sigwait"),
        (B, [B], "pending/blocked", "pending/blocked"),
        # and what the leader blocks ends even an init through a thread that does not, on some kernels
        (B, [N], "unknown/another-thread", "default/default-action"),
        (B, [N, W], "unknown/threads", "unknown/threads"),
    ],
)
def test_threads_with_masks_of_their_own(leader, others, of_init, of_other):
    threads = (leader, *others)
    assert words(_meets(init(), Masks(), threads, TERM)) == of_init
    assert words(_meets(plain(), Masks(), threads, TERM)) == of_other


@pytest.mark.parametrize(
    ("leader", "others", "verdict"),
    [(N, [W], "handled/handler"), (B, [N], "handled/handler"), (B, [N, W], "unknown/threads")],
)
def test_threads_with_masks_of_their_own_and_a_handler(leader, others, verdict):
    assert words(_meets(init(), CAUGHT, (leader, *others), TERM)) == verdict


@pytest.mark.parametrize(
    ("masks", "signo", "fields", "verdict"),
    [
        (Masks(ignored=bit(TERM)), TERM, {}, "ignored/sig-ign"),
        (Masks(), WINCH, {}, "ignored/ignored-by-default"),
        (Masks(), TSTP, {}, "dropped/no-handler"),
        (Masks(), TERM, {"stopped": True}, "pending/stopped"),
        (Masks(), TERM, {"frozen": True}, "unknown/frozen"),
    ],
)
def test_what_only_the_leader_of_an_init_blocks(masks, signo, fields, verdict):
    assert words(_meets(init(**fields), masks, ((bit(signo), bit(signo)), (0, 0)), signo)) == verdict


masks = st.builds(Masks, *[st.integers(0, ALL)] * 6)
states = st.fixed_dictionaries({name: st.booleans() for name in ("stopped", "frozen", "ptraced", "ns_init")})


@given(masks, states, st.integers(1, 64))
def test_a_blocked_signal_is_never_called_dropped_and_unknown_has_a_name(m, state, signo):
    found = predict(dataclasses.replace(init(masks=m), **state), signo)
    if signals.in_mask(m.blocked, signo) and signo not in {KILL, STOP}:
        assert found.would_be not in {WouldBe.DROPPED, WouldBe.IGNORED, WouldBe.HANDLED, WouldBe.DEFAULT}
    if found.would_be is WouldBe.UNKNOWN:
        assert state["ptraced"] or state["frozen"]
    if found.would_be is not WouldBe.HANDLED and found.would_be is not WouldBe.TAKEN:
        assert (found.would_be, found.cause) in _RATED


def test_every_verdict_that_is_rated_has_a_reason_and_a_mend():
    assert {cause for _, cause in _RATED} <= set(_CLAUSES)
    assert all(mend for _, mend in _RATED.values())


# ---- an audit of a container


def one(*observations, looks=1, asked=0):
    (found,) = audit([list(observations)] * looks, asked=asked)
    return found


def test_a_shell_form_names_the_child_that_would_never_hear():
    box = Container(argv=SHELL_FORM)
    found = one(task_of(box), task_of(box, box.child(comm="gunicorn")))
    assert (words(found), found.shell, found.severity) == ("dropped/shell-form", "shell-form", Severity.ERROR)
    assert [task.comm for task in found.unheard] == ["gunicorn"]
    assert "gunicorn is its child and would never hear of it" in found.why
    assert "exec form" in found.advice[0]


def test_a_script_without_exec_is_another_cause():
    box = Container(argv=SCRIPT)
    found = one(task_of(box), task_of(box, box.child(1)), task_of(box, box.child(2)))
    assert words(found) == "dropped/script-without-exec"
    assert "worker and 1 more are its children" in found.why


def test_a_shell_with_a_trap_is_handled_and_its_doubt_is_said():
    box = Container(argv=SCRIPT)
    found = one(task_of(box, masks=CAUGHT), task_of(box, box.child()))
    assert (words(found), found.severity, found.unheard) == ("handled/shell-trap", Severity.INFO, ())
    assert "from outside these look alike" in found.why


def test_a_shell_with_a_trap_and_no_child_just_handles_it():
    found = one(task_of(Container(argv=SCRIPT), masks=CAUGHT))
    assert (words(found), found.severity, found.why) == ("handled/handler", None, "")


def test_node_as_pid_1_may_raise_again_what_it_is_spared():
    node = Container(argv=("/usr/bin/node", "server.js"))
    found = one(task_of(node, masks=CAUGHT))
    assert (words(found), found.severity) == ("handled/raises-again", Severity.INFO)
    assert "catches SIGTERM itself only to raise it again" in found.why
    assert "process.on" in found.advice[0]
    under_tini = one(task_of(node, masks=CAUGHT, ns_init=False))
    assert words(under_tini) == "handled/handler"


def test_children_of_a_program_that_is_no_shell_are_its_own_business():
    box = Container(argv=PROGRAM)
    found = one(task_of(box), task_of(box, box.child()))
    assert (words(found), found.unheard, len(found.children)) == ("dropped/no-handler", (), 1)


@pytest.mark.parametrize("fields", [{"masks": Masks(ignored=bit(TERM))}, {"stopped": True, "masks": CAUGHT}])
def test_what_a_shell_ignores_or_cannot_take_its_child_never_hears(fields):
    box = Container(argv=SHELL_FORM)
    found = one(task_of(box, **fields), task_of(box, box.child()))
    assert (found.severity, len(found.unheard)) == (Severity.WARNING, 1)


def test_the_stop_signal_is_the_one_asked_for_else_the_containers_else_sigterm():
    box = Container(stop_signal=3)
    assert (one(task_of(box)).signo, one(task_of(box)).signal_source) == (3, SignalSource.CONFIGURED)
    assert "SIGQUIT is the container's own stop signal" in one(task_of(box)).why
    assert (one(task_of(box), asked=1).signo, one(task_of(box), asked=1).signal_source) == (1, SignalSource.ASKED)
    assert one(task_of(Container())).signo == TERM


@pytest.mark.parametrize("meanwhile", [Masks(blocked=bit(TERM)), Masks()])
@pytest.mark.parametrize("order", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_what_waits_at_one_look_is_not_called_blocked_nor_deaf(order, meanwhile):
    """tini wakes once a second and looks for zombies, with SIGTERM blocked meanwhile; or it has just been woken."""
    box = Container(argv=("tini",))
    waiting, busy = [task_of(box, masks=WAITED)], [task_of(box, masks=meanwhile)]
    (found,) = audit([(waiting, busy)[busy_now] for busy_now in order])
    assert words(found) == "taken/sigwait"


def test_another_process_with_its_pid_does_not_speak_for_it():
    box, blocked = Container(), Masks(blocked=bit(TERM))
    before = dataclasses.replace(box.init, start_ns=box.init.start_ns - 1)
    first = dataclasses.replace(task_of(box, masks=WAITED).event, task=before)
    (found,) = audit([[Observation(first, box.workload, main=True)], [task_of(box, masks=blocked)]])
    assert words(found) == "pending/blocked"


def zombie(box, k, parent=None, comm="worker"):
    task = box.child(k, comm=comm)
    if parent:
        task = dataclasses.replace(task, parent_pid=parent.pid, parent_start_ns=parent.start_ns)
    return task_of(box, task, zombie=True)


def test_zombies_are_told_by_the_parent_that_owes_the_wait():
    box = Container(argv=PROGRAM)
    worker = box.child(1, comm="master")
    found = one(
        task_of(box, masks=CAUGHT),
        task_of(box, worker),
        zombie(box, 2),
        *(zombie(box, k, worker, "job") for k in (3, 4)),
        looks=2,
    )
    assert [(debt.parent.comm, debt.count, debt.names) for debt in found.zombies] == [
        ("master", 2, ("job",)),
        ("init", 1, ("worker",)),
    ]
    assert (found.zombie_count, found.reaps, found.severity) == (3, Reaps.NO, Severity.WARNING)
    assert len(found.advice) == 2
    assert [task.comm for task in found.children] == ["master"]


def test_a_zombie_that_is_reaped_between_two_looks_is_none():
    box = Container(argv=PROGRAM)
    main = task_of(box, masks=CAUGHT)
    (found,) = audit([[main, zombie(box, 1)], [main, zombie(box, 2)], [main, zombie(box, 2), zombie(box, 3)]])
    assert (found.zombies, found.severity) == ((), None)


def test_zombies_above_half_of_pids_max_are_an_error():
    box = Container(argv=PROGRAM, pids_max=3)
    assert one(task_of(box, masks=CAUGHT), zombie(box, 1), zombie(box, 2)).severity is Severity.ERROR


def test_zombies_of_another_container_are_not_its_own():
    box, other = Container(1), Container(2)
    found = audit([[task_of(box), task_of(other), zombie(other, 1)]])
    assert {a.workload.title: a.zombie_count for a in found} == {"box1": 0, "box2": 1}


@pytest.mark.parametrize(
    ("argv", "fields", "children", "reaps"),
    [
        (("/usr/bin/tini", "--", "app"), {"masks": WAITED}, 1, Reaps.YES),
        (("/sbin/dumb-init", "app"), {}, 1, Reaps.YES),
        (SHELL_FORM, {}, 1, Reaps.YES),
        (SCRIPT, {}, 0, Reaps.UNKNOWN),
        (PROGRAM, {"masks": Masks(ignored=bit(CHLD))}, 0, Reaps.YES),
        (PROGRAM, {"masks": Masks(caught=bit(CHLD))}, 0, Reaps.PERHAPS),
        (PROGRAM, {"masks": Masks(real_blocked=bit(CHLD))}, 0, Reaps.PERHAPS),
        (PROGRAM, {"masks": Masks(blocked=bit(CHLD), signalfd=bit(CHLD))}, 0, Reaps.PERHAPS),
        (PROGRAM, {}, 3, Reaps.UNKNOWN),
        (("/usr/bin/tini", "--", "app"), {"masks": None}, 0, Reaps.UNKNOWN),
    ],
)
def test_whether_it_reaps_is_said_as_far_as_it_shows(argv, fields, children, reaps):
    box = Container(argv=argv)
    assert one(task_of(box, **fields), *(task_of(box, box.child(k)) for k in range(1, children + 1))).reaps is reaps


def test_only_living_main_processes_of_containers_are_audited():
    sandbox, box, gone = Container(1, kind=WorkloadKind.SANDBOX), Container(2), Container(3)
    looks = [[task_of(sandbox), task_of(box), task_of(gone, zombie=True), Observation(Event(1, 1, Kind.LOST))]]
    assert [a.workload.title for a in audit(looks)] == ["box2"]
    assert audit([]) == audit([[]]) == []


def test_the_worst_comes_first():
    blocked = task_of(Container(2), masks=Masks(blocked=bit(TERM)))
    look = [task_of(Container(1), masks=CAUGHT), blocked, task_of(Container(3))]
    assert [a.workload.title for a in audit([look])] == ["box3", "box2", "box1"]


# ---- how it is told


def several():
    boxes = [
        Container(1, argv=SHELL_FORM, pod="api-7d9f", namespace="default", container_name="web"),
        Container(2, argv=("redis-server",), pod="cache-0", namespace="default", container_name="redis"),
        Container(3, argv=("python3", "x" * 300), container_name="名" * 40),
    ]
    tasks = [task_of(boxes[0]), task_of(boxes[0], boxes[0].child(comm="gunicorn"))]
    tasks += [task_of(boxes[1], masks=CAUGHT), task_of(boxes[2], masks=WAITED), zombie(boxes[2], 1)]
    return audit([tasks])


@pytest.mark.parametrize("width", [40, 80, 100])
def test_the_table_fits_its_width(width):
    lines = audit_text(several(), Style(width=width), 3)
    assert max(map(columns, lines)) <= width


def test_the_table_tells_the_trouble_first_and_the_fixes_after_it():
    lines = audit_text(several(), Style(), 3)
    assert lines[0].split("  ")[0] == "POD · CONTAINER"
    assert lines[1].split("  ")[0] == "default/api-7d9f · web"
    assert lines[1].split()[-3:] == ["SIGTERM", "dropped", "yes"]
    text = "\n".join(lines)
    assert "1 zombie (worker): PID 1 does not wait for them" in text
    assert text.index("default/cache-0 · redis") < text.index("fix  ")
    assert "for default/api-7d9f · web" in text
    assert lines[-1] == "3 containers: 1 handled, 1 taken, 1 dropped; 1 would run on until SIGKILL"


def test_no_colour_is_left_where_none_is_wanted():
    assert "\x1b" not in "\n".join(audit_text(several(), Style(), 3))
    assert "\x1b[31m" in "\n".join(audit_text(several(), Style(colour=True), 3))


def test_nothing_to_show_is_said():
    assert audit_text([], Style(), 0) == ["no container is running"]
    assert audit_text([], Style(), 7) == ["none of the 7 running containers is meant"]


def test_a_record_has_the_verdict_and_the_raw_masks():
    (record, *_) = [audit_record(a) for a in several()]
    assert json.loads(json.dumps(record)) == record
    assert (record["schema"], record["type"], record["would_be"], record["cause"]) == (
        SCHEMA,
        "audit",
        "dropped",
        "shell-form",
    )
    assert (record["signal"], record["signo"], record["signal_source"]) == ("SIGTERM", 15, "default")
    assert (record["severity"], record["init"], record["shell"]) == ("error", True, "shell-form")
    assert (record["task"]["argv"], record["unheard"][0]["comm"]) == (list(SHELL_FORM), "gunicorn")
    assert (record["workload"]["pod"], record["reaps"], record["zombies"]) == ("api-7d9f", "yes", 0)
    assert record["masks"]["caught"] == "0" * 16
    waiting = next(r for r in map(audit_record, several()) if r["would_be"] == "taken")
    assert waiting["masks"]["waited"] == "0000000000004000"
    assert waiting["zombies_by_parent"][0]["count"] == 1


# ---- the command


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command on a node with the three containers of ``several``; no capture, no privilege."""
    seen = {}

    class Fake:
        def __init__(self, backend, names):
            seen["backend"] = backend

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def audit(self, lasting_s, *, asked):
            seen.update(lasting_s=lasting_s, asked=asked)
            return several()

    monkeypatch.setattr(auditor, "Auditor", Fake)

    def call(*args):
        status = cli_main.main(["audit", *args])
        return (status, *capsys.readouterr(), seen)

    return call


def test_all_containers_are_told_and_the_status_is_0(run):
    status, out, err, seen = run("-o", "json")
    records = [json.loads(line) for line in out.splitlines()]
    assert (status, err, [r["seq"] for r in records]) == (0, "", [1, 2, 3])
    assert seen == {"backend": "auto", "lasting_s": auditor.LASTING_S, "asked": 0}


@pytest.mark.parametrize(
    ("args", "ours"),
    [
        ((), False),
        (("--duration", "10"), False),
        (("--duration", "10.5"), True),  # longer than an agent looks
        (("--backend", "ptrace"), True),
        (("--runtime-socket", "cri:/run/x.sock"), True),
        (("--local",), True),
    ],
)
def test_an_agent_is_asked_for_what_it_does_and_the_rest_is_looked_at_here(run, monkeypatch, args, ours):
    monkeypatch.setattr(auditor, "is_there", lambda _: True)
    monkeypatch.setattr(auditor.follow, "audits", lambda _, **__: several())
    status, _, _, seen = run(*args)
    assert (status, "backend" in seen) == (0, ours)


def test_names_choose_containers_and_filters_narrow_them(run):
    def names(*args):
        return [json.loads(line)["workload"]["container_name"] for line in run("-o", "json", *args)[1].splitlines()]

    assert names("web", "redis") == ["web", "redis"]
    assert names("web", "redis", "--pod", "cache-0") == ["redis"]
    assert names("--namespace", "default") == ["web", "redis"]
    assert names("--namespace", "nowhere") == []


def test_a_name_that_nobody_has_is_2_after_the_others_were_told(run):
    status, out, err, _ = run("web", "wbe\x1b[2J")
    assert (status, err.count("\n")) == (2, 1)
    assert "default/api-7d9f · web" in out
    assert "no running container has the name, or an id that begins with, 'wbe\\x1b[2J'" in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("--fail-on", "error"), 1),
        (("--fail-on", "error", "redis"), 0),
        (("--fail-on", "info", "redis"), 0),
        (("--fail-on", "error", "--namespace", "nowhere"), 0),
        ((), 0),
    ],
)
def test_the_status_says_how_bad_it_is_for_those_chosen(run, args, status):
    assert run(*args)[0] == status


def test_a_signal_and_a_duration_are_handed_on(run):
    seen = run("--signal", "quit", "--duration", "2", "--backend", "bpf")[3]
    assert seen == {"backend": "bpf", "lasting_s": 2.0, "asked": 3}
    assert run("--signal", "QIUT")[0] == 2
