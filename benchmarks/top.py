"""What the screen of `top` costs: CPU of 1 Hz with so many containers, memory, and the time from a key to its frame.

    python benchmarks/top.py [CONTAINERS] [SECONDS]

The app runs on a terminal of its own, fed by snapshots that change as a busy node's do: all rates, some verdicts.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pty
import random
import resource
import struct
import subprocess
import sys
import termios
import threading
import time

SECOND = 1_000_000_000


class Busy:
    """A feed: a new snapshot each second, decoded from JSON as an agent's is."""

    player = None
    failure = None
    state = ""

    def __init__(self, containers: int) -> None:
        from sigtrace.model.causes import Severity
        from sigtrace.model.event import Task
        from sigtrace.model.overview import Brief, Row, Snapshot, SnapshotDecoder, SnapshotEncoder
        from sigtrace.model.workload import Workload, WorkloadKind

        self._random = random.Random(1)
        self._encoder, self._decoder = SnapshotEncoder(), SnapshotDecoder()
        rows = []
        for n in range(containers):
            workload = Workload(
                WorkloadKind.CONTAINER,
                1000 + n,
                cgroup=f"/kubepods/{n:064x}",
                runtime="containerd",
                container_id=f"{n:064x}",
                container_name=f"app-{n}",
                pod=f"service-{n}-7d9f4c5b6-x2x9z",
                namespace="default",
                asked=True,
            )
            rows.append(Row(workload, 1, main=Task(n + 10, n, "python3", ns_pid=1, argv=("python3", "-u", "app.py"))))
        self._snapshot = Snapshot(time.time_ns(), 1, 1, "node", "agent", "bpf", rows=tuple(rows), rate=2000.0)
        self._brief = Brief(1, time.time_ns(), "escalated", "dropped", Severity.ERROR, "default/x · y", "SIGKILL", 1000)
        self._next = 0.0
        self.frame_bytes = 0

    def newest(self):
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            self._change()
        return self._snapshot

    def _change(self) -> None:
        now = time.time_ns()
        rows = []
        for row in self._snapshot.rows:
            if self._random.random() < 0.5:
                rate = self._random.random() * 20
                row = dataclasses.replace(  # noqa: PLW2901
                    row, rate=rate, history=(*row.history, int(rate))[-32:], signals=row.signals + int(rate)
                )
            rows.append(row)
        at = self._random.randrange(len(rows))
        cgroup = rows[at].workload.cgroup_id
        brief = dataclasses.replace(self._brief, wall_ns=now, time_ns=now, cgroup_id=cgroup)
        rows[at] = dataclasses.replace(rows[at], last=brief, worst=brief.severity, escalated=rows[at].escalated + 1)
        briefs = (brief, *self._snapshot.briefs)[:200]
        made = dataclasses.replace(self._snapshot, wall_ns=now, rows=tuple(rows), briefs=briefs)
        began = time.process_time()
        line = json.dumps(self._encoder.plain(made), separators=(",", ":"))
        self.made_s = getattr(self, "made_s", 0.0) + time.process_time() - began  # the agent's part
        self.frame_bytes = len(line)
        self._snapshot = self._decoder.snapshot(json.loads(line))

    def verdicts(self):
        return []

    def inside(self, row):
        raise NotImplementedError

    def close(self) -> None:
        pass


def child(containers: int) -> None:
    from sigtrace.tui.app import Top

    feed = Busy(containers)
    app = Top(feed)
    marks: list[float] = []
    threading.Timer(3.0, lambda: marks.append(time.process_time() - feed.made_s)).start()
    began = time.monotonic()
    app.run()
    used = time.process_time() - feed.made_s - marks[0]
    share = used / (time.monotonic() - began - 3.0)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with open(os.environ["TOP_RESULT"], "w", encoding="ascii") as file:
        json.dump(
            {"cpu_percent": round(share * 100, 2), "rss_mb": round(rss, 1), "frame_kb": feed.frame_bytes >> 10}, file
        )


def main(containers: int, seconds: float) -> None:
    result = f"/tmp/top-bench-{os.getpid()}"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", str(containers)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "TOP_RESULT": result},
        start_new_session=True,
    )
    os.close(slave)
    written = [0, 0.0]

    def read() -> None:
        try:
            while chunk := os.read(master, 65536):
                written[0] += len(chunk)
                written[1] = time.monotonic()
        except OSError:
            pass

    threading.Thread(target=read, daemon=True).start()
    time.sleep(3 + seconds)
    steady = written[0]
    latencies = []
    for key in [b"\x1b[B", b"\x1b[6~", b"\x1b[A", b"s", b"n", b"\x1b[F", b"\x1b[H", b"t"] * 3:
        time.sleep(0.25)
        pressed = time.monotonic()
        os.write(master, key)
        while written[1] < pressed and time.monotonic() < pressed + 2:
            time.sleep(0.0005)
        latencies.append(round((written[1] - pressed) * 1000, 1))
    os.write(master, b"q")
    process.wait(10)
    with open(result, encoding="ascii") as file:
        found = json.load(file)
    os.unlink(result)
    latencies.sort()
    found |= {"containers": containers, "bytes_a_second": int(steady / (3 + seconds))}
    found |= {"key_to_frame_ms": {"median": latencies[len(latencies) // 2], "worst": latencies[-1]}}
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
    else:
        given = [*sys.argv[1:], "200", "15"] if len(sys.argv) < 2 else [*sys.argv[1:], "15"]
        main(int(given[0]), float(given[1]))
