"""Names that are meant for a terminal or a parser: of a process, its arguments, its cgroup, its container, its pod.

Everything that shows them is looked at: trace, watch, why, top, audit, the agent's output and log, its metrics, OTLP.
"""

import contextlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from sigtrace.lab.container import Container
from tests.fuzz.check import harmless, harmless_lines, one_line
from tests.kernel.targets import Cgroup
from tests.kernel.test_agent import PATIENCE_S, REPOSITORY, SIGTRACE, environment

#: A colour, a title, no UTF-8, right-to-left, line breaks of all kinds, quotes, a brace, a label's end.
EVIL = b'\x1b[31m\x1b]0;owned\x07\xff\xe2\x80\xae\xe2\x80\xa8\xc2\x85\r\v"}\\\n{"type":"finding"}'
WORD = os.fsdecode(EVIL)
NAME = '\x1b[2J"\u202e\n\\x'
#: Slow to stop, so that it is killed; with a child, and both with that name.
SCRIPT = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: time.sleep(1000))
open("/proc/self/comm", "wb").write(os.fsencode(sys.argv[1])[:15])
if len(sys.argv) > 2 and not os.fork():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
os.write(1, b"up\\n")
while True:
    signal.pause()
"""


@pytest.fixture
def collector():
    """Its URL, and the bodies that it was sent: (path, bytes)."""
    bodies = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join(10)


@contextlib.contextmanager
def running(folder, *arguments, docker=None):
    """Another command beside; what it wrote comes at its end: a list of (standard output, errors)."""
    sockets = ["--runtime-socket", f"docker:{docker}"] if docker else []
    said = []
    process = subprocess.Popen(
        [*SIGTRACE, *arguments, *sockets],
        cwd=REPOSITORY,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert b"ready" in process.stderr.readline()
        yield said
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()


def ask(folder, *arguments):
    done = subprocess.run(
        [*SIGTRACE, *arguments], cwd=REPOSITORY, env=environment(folder), capture_output=True, check=False, timeout=120
    )
    assert b"Traceback" not in done.stderr
    harmless_lines(done.stderr.decode())
    return done.stdout.decode()


def both(folder, *arguments):
    """(text, JSON)."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda more: ask(folder, *arguments, *more), ([], ["-o", "json"])))


def texts_of(message):
    """Every string in a protobuf message."""
    for field, value in message.ListFields():
        for one in value if hasattr(value, "extend") else [value]:
            if field.type == field.TYPE_STRING:
                yield one
            elif field.type == field.TYPE_MESSAGE:
                yield from texts_of(one)


def stop(box):
    box.kill(signal.SIGTERM)
    box.kill(signal.SIGKILL)
    box.wait()


def test_no_name_that_others_choose_acts_on_a_terminal_or_makes_a_line(agent, folder, docker, collector, wait_until):
    url, bodies = collector
    docker.known |= {
        "Name": "/" + NAME, "Config": {"Image": NAME, "StopSignal": NAME, "Labels": {
            "io.kubernetes.pod.name": NAME, "io.kubernetes.pod.namespace": NAME, "io.kubernetes.container.name": NAME,
            "io.kubernetes.pod.uid": NAME, "annotation.resource.opentelemetry.io/service.name": NAME,
            "annotation.io.kubernetes.container.preStopHandler": json.dumps({"exec": {"command": [NAME]}}),
        }}, "State": {"Pid": 0},
    }  # fmt: skip
    one = agent("--no-redact", "--runtime-socket", f"docker:{docker.path}", "--otlp-endpoint", url)
    argv = [sys.executable, "-c", SCRIPT, WORD, WORD]
    with (
        running(folder, "trace", docker=docker.path) as trace,
        running(folder, "trace", "-o", "json", docker=docker.path) as trace_json,
        running(folder, "watch", "--local", docker=docker.path) as watch,
    ):
        with Container(f"injected-{os.getpid()}", host_pid=True) as box, Container(f"plain-{os.getpid()}") as plain:
            for container in (box, plain):
                container.start(argv)
                container.wait_ready(b"up\n")
            below = os.path.join(os.fsencode(box.cgroup_path), EVIL.replace(b"\n", b"").replace(b"/", b"-"))
            os.mkdir(below)
            os.rmdir(below)
            with Cgroup(box.cgroup.hierarchy.mount) as unit:
                evil = unit.path.with_name(unit.path.name + WORD.replace("\n", "").replace("/", ""))
                evil.mkdir()
                child = subprocess.Popen([sys.executable, "-c", SCRIPT, WORD], stdout=subprocess.PIPE)
                try:
                    (evil / "cgroup.procs").write_text(str(child.pid))
                    assert child.stdout.readline() == b"up\n"
                    child.kill()
                    child.communicate()
                    wait_until(lambda: not (evil / "cgroup.procs").read_text(), what="the cgroup to be empty")
                finally:
                    child.kill()
                    evil.rmdir()
            audits = both(folder, "audit")
            for container in (box, plain):
                stop(container)
            wait_until(lambda: sum(r["type"] == "shutdown" for r in list(one.records)) >= 2, timeout=PATIENCE_S)
        tops, whys = both(folder, "top", "--once"), both(folder, "why")
    metrics = one.get("/metrics")[1]
    one.kill(signal.SIGTERM)
    assert one.wait(PATIENCE_S) == 0

    shown = [audits[0], tops[0], whys[0], trace[0].decode(), watch[0].decode()]
    for text in shown:
        harmless_lines(text)
    for text in (*shown[2:], json.dumps(one.records)):
        assert r"\x1b" in text or r"\\x1b" in text  # they have been there, made harmless
    records = [audits[1], tops[1], whys[1], trace_json[0].decode()]
    for text in records:
        assert text
        for line in text.split("\n")[:-1]:
            one_line(line + "\n")
    for record in one.records:
        one_line(json.dumps(record) + "\n")
    harmless(*one.log)
    lines = metrics.split("\n")
    harmless(*lines)
    label = r'[a-zA-Z_]\w*="(?:[^"\\]|\\[\\"n])*"'
    sample = re.compile(rf"[a-zA-Z_:][\w:]*(?:\{{(?:{label}(?:,{label})*)?\}})? \S+")
    assert [line for line in lines if line and not line.startswith("# ") and not sample.fullmatch(line)] == []
    spans = [ExportTraceServiceRequest.FromString(body) for path, body in bodies if path.endswith("traces")]
    points = [ExportMetricsServiceRequest.FromString(body) for path, body in bodies if path.endswith("metrics")]
    assert spans
    assert points
    texts = [text for message in (*spans, *points) for text in texts_of(message)]
    harmless(*texts)
    assert any(r"\x1b" in text for text in texts)
