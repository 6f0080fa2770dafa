"""Servers that misbehave, on real unix sockets."""

import contextlib
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest


@pytest.fixture
def short():
    """A folder with a short name: a socket's path has 107 bytes."""
    folder = tempfile.mkdtemp(prefix="st-")
    yield Path(folder)
    shutil.rmtree(folder)


class Server:
    """Each connection is handed to ``answer``, one after the other, on a thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self.answer = lambda connection: None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1)
                self.requests.append(connection.recv(65536))
                self.answer(connection)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def server(short):
    """A server; set its ``answer`` to a function of the connection, after whose request it is called."""
    one = Server(str(short / "s"))
    yield one
    one.close()
