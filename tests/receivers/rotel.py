"""rotel, a collector that is not ours: it takes OTLP over gRPC and HTTP, and gives it on to a strict receiver."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.receivers.servers import HttpReceiver

_PATIENCE_S = 20.0


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Rotel:
    """``with Rotel(folder) as rotel``: rotel.urls by protocol; what came through is in rotel.behind.checker."""

    def __init__(self, folder):
        self._folder = Path(folder)
        self.behind = HttpReceiver()
        self.urls = {}
        self._process = None

    def __enter__(self):
        rotel = pytest.importorskip("rotel", reason="needs the package rotel: make setup")
        program = Path(rotel.__file__).with_name("rotel-agent")
        self.behind.start()
        ports = {"grpc": free_port(), "http/protobuf": free_port()}
        arguments = {
            "--pid-file": self._folder / "rotel.pid",
            "--log-file": self._folder / "rotel.log",
            "--otlp-grpc-endpoint": f"127.0.0.1:{ports['grpc']}",
            "--otlp-http-endpoint": f"127.0.0.1:{ports['http/protobuf']}",
            "--exporter": "otlp",
            "--otlp-exporter-endpoint": self.behind.url.replace("localhost", "127.0.0.1"),
            "--otlp-exporter-protocol": "http",
            "--batch-timeout": "50ms",
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ROTEL_", "OTEL_"))}
        with open(self._folder / "rotel.out", "wb") as out:
            words = [str(word) for pair in arguments.items() for word in pair]
            self._process = subprocess.Popen([program, "start", *words], stdout=out, stderr=out, env=clean)
        try:
            for port in ports.values():
                self._await(port)
        except BaseException:
            self.__exit__()
            raise
        self.urls = {protocol: f"http://127.0.0.1:{port}" for protocol, port in ports.items()}
        return self

    def _await(self, port):
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"rotel does not listen: {(self._folder / 'rotel.out').read_text(errors='replace')}")
            time.sleep(0.02)

    def __exit__(self, *_):
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.behind.stop()
