"""`sigtrace record` and `sigtrace replay`: what users and scripts see, without a kernel to record."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sigtrace import __version__, recorder
from sigtrace.cli import main as cli_main
from sigtrace.detectors.base import Thresholds
from sigtrace.detectors.chain import Chain
from sigtrace.errors import HostError
from sigtrace.model import signals
from sigtrace.model.event import Disposition, Event, Info, Kind, Loss, Result, Task
from sigtrace.model.recording.frames import End, Header, Packer
from sigtrace.model.waitstatus import WaitStatus
from sigtrace.model.workload import Observation, Workload, WorkloadKind
from sigtrace.pipeline import Pipeline
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.recording import Recording, create
from sigtrace.sources.replay import open_recording

ROOT = Path(__file__).parents[3]
S, MS = 1_000_000_000, 1_000_000
WALL = 1_700_000_000 * S
BOX = Workload(WorkloadKind.CONTAINER, 7, "/lab/box", container_name="box")
INIT = Task(100, 1, "sh", 100, ns_pid=1, pidns=9, uid=0, cgroup_id=7, argv=("sh", "-c", "app é"))
RUNC = Task(70, 7, "runc", uid=0, cgroup_id=1, ancestry=("containerd-shim", "systemd"))
CAPTURED = "sigtrace: recorded 2023-11-14T22:13:20Z on node (Linux 6.18) by sigtrace 1.2\n"


def event(at, kind, task=INIT, workload=BOX, **fields):
    init = {"ns_init": True, "container_init": True} if task is INIT else {}
    main = {"main": task is INIT} if "main" in Observation.__dataclass_fields__ else {}
    return Observation(Event(at, WALL + at, kind, task, **init | fields), workload, **main)


def sent(at, signo, result):
    return event(
        at, Kind.SIGNAL_GENERATE, sender=RUNC, signo=signo, result=result, disposition=Disposition.DEFAULT,
        si_code=0, info=Info.REAL, group=True, outside=True,
    )  # fmt: skip


#: A container that never hears SIGTERM, and a loss. Then time goes on.
STORY = [
    event(S, Kind.EXEC),
    sent(2 * S, signals.SIGTERM, Result.IGNORED),
    event(2 * S + MS, Kind.TASK),
    Observation(Event(3 * S, WALL + 3 * S, Kind.LOST, loss=Loss.RING_FULL, count=3)),
    sent(12 * S, signals.SIGKILL, Result.DELIVERED),
    event(12 * S + MS, Kind.EXIT, wait_status=WaitStatus(9)),
]


@pytest.fixture
def made(tmp_path):
    """A recording, and what was told while it was made: (path, JSON lines)."""
    path = str(tmp_path / "story.sig")
    out = io.StringIO()
    writer = LineWriter(out)
    recording = Recording(create(path, force=False), path)
    recording.start(Header("1.2", "boot", "node", "6.18", WALL, Thresholds().as_dict()))
    pipeline = Pipeline(Chain(Thresholds()), [Jsonl(writer, events=None, boot_id="boot")], recording)
    for observation in STORY:
        at = observation.event.time_ns
        pipeline.advance(at - 1)
        pipeline.feed(observation)
        for later in (5 * MS, 300 * MS, 900 * MS):  # as batches come
            pipeline.advance(at + later)
    pipeline.end()
    recording.close()
    writer.close()
    return path, out.getvalue()


@pytest.fixture
def run(capsys):
    handlers = {signo: signal.getsignal(signo) for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def call(*args):
        status = cli_main.main(list(map(str, args)))
        return (status, *capsys.readouterr())

    yield call
    for signo, handler in handlers.items():
        signal.signal(signo, handler)


# ---- replay


def test_a_replay_tells_what_was_told_byte_for_byte(run, made):
    path, told = made
    assert {json.loads(line)["type"] for line in told.splitlines()} == {"finding", "shutdown"}
    assert run("replay", path, "-o", "json") == (0, told, CAPTURED)
    assert run("replay", path, "-o", "json") == (0, told, CAPTURED)


def test_a_replay_tells_the_story_as_watch_does(run, made):
    status, out, _ = run("replay", made[0])
    assert status == 0
    assert "SIGKILL after 10.0 s: it never heard SIGTERM" in out
    assert "events-lost" in out


def test_events_are_shown_when_asked_for(run, made):
    path, told = made
    records = [json.loads(line) for line in run("replay", path, "-o", "json", "--events")[1].splitlines()]
    assert [r["kind"] for r in records if r["type"] == "event"] == [
        "exec", "signal_generate", "lost", "signal_generate", "exit",
    ]  # fmt: skip
    verdicts = [r | {"seq": 0} for r in records if r["type"] != "event"]
    assert verdicts == [json.loads(line) | {"seq": 0} for line in told.splitlines()]
    out = run("replay", path, "--events")[1]
    assert "SIGTERM → sh[100 is 1]" in out
    assert "it never heard SIGTERM" in out


def test_a_filter_chooses(run, made):
    path, told = made
    assert run("replay", path, "-o", "json", "--container", "box")[1] == told
    others = [json.loads(line) for line in run("replay", path, "-o", "json", "--container", "x")[1].splitlines()]
    assert {r["code"] for r in others} == {"events-lost"}


@pytest.mark.parametrize(("bad", "status"), [("error", 1), ("info", 1)])
def test_the_status_says_how_bad_it_was(run, made, bad, status):
    assert run("replay", made[0], "--fail-on", bad)[0] == status
    assert run("replay", made[0], "--fail-on", bad, "--container", "nobody")[0] == (1 if bad == "info" else 0)


def test_of_a_recording_that_was_cut_off_it_tells_what_came_before_and_ends_with_4(run, made, tmp_path):
    path, told = made
    whole = Path(path).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(whole[:-1])
    status, out, err = run("replay", cut, "-o", "json")
    assert (status, out) == (4, told)
    assert err.startswith(CAPTURED)
    assert f"{cut}: offset " in err
    assert "the file ends in the middle of a frame, without its end mark; the 6 events before that are whole" in err
    assert "Traceback" not in err
    cut.write_bytes(b"#!/bin/sh\n")
    assert run("replay", cut) == (
        4,
        "",
        f"sigtrace: {cut}: offset 0: this is no recording of sigtrace; nothing before that is whole\n",
    )


def test_a_file_that_is_not_there_is_wrong_usage(run):
    assert run("replay", "/nowhere/x") == (2, "", "sigtrace: cannot read /nowhere/x: No such file or directory\n")


@pytest.mark.parametrize("thresholds", [{"pending_after_s": "x"}, {"pending_after_s": 0}, {"loop_crashes": -1}])
def test_thresholds_that_make_no_sense_are_an_error(run, tmp_path, thresholds):
    path = str(tmp_path / "x")
    recording = Recording(create(path, force=False), path)
    recording.start(Header("1", thresholds=thresholds))
    recording.close()
    status, _, err = run("replay", path)
    assert status == 4
    assert f"{path}: its thresholds make no sense: " in err


def test_a_replay_ends_at_the_time_at_which_the_recording_did(tmp_path, monkeypatch):
    calls = []

    class Seen(Pipeline):
        def advance(self, now_ns):
            calls.append(now_ns)

        def end(self):
            calls.append("end")

    packer = Packer()
    parts = [packer.start(Header("1")), packer.lines([b'["advance",5]']), packer.end(End(1, 99, dropped=1))]
    (tmp_path / "x").write_bytes(b"".join(parts))
    monkeypatch.setattr(recorder, "Pipeline", Seen)
    with open_recording(str(tmp_path / "x")) as replay:
        recorder.run(replay, [])
    assert calls == [5, 99, "end"]


def test_a_replay_says_what_is_not_in_the_recording(run, tmp_path):
    packer = Packer()
    line = b'["observation",{"event":{"time_ns":5,"wall_ns":5,"kind":"eclipse"}}]'
    parts = [packer.start(Header("1")), packer.lines([line]), packer.end(End(1, 99, dropped=1200))]
    (tmp_path / "x").write_bytes(b"".join(parts))
    status, out, err = run("replay", tmp_path / "x")
    assert (status, out) == (0, "")
    assert "1 events were left out: this version knows nothing of their kind\n" in err
    assert "1,200 events were not recorded: the disk was too slow for them\n" in err


def test_a_replay_that_nobody_reads_any_more_goes_no_further(made):
    with open_recording(made[0]) as replay:
        recorder.run(replay, [], done=lambda: replay.events == 2)
        assert (replay.events, replay.end) == (2, None)


def test_a_replay_waits_for_a_slow_reader_and_drops_nothing(wait_until):
    class Gate(io.StringIO):
        opened = threading.Event()

        def write(self, text):
            self.opened.wait()
            return super().write(text)

    out = Gate()
    writer = recorder._PatientWriter(out, room=3)
    lines = [f"{n}\n" for n in range(50)]
    thread = threading.Thread(target=lambda: [writer.write(line) for line in lines])
    thread.start()
    try:
        wait_until(lambda: len(writer._waiting) + writer._writing == 3)
        assert thread.is_alive()
    finally:
        out.opened.set()
        thread.join()
    assert writer.close(10) == 0
    assert out.getvalue() == "".join(lines)


def test_it_replays_from_a_pipe_to_a_reader_that_leaves(made):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = f"{sys.executable} -m sigtrace.cli.main replay - -o json --events | head -n 1; echo ${{PIPESTATUS[0]}}"
    with open(made[0], "rb") as file:
        done = subprocess.run(
            ["bash", "-c", line], stdin=file, env=env, capture_output=True, text=True, check=True, timeout=30
        )
    first, status = done.stdout.splitlines()
    assert json.loads(first)["seq"] == 1
    assert status == "0"
    assert done.stderr == CAPTURED


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_replay_that_waits_for_more(made, signo):
    raw = Path(made[0]).read_bytes()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sigtrace.cli.main", "replay", "-", "--events"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, **pipes) as child:
        child.stdin.write(raw[:-20])
        child.stdin.flush()
        assert b"exec" in child.stdout.readline()  # it has read what there is
        child.send_signal(signo)
        out, err = child.communicate(timeout=20)
    assert (child.returncode, err.decode()) == (0, CAPTURED)
    assert b"Traceback" not in out


def test_a_full_disk_behind_standard_output_is_an_error_of_ours(made):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sigtrace.cli.main", "replay", made[0]]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert "cannot write to standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


# ---- record, with a capture of our own


class FakeCapture:
    """Tells the story at once and then waits to be asked to end."""

    refusal = None

    def __init__(self, backend, options, sinks, *, thresholds, recorder, sockets):
        self.sinks = sinks
        self.pipeline = Pipeline(Chain(thresholds), sinks, recorder)

    def __enter__(self):
        if self.refusal:
            raise self.refusal
        return self

    def __exit__(self, *_):
        pass

    def ready(self):
        print("sigtrace: ready", file=sys.stderr)

    def run(self, done):
        for observation in STORY:
            self.pipeline.feed(observation)
        while not done():
            pass

    def finish(self):
        self.pipeline.end()
        for sink in self.sinks:
            sink.close()


@pytest.fixture
def capture(monkeypatch):
    monkeypatch.setattr(recorder, "Capture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "refusal", None)
    return FakeCapture


def test_a_recording_ends_with_how_much_it_holds_and_can_be_replayed(run, capture, tmp_path):
    path = tmp_path / "x.sig"
    status, out, err = run("record", path, "--duration", "0.01")
    assert (status, out) == (0, "")
    assert err == f"sigtrace: ready\nsigtrace: 6 events in {path.stat().st_size:,} bytes\n"
    status, out, err = run("replay", path)
    assert "it never heard SIGTERM" in out
    assert f"on {os.uname().nodename} (Linux {os.uname().release}) by sigtrace {__version__}" in err


def test_a_filter_chooses_what_is_recorded(run, capture, tmp_path):
    run("record", tmp_path / "x", "--duration", "0.01", "--container", "another")
    records = run("replay", tmp_path / "x", "-o", "json", "--events")[1].splitlines()
    assert {json.loads(line)["type"] for line in records} == {"event", "finding"}
    assert "box" not in "".join(records)


def test_a_file_that_exists_is_not_overwritten_without_force(run, capture, tmp_path):
    path = tmp_path / "x"
    path.write_text("precious")
    assert run("record", path, "--duration", "0.01") == (
        2, "", f"sigtrace: {path} exists, will not overwrite without --force\n",
    )  # fmt: skip
    assert path.read_text() == "precious"
    assert run("record", path, "--duration", "0.01", "--force")[0] == 0
    assert run("replay", path)[0] == 0


def test_where_nothing_can_be_captured_no_file_is_left_and_none_is_emptied(run, capture, tmp_path):
    capture.refusal = HostError("no backend")
    path = tmp_path / "x"
    assert run("record", path) == (3, "", "sigtrace: no backend\n")
    assert not path.exists()
    path.write_text("precious")
    assert run("record", path, "--force")[0] == 3
    assert path.read_text() == "precious"


def test_a_full_disk_ends_a_recording_with_4(run, capture):
    status, _, err = run("record", "/dev/full", "--force")
    assert status == 4
    assert "cannot write to /dev/full: No space left on device; the first 0 events are in it" in err
    assert "Traceback" not in err


def test_a_recording_that_fails_half_way_keeps_what_came_before(run, capture, tmp_path, monkeypatch):
    def fail(self, done):
        for observation in STORY:
            self.pipeline.feed(observation)
        raise HostError("the kernel left")

    monkeypatch.setattr(capture, "run", fail)
    assert run("record", tmp_path / "x")[0] == 3
    status, out, err = run("replay", tmp_path / "x")
    assert status == 4
    assert "it never heard SIGTERM" in out
    assert "without its end mark; the 6 events" in err


def test_it_records_to_a_pipe_and_not_to_a_terminal(run, capture, tmp_path, monkeypatch):
    reading, writing = os.pipe()
    saved = os.dup(1)
    os.dup2(writing, 1)
    os.close(writing)
    try:
        status, _, err = run("record", "-", "--duration", "0.01")
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    with os.fdopen(reading, "rb") as file:
        (tmp_path / "x").write_bytes(file.read())
    assert status == 0
    assert "6 events in" in err
    assert "it never heard SIGTERM" in run("replay", tmp_path / "x")[1]
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    status, _, err = run("record", "-")
    assert (status, err) == (
        2, "sigtrace: a recording is nothing for a terminal: give a file, or | to a program\n",
    )  # fmt: skip


def test_help_of_both_is_there(run):
    for command in ("record", "replay"):
        with contextlib.suppress(SystemExit):
            assert "FILE" in run(command, "--help")[1]
