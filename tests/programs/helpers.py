"""Who is connected to a program when it is stopped, and what it needs before it can start."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from sigtrace.lab.process import PATH
from tests.programs.case import Place

#: Made by tools/programs.
VENV = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sigtrace", "programs")

_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
#: Where the programs are, the newest PostgreSQL among them.
SEARCH = ":".join([f"{VENV}/bin", *map(str, _POSTGRES[:1]), PATH])

#: Debian's has its version in its name.
PHP_FPM = max((path.name for path in Path("/usr/sbin").glob("php-fpm*.*")), default="php-fpm")


def free_port() -> int:
    """Of 127.0.0.1; somebody else may take it first, and then the program says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def tool(name: str) -> str:
    """Its path; ``name`` itself if there is none, for the error of whoever runs it."""
    return shutil.which(name, path=SEARCH) or name


def initdb(place: Place) -> None:
    """An empty database cluster that everybody may use, owned by postgres."""
    data = place.folder / "data"
    data.mkdir(mode=0o700)
    shutil.chown(data, "postgres", "postgres")
    command = [tool("initdb"), "--no-sync", "--auth=trust", "-D", str(data)]
    subprocess.run(command, user="postgres", group="postgres", cwd=place.folder, check=True, capture_output=True)


@contextlib.contextmanager
def http_client(place: Place) -> Iterator[None]:
    """A request that takes a minute: one process of the server is at work when it is asked to stop."""
    with socket.create_connection(("127.0.0.1", place.port), timeout=10) as client:
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        # The application writes this when it has begun.
        _wait_for(place.folder / "at-work")
        yield


def _wait_for(path: Path) -> None:
    waited = threading.Event()
    for _ in range(1000):
        if path.exists():
            return
        waited.wait(0.01)
    raise TimeoutError(f"waited 10 s for {path.name}")


@contextlib.contextmanager
def silent_client(place: Place) -> Iterator[None]:
    """A connection, and no more."""
    with socket.create_connection(("127.0.0.1", place.port)):
        yield


@contextlib.contextmanager
def sql_client(place: Place) -> Iterator[None]:
    """A session that waits for a minute."""
    query = f"copy (select 1) to '{place.folder}/data/at-work'; select pg_sleep(60)"
    command = [tool("psql"), "-h", "127.0.0.1", "-p", str(place.port), "-U", "postgres", "-qAtc", query]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as psql:
        try:
            _wait_for(place.folder / "data" / "at-work")
            yield
        finally:
            psql.kill()
