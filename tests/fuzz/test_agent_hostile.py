"""An agent whose endpoints are flooded goes on telling verdicts, and opens nothing that a container could put there."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from sigtrace.lab.container import Container
from sigtrace.service.client import status
from tests.kernel.test_agent import PATIENCE_S, stop_deaf

_MANY = 1000
#: A page of metrics, 64 readers with a chunk each, 256 heads of requests: some MB. More is growth.
_GROWTH = 64 << 20


@pytest.fixture
def name():
    return f"hostile-{os.getpid()}-{os.urandom(2).hex()}"


@pytest.fixture
def many_files():
    """As many descriptors as the floods need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(pid):
    """Resident, bytes."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) << 10


def tells(agent, name, wait_until):
    """A container that is stopped now is told."""
    stop_deaf(name)
    wait_until(lambda: agent.of(name, "shutdown"), timeout=2 * PATIENCE_S, what=f"the verdict on {name}")


#: What a client says, and whether it then closes its side.
HTTP = (
    b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 100_000, b"\x16\x03\x01" + bytes(range(256)),
    b"GET /metrics HTTP/1.1\r\n\r\n" * 500, b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n",
    b"\r\n" * 50_000,
    b"GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n", b"A: b\r\n" * 5_000,
)  # fmt: skip
READERS = (
    b"", b'{"get":', b"x" * 100_000, b'{"get":"verdicts","follow":true}\n', b'{"get":"snapshots"}\n', b"\xff\n" * 100,
    b"[" * 4000 + b"\n", b'{"get":"status"}\n' * 300, b'{"get":"verdicts"}\n', b'{"get":"verdicts","since_ns":1e400}\n',
)  # fmt: skip


def flood(connect, sayings):
    """So many connections that each say one of these and read nothing; they stay open."""
    held = []
    for n in range(_MANY):
        stream = connect()
        if stream is None:
            continue
        held.append(stream)
        stream.setblocking(False)
        with contextlib.suppress(OSError):
            stream.send(sayings[n % len(sayings)])
        if n % 3 == 0:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_WR)
    return held


def drip(streams, ending):
    """A byte now and then on each."""
    while not ending.wait(0.05):
        for stream in streams:
            with contextlib.suppress(OSError):
                stream.send(b"A")


@pytest.mark.parametrize("endpoint", ["http", "socket"])
def test_a_thousand_connections_that_mean_harm_cost_no_verdict_and_little_memory(
    agent, folder, name, endpoint, many_files, wait_until
):
    one = agent()
    tells(one, f"{name}-a", wait_until)
    before, files = memory(one.pid), len(os.listdir(f"/proc/{one.pid}/fd"))
    host, _, port = re.search(r"http=(\S+)", one.ready)[1].rpartition(":")

    def connect():
        if endpoint == "http":
            return socket.create_connection((host, int(port)), timeout=10)
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(10)
        try:
            stream.connect(f"{folder}/agent.sock")
        except OSError:  # the queue of connections is full: that is an answer, too
            stream.close()
            return None
        return stream

    ending, held = threading.Event(), flood(connect, HTTP if endpoint == "http" else READERS)
    dripping = threading.Thread(target=drip, args=(held, ending))
    dripping.start()
    try:
        tells(one, f"{name}-b", wait_until)
        if endpoint == "http":
            assert one.get("/healthz")[0] == 200
            assert one.get("/metrics")[0] == 200
        assert memory(one.pid) - before < _GROWTH
        assert len(os.listdir(f"/proc/{one.pid}/fd")) - files < 600
    finally:
        ending.set()
        dripping.join(20)
        for stream in held:
            stream.close()
    wait_until(lambda: len(os.listdir(f"/proc/{one.pid}/fd")) <= files + 2, timeout=PATIENCE_S, what="all to be closed")
    assert status(f"{folder}/agent.sock").pid == one.pid
    tells(one, f"{name}-c", wait_until)
    one.kill(signal.SIGTERM)
    assert one.wait(PATIENCE_S) == 0
    assert [line for line in one.log if "Traceback" in line or "no longer" in line] == []


#: Below /proc/PID what a process decides about, or leads into its mount namespace.
_THEIRS = re.compile(
    r"/proc/(?!self/|thread-self/)\d+/(?!stat$|status$|cmdline$|cgroup$|task(/\d+(/(status|children))?)?$)"
)
#: Where the agent itself, its Python and the kernel's tables live.
_OURS = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/", "/lib", "/run/", "/var/run/", "/host", "/rootfs", "/var/snap/")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: install it")
def test_it_opens_no_path_that_a_container_decides_about(agent, folder, name, wait_until, tmp_path):
    log, where = Path(folder, "opened"), tmp_path / "inside"
    where.mkdir()
    one = agent()
    tracer = subprocess.Popen(
        ["strace", "-f", "-q", "-e", "trace=%file", "-o", log, "-p", str(one.pid)], stdin=subprocess.DEVNULL
    )
    try:
        tasks = Path(f"/proc/{one.pid}/task")
        wait_until(
            lambda: all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks.iterdir()),
            timeout=PATIENCE_S, what="strace to have all threads",
        )  # fmt: skip
        # Its arguments, its working directory and its root name files: none of them is looked at.
        for link in ("cmdline", "environ", "maps"):
            (where / link).symlink_to("/etc/shadow")
        with Container(name, workdir=where) as box:
            box.start(["sh", "-c", "echo up; sleep 1000; : /etc/shadow ../../etc/passwd file:///etc/hosts"])
            box.wait_ready(b"up\n")
            pid = box.init_pid
            box.kill(signal.SIGTERM)
            wait_until(lambda: f"/proc/{pid}/cmdline" in log.read_text(), timeout=PATIENCE_S, what="a look at it")
            box.kill(signal.SIGKILL)
            box.wait()
        wait_until(lambda: one.of(name, "shutdown"), timeout=2 * PATIENCE_S)
        status(f"{folder}/agent.sock")
        one.get("/metrics")
    finally:
        tracer.terminate()
        tracer.wait(20)
    paths = set(re.findall(r'"((?:[^"\\]|\\.)+)"', log.read_text()))
    absolute = {path for path in paths if path.startswith("/")}
    assert {path for path in absolute if _THEIRS.match(path)} == set()
    outside = {
        p for p in absolute if not p.startswith((*_OURS, folder)) and "site-packages" not in p and "sigtrace/" not in p
    }
    assert {p for p in outside if not p.startswith(os.path.dirname(os.__file__))} == set()
    assert {p for p in absolute if "shadow" in p or "passwd" in p or "hosts" in p or str(where) in p} == set()


def test_a_link_in_the_place_of_its_files_is_never_followed(agent, folder, name, wait_until):
    """As somebody would put it there who got the folder before us; what is behind it stays as it was."""
    secret, state = Path(folder, "secret"), Path(folder, "state")
    secret.write_text("hunter2\n")
    state.mkdir()
    for file in ("verdicts", "verdicts.new", "verdicts.damaged"):
        (state / file).symlink_to(secret)
    one = agent()
    tells(one, name, wait_until)
    one.kill(signal.SIGTERM)
    assert one.wait(PATIENCE_S) == 0
    assert secret.read_text() == "hunter2\n"
    told = "\n".join([*one.log, json.dumps(one.records)])
    assert "hunter2" not in told
