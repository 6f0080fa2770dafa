"""What the kernel told is recorded, and a replay tells the same."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sigtrace.capture import Capture, run_in_background
from sigtrace.commands import SHOWN
from sigtrace.demonstration import Verdicts
from sigtrace.detectors.base import Thresholds
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.recorder import header_here
from sigtrace.sinks.base import LineWriter
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.recording import Losses, Recording, create
from sigtrace.sources.options import BpfOptions
from sigtrace.sources.procfs import boot_id

REPOSITORY = Path(__file__).parents[2]
SIGTRACE = [sys.executable, "-m", "sigtrace.cli.main"]
STORIES = ("shell-form", "exec-form", "kill-from-inside")


def replay(path, *arguments):
    return subprocess.run(
        [*SIGTRACE, "replay", str(path), *arguments],
        cwd=REPOSITORY, capture_output=True, check=False, timeout=60, text=True,
    )  # fmt: skip


@contextlib.contextmanager
def record(*arguments, stdout=subprocess.DEVNULL):
    """`sigtrace record`, once it is ready."""
    child = subprocess.Popen(
        [*SIGTRACE, "record", *map(str, arguments)],
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        ready = child.stderr.readline()
        assert ready.startswith("sigtrace: ready backend=bpf"), ready
        yield child
    finally:
        child.kill()
        child.wait()
        child.stderr.close()


def verdicts_on(container, lines):
    records = [json.loads(line) for line in lines.splitlines()]
    ours = [
        r for r in records if r["type"] != "event" and r["workload"] and r["workload"]["cgroup"].endswith(container)
    ]
    shutdowns = [(r["outcome"], r["cause"]) for r in ours if r["type"] == "shutdown"]
    return shutdowns, {(r["code"], r["cause"]) for r in ours if r["type"] == "finding"}


def expected(name):
    expect = SCENARIOS[name].expect
    return [(expect.outcome, expect.cause)], set(expect.findings)


def test_a_replay_gives_what_the_capture_gave_byte_for_byte(bpf_host, tmp_path):
    path, verdicts, everything, told = str(tmp_path / "x"), io.StringIO(), io.StringIO(), Verdicts()
    writers = [LineWriter(verdicts, 100_000), LineWriter(everything, 100_000)]
    recording = Recording(create(path, force=False), path)
    sinks = [
        Jsonl(writers[0], events=None, boot_id=boot_id()),
        Jsonl(writers[1], events=lambda o: o.event.kind in SHOWN, boot_id=boot_id()),
        told,
        Losses(recording),
    ]
    recorded = []
    with Capture("bpf", BpfOptions(), sinks, thresholds=Thresholds(), recorder=recording) as capture:
        recording.start(header_here(Thresholds()))
        capture.feed.step(0)
        finish = run_in_background(capture)
        try:
            for name in STORIES:
                result = run_scenario(SCENARIOS[name])
                told.wait_for_shutdown(result.cgroup_id)
                recorded.append((name, result.container))
        finally:
            finish()
    recording.close()
    assert [writer.close(5) for writer in writers] == [0, 0]
    assert recording.take_dropped() == 0
    for name, container in recorded:
        assert verdicts_on(container, verdicts.getvalue()) == expected(name)
    done = replay(path, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert done.stdout == verdicts.getvalue()
    assert replay(path, "-o", "json", "--events").stdout == everything.getvalue()


def test_a_recording_of_the_command_tells_the_story_later(bpf_host, tmp_path):
    path = tmp_path / "x"
    with record(path) as child:
        result = run_scenario(SCENARIOS["shell-form"])
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
        assert (child.returncode, err.endswith(" bytes\n")) == (0, True)
        assert f" in {path.stat().st_size:,} bytes" in err
    done = replay(path, "-o", "json", "--fail-on", "error")
    assert done.returncode == 1, done.stderr
    assert verdicts_on(result.container, done.stdout) == expected("shell-form")
    assert "it never heard SIGTERM" in replay(path).stdout


def test_a_recording_that_was_killed_can_be_replayed_up_to_there(bpf_host, tmp_path, wait_until):
    path = tmp_path / "x"
    with record(path) as child:
        result = run_scenario(SCENARIOS["shell-form"])

        def written():
            return verdicts_on(result.container, replay(path, "-o", "json").stdout)[0]

        wait_until(written, timeout=20)
        child.kill()
        child.wait()
    done = replay(path, "-o", "json")
    assert done.returncode == 4
    assert "without its end mark" in done.stderr
    assert verdicts_on(result.container, done.stdout) == expected("shell-form")


def test_a_recording_goes_through_a_pipe(bpf_host):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, record("-", stdout=writing) as child:
        os.close(writing)
        later = subprocess.Popen(
            [*SIGTRACE, "replay", "-", "-o", "json"],
            cwd=REPOSITORY, stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            result = run_scenario(SCENARIOS["exec-form"])
            child.send_signal(signal.SIGTERM)
            out, err = later.communicate(timeout=30)
            child.wait(20)
        finally:
            later.kill()
            later.wait()
    assert (child.returncode, later.returncode) == (0, 0), err
    assert verdicts_on(result.container, out) == expected("exec-form")
