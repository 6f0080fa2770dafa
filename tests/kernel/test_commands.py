"""The commands as a person runs them, beside real containers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS

REPOSITORY = Path(__file__).parents[2]
SIGTRACE = [sys.executable, "-m", "sigtrace.cli.main"]
TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL


class Command:
    """A sigtrace command that runs."""

    def __init__(self, *arguments) -> None:
        self._read = ""
        self._popen = subprocess.Popen(
            [*SIGTRACE, *map(str, arguments)],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def __enter__(self):
        self.ready = self._popen.stderr.readline()
        return self

    def kill(self, signo):
        self._popen.send_signal(signo)

    def until(self, *texts):
        """Reads until a line that has all these texts."""
        while line := self._popen.stdout.readline():
            self._read += line
            if all(text in line for text in texts):
                return
        pytest.fail(f"no line with {texts} in:\n{self._read}")

    def end(self, timeout_s=20):
        """Exit status, what it wrote, what it said on stderr after it was ready."""
        out, err = self._popen.communicate(timeout=timeout_s)
        return self._popen.returncode, self._read + out, err

    def records(self, timeout_s=20):
        """Of a command that ends well."""
        status, out, err = self.end(timeout_s)
        assert (status, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]

    def __exit__(self, *_):
        self._popen.kill()
        self._popen.wait()
        self._popen.stdout.close()
        self._popen.stderr.close()


@contextlib.contextmanager
def sigtrace(*arguments):
    with Command(*arguments) as command:
        assert command.ready.startswith("sigtrace: ready backend=bpf"), command.ready
        yield command


def execute(*arguments, **how):
    return subprocess.run(
        [*SIGTRACE, *map(str, arguments)],
        cwd=REPOSITORY, capture_output=True, check=False, timeout=30, text=True, **how,
    )  # fmt: skip


@pytest.fixture
def box():
    with Container(f"commands-{os.getpid()}") as container:
        yield container


def of(records, key, **wanted):
    """Those whose task under ``key`` and other fields are so."""
    return [r for r in records if r.get(key) and wanted.items() <= {**r, **r[key]}.items()]


# ---- trace


def test_trace_shows_a_sigterm_that_pid_1_drops(box):
    box.start(["sleep", "infinity"])
    box.wait_ready()
    with sigtrace("trace", "-o", "json", "--duration", "1") as trace:
        subprocess.run(["kill", "-TERM", str(box.init_pid)], check=True)
        records = trace.records()
    (record,) = of(records, "target", pid=box.init_pid, signal="SIGTERM")
    assert record["type"] == "event"
    assert record["schema"] == 1
    assert record["kind"] == "signal_generate"
    assert (record["result"], record["disposition"], record["signo"]) == ("ignored", "default", 15)
    assert (record["target"]["ns_pid"], record["target"]["comm"]) == (1, "sleep")
    assert record["target"]["cgroup_id"] == box.cgroup_id
    assert record["target_workload"]["kind"] == "container"
    assert record["target_workload"]["cgroup"].endswith(box.name)
    assert (record["sender"]["comm"], record["sender"]["uid"]) == ("kill", 0)
    assert record["sender"]["ancestry"][0] == Path("/proc/self/comm").read_text().strip()
    assert record["si_code"] == 0
    assert [r["seq"] for r in records] == list(range(1, len(records) + 1))


def test_trace_of_a_command_shows_its_tree_only_and_ends_with_its_status():
    beside = subprocess.Popen(["sh", "-c", "while :; do sleep 0.01 & kill $!; wait; done"], stderr=subprocess.DEVNULL)
    try:
        done = execute("trace", "-o", "json", "--", "sh", "-c", "sleep 60 & kill $!; wait $!; exit 3")
    finally:
        beside.kill()
        beside.wait()
    assert done.returncode == 3, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    shell = of(records, "task", kind="exec")[0]["task"]
    (exit_,) = of(records, "task", kind="exit", pid=shell["pid"])
    assert (exit_["exit_code"], exit_["exit_signal"]) == (3, None)
    (kill,) = of(records, "target", kind="signal_generate", signal="SIGTERM")
    assert kill["sender"]["pid"] == shell["pid"]
    tasks = {(r["task"] or {}).get("pid") for r in records if "task" in r}
    assert tasks == {shell["pid"], kill["target"]["pid"]}
    (killed,) = of(records, "task", kind="exit", pid=kill["target"]["pid"])
    assert killed["exit_signal"] == "SIGTERM"


@pytest.mark.parametrize(("script", "status"), [("kill -9 $$", 137), ("kill $$", 143), ("exit 0", 0)])
def test_trace_of_a_command_ends_as_the_command_does(script, status):
    assert execute("trace", "--", "sh", "-c", script).returncode == status


def test_trace_of_a_command_that_is_not_there_is_one_line_and_4():
    done = execute("trace", "--", "no-such-command")
    assert (done.returncode, done.stdout) == (4, "")
    assert "cannot execute 'no-such-command': No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_trace_of_a_command_hands_on_a_sigterm():
    with sigtrace("trace", "--", "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done") as trace:
        trace.until("up\n")
        trace.kill(TERM)
        assert trace.end(3)[0] == 9


def test_trace_of_a_pid_shows_what_it_gets_and_sends(box):
    box.start(["sleep", "infinity"])
    box.wait_ready()
    with sigtrace("trace", "-o", "json", "--pid", box.init_pid) as trace:
        box.kill(signal.SIGUSR1)
        box.kill(KILL)
        box.wait()
        trace.until('"kind":"exit"')
        trace.kill(INT)
        records = trace.records()
    strangers = [r for r in records if "target" in r and r["target"]["pid"] != box.init_pid]
    assert {r["signal"] for r in strangers} <= {"SIGCHLD"}  # which it sends as it ends
    assert len(of(records, "target", signal="SIGUSR1", result="ignored")) == 1
    assert len(of(records, "target", kind="signal_generate", signal="SIGKILL", result="delivered")) == 1
    assert len(of(records, "task", kind="exit", exit_signal="SIGKILL")) == 1


def test_trace_of_one_signal_shows_no_other(box):
    box.start(["sleep", "infinity"])
    box.wait_ready()
    with sigtrace("trace", "-o", "json", "-s", "usr2") as trace:
        for signo in (signal.SIGUSR1, signal.SIGUSR2, TERM):
            box.kill(signo)
        trace.until("SIGUSR2")
        trace.kill(INT)
        records = trace.records()
    assert {r["signal"] for r in records} == {"SIGUSR2"}


def test_trace_ends_quietly_when_its_reader_goes():
    line = f"{sys.executable} -m sigtrace.cli.main trace --all | head -1; echo ${{PIPESTATUS[0]}}"
    busy = subprocess.Popen(["sh", "-c", "while :; do sleep 0.02; done"])
    try:
        done = subprocess.run(
            ["bash", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=20
        )
    finally:
        busy.kill()
        busy.wait()
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr.splitlines()[1:] == []


@pytest.mark.parametrize("signo", [INT, TERM])
def test_a_signal_ends_a_command_within_2_seconds_with_0(signo):
    commands = [("watch",), ("watch", "-o", "json"), ("trace",), ("trace", "--all")]
    with contextlib.ExitStack() as stack:
        running = [Command(*command) for command in commands]
        for command in running:
            stack.enter_context(command)
        for command in running:
            began = time.monotonic()
            command.kill(signo)
            status, _, err = command.end(5)
            assert time.monotonic() - began < 2
            assert (status, err) == (0, "")


# ---- watch


def test_watch_tells_a_dropped_signal_the_kill_and_the_shutdown():
    with sigtrace("watch", "-o", "json") as watch:
        result = run_scenario(SCENARIOS["shell-form"])
        watch.until('"type":"shutdown"', result.container)
        watch.kill(INT)
        records = watch.records()
    ours = [r for r in records if r["workload"]["cgroup"].endswith(result.container)]
    assert {(r["code"], r["cause"]) for r in ours if r["type"] == "finding"} == {
        ("signal-dropped", "shell-form"),
        ("killed", "grace-expired"),
    }
    (shutdown,) = [r for r in ours if r["type"] == "shutdown"]
    assert (shutdown["outcome"], shutdown["cause"], shutdown["status_code"]) == ("escalated", "dropped", 137)
    assert shutdown["wait_status"] == {"signaled": "SIGKILL"}
    assert 0.3 <= shutdown["grace_s"] < 1
    assert sorted(shutdown["findings"]) == ["killed", "signal-dropped"]
    assert shutdown["task"]["pid"] == result.init_pid
    (dropped,) = [r for r in ours if r.get("code") == "signal-dropped"]
    assert (dropped["severity"], dropped["signal"], dropped["count"]) == ("error", "SIGTERM", 1)
    assert dropped["evidence"][0]["result"] == "ignored"


def test_watch_says_by_its_status_how_bad_it_was():
    name = f"commands-{os.getpid()}-bad"
    with sigtrace("watch", "-o", "json", "--fail-on", "error", "--container", name) as watch:
        run_scenario(SCENARIOS["no-handler"], container=name)
        watch.until('"type":"shutdown"', name)
        watch.kill(INT)
        assert watch.end()[0] == 1


# ---- each scenario under one capture


def test_the_demo_is_right_and_ends_with_0():
    done = execute("demo", "kill-from-inside", "exec-form")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 containers stopped, 2 right verdicts" in done.stdout
