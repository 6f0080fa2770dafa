"""What the hostile tests share: an agent that runs (as in tests/kernel), and a runtime that says what it likes."""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading

import pytest

from tests.conftest import why_no_bpf
from tests.kernel.test_agent import PATIENCE_S, Agent


@pytest.fixture
def folder():
    """Root's, with a path that fits a socket's address."""
    if reason := why_no_bpf():
        pytest.skip(reason)
    path = tempfile.mkdtemp(prefix="sigtrace-hostile-")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def agent(folder, wait_until):
    """Starts agents and waits until each is ready."""
    started = []

    def start(*arguments, **how):
        one = Agent(folder, *arguments, **how)
        started.append(one)
        wait_until(lambda: one.ready or one.ended, timeout=6 * PATIENCE_S, what="the agent to be ready")
        assert one.ready, one.log
        return one

    yield start
    for one in started:
        one.close()


class Docker:
    """Docker's socket: the same answer about any container, with its id."""

    def __init__(self, path):
        self.path, self.known = path, {}
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(64)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                target = connection.recv(65536).split()[1].decode()
                body = json.dumps(self._page(target)).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def _page(self, target):
        if target == "/version":
            return {"Version": "\x1b[31m26"}
        if target == "/containers/json":
            return [self.known | {"Id": one, "Names": [self.known["Name"]]} for one in self.known.get("running", ())]
        return self.known | {"Id": target.split("/")[2]} if target.count("/") == 3 else {}

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def docker(folder):
    one = Docker(os.path.join(folder, "d.sock"))
    yield one
    one.close()
