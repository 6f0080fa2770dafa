"""The agent on the running kernel: it tells, keeps, and lives as a daemon should."""

import contextlib
import gzip
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from sigtrace.service import follow
from sigtrace.service.client import status

REPOSITORY = Path(__file__).parents[2]
SIGTRACE = [sys.executable, "-m", "sigtrace.cli.main"]
TERM, HUP, KILL, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGINT
SECRET = "hunter2"
#: dash stays PID 1 of this, and hears nothing.
DEAF = ["sh", "-c", f"echo up; sleep 1000; : --password={SECRET}"]
PATIENCE_S = 20


class Agent:
    """An agent that runs, with a socket and a state of its own; what it writes is read as it comes."""

    def __init__(self, folder, *arguments, prefix=()):
        self.folder = folder
        self.records, self.log = [], []
        self._popen = subprocess.Popen(
            [*prefix, *SIGTRACE, "agent", "--http", "127.0.0.1:0", *map(str, arguments)], cwd=REPOSITORY,
            env=environment(folder), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._readers = [
            threading.Thread(
                target=self._read, args=(self._popen.stdout, lambda s: self.records.append(json.loads(s)))
            ),
            threading.Thread(target=self._read, args=(self._popen.stderr, self.log.append)),
        ]
        for reader in self._readers:
            reader.start()
        self.pid = self._popen.pid

    @staticmethod
    def _read(stream, take):
        for line in stream:
            take(line.rstrip("\n"))

    @property
    def ready(self):
        return next((line for line in self.log if line.startswith("sigtrace: ready ")), None)

    @property
    def ended(self):
        return self._popen.poll() is not None

    def said(self, text):
        return any(text in line for line in list(self.log))

    def kill(self, signo):
        self._popen.send_signal(signo)

    def wait(self, timeout_s):
        status_ = self._popen.wait(timeout_s)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return status_

    def get(self, path):
        """(HTTP status, body)."""
        address = re.search(r"http=(\S+)", self.ready)[1]
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def of(self, name, kind=None):
        """Its records about a container."""
        mine = [r for r in list(self.records) if (r["workload"] or {}).get("container_name") == name]
        return [r for r in mine if kind in {None, r["type"]}]

    def close(self):
        if not self.ended:
            self._popen.kill()
        self.wait(PATIENCE_S)
        self._popen.stdout.close()
        self._popen.stderr.close()


def environment(folder):
    return os.environ | {"SIGTRACE_SOCKET": f"{folder}/agent.sock", "SIGTRACE_STATE": f"{folder}/state"}


@pytest.fixture
def folder():
    """Like /run/sigtrace: root's, and others may look into it; a path that fits a socket's address."""
    path = tempfile.mkdtemp(prefix="sigtrace-agent-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def agent(folder, wait_until):
    """Starts agents; waits until each is ready."""
    started = []

    def start(*arguments, ready=True, **how):
        one = Agent(folder, *arguments, **how)
        started.append(one)
        if ready:
            wait_until(lambda: one.ready or one.ended, timeout=PATIENCE_S, what="the agent to be ready")
            assert one.ready, one.log
        return one

    yield start
    for one in started:
        one.close()


@pytest.fixture
def ask(folder):
    """Runs another command beside the agent: (status, stdout, stderr)."""

    def run(*arguments, prefix=()):
        done = subprocess.run(
            [*prefix, *SIGTRACE, *map(str, arguments)], cwd=REPOSITORY, env=environment(folder), check=False,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def name():
    return f"agent-{os.getpid()}-{os.urandom(2).hex()}"


def stop_deaf(name):
    """A container with a secret in its command line, that has to be killed."""
    with Container(name) as box:
        box.start(DEAF)
        box.wait_ready(b"up\n")
        box.kill(TERM)
        box.kill(KILL)
        box.wait()


# ---- what it tells


def test_it_tells_a_json_line_a_verdict_and_why_tells_the_story(agent, ask, name, wait_until):
    one = agent()
    run_scenario(SCENARIOS["shell-form"], container=name)
    wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
    assert {(r["code"], r["cause"]) for r in one.of(name, "finding")} == {
        ("signal-dropped", "shell-form"),
        ("killed", "grace-expired"),
    }
    (shutdown,) = one.of(name, "shutdown")
    assert (shutdown["outcome"], shutdown["cause"]) == ("escalated", "dropped")
    assert re.fullmatch(r"[0-9a-f]{32}", shutdown["trace_id"])
    code, out, _ = ask("why", name)
    assert code == 0
    assert "it never heard SIGTERM" in out
    assert "has no handler for it" in " ".join(out.split())
    assert "fix  exec form" in out
    assert ask("why", name, "--fail-on", "error")[0] == 1
    _, out, _ = ask("why", "-o", "json", "--container", name)
    assert [dict(json.loads(line), seq=0) for line in out.splitlines()] == [dict(r, seq=0) for r in one.of(name)]


def test_no_secret_of_a_command_line_leaves_it(agent, ask, folder, name, wait_until):
    one = agent()
    with Container(f"{name}-up") as box:
        box.start(DEAF)
        box.wait_ready(b"up\n")
        stop_deaf(name)
        wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
        commands = [(*c, *json_) for c in (("why",), ("audit",), ("top", "--once")) for json_ in ((), ("-o", "json"))]
        with ThreadPoolExecutor(3) as pool:
            told = [out for _, out, _ in pool.map(lambda command: ask(*command), commands)]
        box.kill(KILL)
    told += [json.dumps(one.records), one.get("/metrics")[1], Path(folder, "state", "verdicts").read_text()]
    assert f"{name}-up" in told[2]
    assert [text for text in told if SECRET in text] == []
    assert ["sh", "-c", "echo …"] in [r["task"]["argv"] for r in one.of(name, "shutdown")]


def test_without_redaction_it_tells_all(agent, ask, name, wait_until):
    one = agent("--no-redact")
    stop_deaf(name)
    wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
    assert SECRET in json.dumps(one.records)
    assert SECRET in ask("why", "-o", "json")[1]


def test_watch_and_audit_ask_the_agent(agent, ask, folder, name, wait_until):
    one = agent()
    with subprocess.Popen(
        [*SIGTRACE, "watch", "-o", "json"], cwd=REPOSITORY, env=environment(folder), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as watch:  # fmt: skip
        assert watch.stderr.readline().startswith("sigtrace: ready backend=agent")
        stop_deaf(name)
        wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
        for line in watch.stdout:
            record = json.loads(line)
            if record["type"] == "shutdown" and record["workload"]["container_name"] == name:
                break
        watch.send_signal(INT)
        assert watch.wait(5) == 0
    assert dict(record, seq=0) == dict(one.of(name, "shutdown")[0], seq=0)


def test_it_is_scraped_and_answers_probes(agent, name, wait_until):
    one = agent()
    assert one.get("/healthz") == (200, "ok\n")
    assert one.get("/readyz")[0] == 200
    stop_deaf(name)
    line = re.compile(
        rf'sigtrace_container_shutdowns_total{{[^}}]*container="{name}"[^}}]*outcome="escalated"[^}}]*}} 1'
    )
    wait_until(lambda: line.search(one.get("/metrics")[1]), timeout=PATIENCE_S, what="the shutdown to be counted")


# ---- how it ends


@pytest.mark.parametrize("signo", [TERM, INT])
def test_a_signal_ends_it_within_5_seconds_with_0_and_leaves_no_socket(agent, folder, signo):
    one = agent()
    one.kill(signo)
    assert one.wait(5) == 0
    assert sorted(os.listdir(folder)) == ["agent.lock", "state"]
    assert one.log[-1] == "sigtrace: ended lost={}"


def test_a_collector_that_hangs_does_not_keep_it(agent, name, wait_until):
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        one = agent("--otlp-endpoint", f"http://127.0.0.1:{hangs.getsockname()[1]}")
        stop_deaf(name)
        wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
        one.kill(TERM)
        assert one.wait(5) == 0
    assert one.said("could not be sent")


def test_it_ends_while_it_begins(agent):
    one = agent(ready=False)
    one.kill(TERM)
    assert one.wait(PATIENCE_S) in {0, -TERM}  # the latter before Python runs


def test_a_reader_of_its_output_that_goes_is_no_reason_to_end(folder, name, wait_until):
    log = Path(folder, "log")
    reading, writing = os.pipe()
    with log.open("w") as stderr:
        one = subprocess.Popen(
            [*SIGTRACE, "agent", "--http", "off"],
            cwd=REPOSITORY,
            env=environment(folder),
            stdout=writing,
            stderr=stderr,
        )
    os.close(writing)
    try:
        wait_until(lambda: "ready" in log.read_text(), timeout=PATIENCE_S)
        os.close(reading)
        stop_deaf(name)
        wait_until(lambda: "nobody reads" in log.read_text(), timeout=PATIENCE_S)
        stop_deaf(f"{name}-2")
        with follow.Verdicts(f"{folder}/agent.sock", since_ns=1, follow=True) as verdicts:
            wait_until(lambda: (v := verdicts.next(0.1)) and v.workload and v.workload.container_name == f"{name}-2")
        one.send_signal(TERM)
        assert one.wait(5) == 0
    finally:
        one.kill()
        one.wait()


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "0>&- 1>&- 2>&-"])
def test_standard_streams_that_were_closed_before_it_began_are_no_reason_to_end(folder, ask, wait_until, closed):
    start = f'exec "$@" {closed}'
    one = subprocess.Popen(
        ["sh", "-c", start, "sh", *SIGTRACE, "agent", "--http", "off"], cwd=REPOSITORY, env=environment(folder)
    )
    try:
        wait_until(lambda: one.poll() is not None or os.path.exists(f"{folder}/agent.sock"), timeout=PATIENCE_S)
        assert ask("why")[0] == 0
        # Nothing that it opened has got their numbers: a line of the log would go there.
        streams = [os.readlink(f"/proc/{one.pid}/fd/{fd}") for fd in (1, 2) if f"{fd}>" in closed]
        assert set(streams) == {"/dev/null"}
        one.send_signal(TERM)
        assert one.wait(5) == 0
    finally:
        one.kill()
        one.wait()


# ---- what it keeps


def test_kill_9_and_a_restart_keep_verdicts_and_tell_of_the_gap(agent, ask, name, wait_until):
    first = agent()
    stop_deaf(name)
    wait_until(lambda: first.of(name, "shutdown"), timeout=PATIENCE_S)
    before = ask("why", name, "-o", "json")[1]
    assert before.count("\n") == len(first.of(name))
    first.kill(KILL)
    assert first.wait(5) == -KILL
    code, _, err = ask("why")
    assert code == 3
    assert "no agent runs on this node" in err
    assert agent().said("sigtrace: nothing was seen since=")
    assert ask("why", name, "-o", "json")[1] == before
    assert "note: no agent ran from" in ask("why", name)[1]


# ---- one a node


def test_a_second_one_is_refused_and_replace_takes_over(agent, folder, name, wait_until):
    first = agent()
    refused = agent(ready=False)
    assert refused.wait(PATIENCE_S) == 4
    assert refused.said(f"an agent runs on this node already (pid {first.pid}")
    assert not first.ended
    second = agent("--replace")
    assert first.wait(5) == 0
    assert second.said(f"took over pid={first.pid}")
    assert status(f"{folder}/agent.sock").pid == second.pid
    stop_deaf(name)
    wait_until(lambda: second.of(name, "shutdown"), timeout=PATIENCE_S)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv: install util-linux")
def test_another_user_can_not_read_from_it(agent, ask, folder):
    agent()
    # No virtual environment of root's needs to be readable for them: what can be tried is the socket itself.
    script = f"import socket; socket.socket(socket.AF_UNIX).connect('{folder}/agent.sock')"
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "PermissionError" in done.stderr
    assert ask("why")[0] == 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv: install util-linux")
def test_it_needs_no_more_than_the_daemonset_gives_it(agent, ask, folder, name, wait_until):
    os.chmod(folder, 0o777)  # as the kubelet makes an emptyDir
    least = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+bpf,+perfmon", "--no-new-privs")
    one = agent(prefix=least)
    stop_deaf(name)
    wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
    assert "it never heard SIGTERM" in ask("why", name, prefix=least)[1]
    assert ask("audit", prefix=least)[0] == 0
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert ask("agent", "--replace", "--http", "off", "--duration", "0.1", prefix=least)[0] == 0
    assert one.wait(5) == 0


# ---- reload


def test_sighup_in_a_storm_loses_nothing_and_changes_what_it_can(agent, folder, name, wait_until):
    config = Path(folder, "agent.toml")
    config.write_text("")
    one = agent("--config", config)
    count = 12
    with contextlib.ExitStack() as stack:
        boxes = [stack.enter_context(Container(f"{name}-{n}")) for n in range(count)]
        for box in boxes:
            box.start(DEAF)
        for n, box in enumerate(boxes):
            box.wait_ready(b"up\n")
            box.kill(TERM)
            config.write_text(f'[agent]\nlog = "text"\nruntime = "none-{n}"\n' if n == count - 1 else f"redact = {n}\n"
                              if n % 3 == 1 else f"[agent]\nredact = {str(bool(n % 2)).lower()}\n")  # fmt: skip
            told = len(one.log)
            one.kill(HUP)
            box.kill(KILL)
            wait_until(lambda told=told: len(one.log) > told, timeout=PATIENCE_S, what="what it says to SIGHUP")
            if n < count - 1:
                wait_until(lambda box=box: one.of(box.name, "shutdown"), timeout=PATIENCE_S, what=box.name)
    assert one.said("not reloaded, all is as it was")
    assert one.said("reloaded changed=")
    config.write_text("[agent]\nzombie-after = 99\n")
    one.kill(HUP)
    wait_until(lambda: one.said("these need a restart to change: zombie-after"), timeout=PATIENCE_S)
    stop_deaf(f"{name}-last")
    wait_until(lambda: one.of(f"{name}-last", "shutdown"), timeout=PATIENCE_S)
    outcomes = [one.of(f"{name}-{n}", "shutdown")[0]["outcome"] for n in range(count - 1)]
    assert outcomes == ["escalated"] * (count - 1)
    one.kill(TERM)
    assert one.wait(5) == 0
    lost = json.loads(one.log[-1].removeprefix("sigtrace: ended lost="))
    assert set(lost) <= {"rate-limited"}, "of storms of others on this machine"


class Collector(http.server.ThreadingHTTPServer):
    """Takes whatever is sent, unless it is away, and remembers the spans."""

    daemon_threads = True

    def __init__(self):
        self.bodies = []
        self.away = False
        super().__init__(("127.0.0.1", 0), _Take)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def has(self, text):
        return any(text.encode() in body for body in list(self.bodies))

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces" and not self.server.away:
            self.server.bodies.append(body)
        self.send_response(503 if self.server.away else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_sighup_changes_the_collector_and_each_gets_what_was_meant_for_it(agent, folder, name, wait_until):
    config = Path(folder, "agent.toml")
    with Collector() as old, Collector() as new:
        config.write_text(f'[agent]\notlp-endpoint = "{old.url}"\n')
        one = agent("--config", config)
        stop_deaf(f"{name}-old")
        wait_until(lambda: one.of(f"{name}-old", "shutdown"), timeout=PATIENCE_S)
        config.write_text(f'[agent]\notlp-endpoint = "{new.url}"\n')
        one.kill(HUP)
        wait_until(lambda: one.said("reloaded changed=otlp"), timeout=PATIENCE_S)
        stop_deaf(f"{name}-new")
        wait_until(lambda: one.of(f"{name}-new", "shutdown"), timeout=PATIENCE_S)
        one.kill(TERM)
        assert one.wait(5) == 0
    for collector, its, others in ((old, f"{name}-old", f"{name}-new"), (new, f"{name}-new", f"{name}-old")):
        assert len([body for body in collector.bodies if its.encode() in body]) == 1
        assert not collector.has(others)
        assert not collector.has(SECRET)
    assert not one.said("could not be sent")


# ---- as PID 1


PID_1 = """
import os, sys, time
from sigtrace.service.life import Signals
with Signals() as signals:
    for _ in range(20):
        if not os.fork():
            if os.fork():
                os._exit(0)       # whose child becomes PID 1's
            time.sleep(0.05)
            os._exit(3)
    print("forked", flush=True)
    while True:
        signo = signals.next(0.05)
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            print("none left", flush=True)
        if signo:
            print("signal", signo, flush=True)
            sys.exit(0)
"""


def test_as_pid_1_it_waits_for_the_orphans_of_others_and_hears_its_stop_signal(name):
    with Container(name) as box:
        box.start([sys.executable, "-c", PID_1])
        box.wait_ready(b"none left\n")
        box.kill(TERM)
        assert box.wait().code == 0
