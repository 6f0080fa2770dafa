# SPDX-License-Identifier: Apache-2.0
"""A real agent in a process of its own: what it tells, what it exports, and what it takes to do so."""

import asyncio
import contextlib
import http.server
import json
import os
import re
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.errors import BenchError

#: From exec until it is ready, and from SIGTERM to its end, s: more than it may take.
_READY_S: Final = 60.0
_END_S: Final = 15.0
_READY: Final = re.compile(r"ready .*\bhttp=(\S+)")
#: CPUCLOCK_SCHED of a process, include/linux/posix-timers.h: user and system time in ns, threads that have ended too.
_CPU_CLOCK: Final = 2


class Collector:
    """A collector that accepts everything, and counts: bytes, requests and shutdowns' root spans."""

    def __init__(self) -> None:
        self.requests = self.bytes = self.roots = 0
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                collector.requests += 1
                collector.bytes += len(body)
                if self.path.endswith("traces"):
                    collector.roots += body.count(b"container.shutdown")
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Told:
    """One line that the agent wrote."""

    record: dict[str, Any]
    late_s: float
    """from the time it bears to when it was read"""


@dataclass
class Agent:
    """``async with Agent(sigtrace, folder, options) as agent``: it runs, and is ready."""

    sigtrace: Path
    folder: Path
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """on standard error"""
    pid: int = 0
    url: str = ""
    status: int | None = None
    """its exit status, once it has ended"""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        # What is set here for another agent, or another exporter, is not meant for this one.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "SIGTRACE_"))}
        command = [str(self.sigtrace), "agent", "--socket", str(self.folder / "agent.sock")]
        command += ["--state", str(self.folder / "state"), *self.options]
        pipe = asyncio.subprocess.PIPE
        self._process = process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, limit=1 << 24,
            env={**environment, **self.environment},
        )  # fmt: skip
        self.pid = process.pid
        ready = asyncio.Event()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._listen(ready))]
        try:
            await asyncio.wait_for(ready.wait(), _READY_S)
        except TimeoutError:
            await self.end()
            raise BenchError(f"the agent was not ready within {_READY_S:g} s") from None
        if not self.is_alive:
            raise BenchError(f"the agent has ended: {' / '.join(self.said)}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None and Path(f"/proc/{self.pid}").exists()

    @property
    def last_words(self) -> str:
        """Why it is not there, as far as it is known."""
        status = self._process.returncode if self._process else None
        return f"the agent has ended with {status}: {' / '.join(self.said[-3:])}"

    async def _read(self) -> None:
        assert self._process
        assert self._process.stdout
        async for line in self._process.stdout:
            record = json.loads(line)
            at = datetime.fromisoformat(record["time"][:26] + "+00:00").timestamp()
            self.told.append(Told(record, time.time() - at))
            self.news.set()

    async def _listen(self, ready: asyncio.Event) -> None:
        assert self._process
        assert self._process.stderr
        async for line in self._process.stderr:
            self.said.append(line.decode().rstrip())
            if match := _READY.search(self.said[-1]):
                self.url = f"http://{match[1]}" if match[1] != "off" else ""
                ready.set()
        await self._process.wait()
        ready.set()

    async def end(self) -> None:
        """SIGTERM, and all it tells until its end."""
        process = self._process
        if process is None or self.status is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            process.kill()
            self.said.append(f"it did not end within {_END_S:g} s of SIGTERM, and was killed")
        self.status = await process.wait()
        await asyncio.gather(*self._tasks)

    def cpu_ns(self) -> int:
        """User and system time of all its threads, those that have ended too."""
        return time.clock_gettime_ns(~self.pid << 3 | _CPU_CLOCK)

    async def scrape(self) -> dict[str, float]:
        """What /metrics says: series as it is written → value. Raises BenchError."""

        def get() -> str:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
                return str(answer.read().decode())

        try:
            text = await asyncio.to_thread(get)
        except OSError as error:
            raise BenchError(f"cannot scrape {self.url}/metrics: {error}") from error
        lines = (line.rpartition(" ") for line in text.splitlines() if line[:1] != "#")
        return {series: float(value) for series, _, value in lines}


@dataclass(frozen=True)
class Sample:
    """The agent at one moment."""

    at_s: float
    """since the soak began"""
    rss_bytes: int
    pss_bytes: int
    descriptors: int
    threads: int
    cpu_ns: int
    shutdowns: int
    """told up to now"""
    findings: int
    stops: int
    """that the harness has made up to now"""


def sample(agent: Agent, at_s: float, stops: int) -> Sample:
    """Raises BenchError if it has ended."""
    try:
        rollup = Path(f"/proc/{agent.pid}/smaps_rollup").read_text()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in rollup.splitlines()[1:]}
        descriptors = len(os.listdir(f"/proc/{agent.pid}/fd"))
        threads = len(os.listdir(f"/proc/{agent.pid}/task"))
        cpu_ns = agent.cpu_ns()
    except OSError as error:
        raise BenchError(agent.last_words) from error
    types = Counter(told.record["type"] for told in agent.told)
    return Sample(
        at_s, sizes["Rss"], sizes["Pss"], descriptors, threads, cpu_ns, types["shutdown"], types["finding"], stops
    )
