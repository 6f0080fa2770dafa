"""What programs write about themselves: no secret of an environment gets out, and nothing that a terminal acts on."""

import json
import os
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.model.event import Kind
from sigtrace.model.record import event_record
from sigtrace.model.workload import Observation

SECRET = "hunter2-in-the-environment"
EVIL = b"\x1b[31m\xff\xe2\x80\xae\nx"  # a colour, no UTF-8, right-to-left, a line break
PLAIN = r"\x1b[31m\xff\u202e\x0ax"


@pytest.fixture
def box():
    env = {"PASSWORD": SECRET, "A": SECRET, "ZZ": SECRET * 40}
    with Container(f"text-{os.getpid()}", env=env) as container:
        yield container


def said(events):
    """All that these events could say to anybody."""
    return "\n".join(map(repr, events)) + "\n".join(json.dumps(event_record(Observation(e))) for e in events)


def is_plain(text):
    return all(c.isprintable() for c in text)


@pytest.mark.parametrize("length", [0, 1, 400, 465, 466, 467, 479, 480, 481, 5000])
def test_no_argument_list_runs_on_into_the_environment(run, watch, program, box, length):
    box.start([str(program), "pause", "y" * length])
    box.wait_ready(b"ready\n")
    key = watch.until(lambda: [e for e in watch.events if e.kind is Kind.EXEC and e.task.pid == box.init_pid])[-1]
    argv = watch.until(lambda: [e for e in watch.of(key.task.key, Kind.EXEC) if "pause" in e.task.argv])[-1].task.argv
    assert argv[:2] == (str(program), "pause")
    if len(str(program)) + len("pause") + length + 3 <= 480:
        assert argv[2:] == ("y" * length,)
    else:
        assert argv[2].startswith("y")
        assert argv[2].endswith("…")
        assert len(argv[2]) < 480
    assert watch.task(key.task.key).task.argv[:2] == argv[:2]
    box.kill(15)
    box.kill(9)
    box.wait()
    watch.first(key.task.key, Kind.EXIT)
    assert SECRET not in said(watch.events)


def test_a_program_that_has_overwritten_its_arguments_does_not_show_its_environment(run, watch, program, box):
    """The kernel then reads on behind them for /proc/PID/cmdline (get_mm_proctitle in fs/proc/base.c)."""
    box.start(["env", "-i", f"PASSWORD={SECRET}", str(program), "title", "y" * 50])
    box.wait_ready(b"ready\n")
    assert SECRET.encode() in Path(f"/proc/{box.init_pid}/cmdline").read_bytes()
    (task,) = [e for e in watch.source.snapshot() if e.task.pid == box.init_pid]
    assert SECRET not in said([task])
    box.kill(15)

    def members():
        return [e for e in watch.events if e.kind is Kind.TASK and e.task.pid == box.init_pid]

    assert SECRET not in said(watch.until(members, "the container's members"))


@pytest.mark.parametrize("kind", ["init", "ordinary"])
def test_a_name_with_escape_sequences_is_printable_in_events_and_records(run, watch, kind):
    with run(kind, "name", EVIL) as target:
        target.mark()
        target.kill(9)
        target.wait()
        events = [e for e in watch.of(target.key) if e.kind is not Kind.EXEC]
        assert {e.task.comm for e in events} >= {PLAIN}
        assert all(is_plain(e.task.comm) for e in events)
        records = [event_record(Observation(e)) for e in events]
        assert is_plain(json.dumps(records, ensure_ascii=False))
        assert [r["task"]["comm"] for r in records if r["kind"] == "exit"] == [PLAIN]
        assert next(r["target"]["comm"] for r in records if r.get("signo") == 9) == PLAIN


def test_an_argument_with_escape_sequences_is_printable(run, watch):
    with run("init", "name", EVIL) as target:
        assert is_plain("".join(watch.task(target.key).task.argv))
        executed = watch.of(target.key, Kind.EXEC)[-1]
        assert executed.task.argv[1:] == ("name", PLAIN)
        assert is_plain(json.dumps(event_record(Observation(executed)), ensure_ascii=False))


def test_a_senders_name_and_ancestry_are_printable(run, watch, tmp_path):
    shell = os.fsencode(tmp_path) + b"/" + EVIL
    os.symlink("/bin/sh", shell)
    with run("init", "pause") as target:
        script = f"/bin/sh -c 'kill {target.pid}; :'; :"
        os.waitpid(os.posix_spawn(shell, [shell, b"-c", os.fsencode(script)], os.environ), 0)
        generate = watch.first(target.key, "signal_generate", 15)
        assert generate.sender.comm == "sh"
        assert generate.sender.ancestry[0] == PLAIN
        assert is_plain(json.dumps(event_record(Observation(generate)), ensure_ascii=False))
