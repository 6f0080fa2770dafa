# SPDX-License-Identifier: Apache-2.0
"""A soak: a real agent, a busy node, and containers that are stopped in all ways at random; was every verdict right?

    .venv/bin/python -m benchmarks.soak --minutes 20                 # 6,680 stops; needs root
    .venv/bin/python -m benchmarks.soak --minutes 2 --seed 7

Exit status: 0 every verdict was right and nothing grew; 1 not so; 2 wrong usage; 3 the host can't.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import build, soak_report
from benchmarks.errors import BenchError
from benchmarks.soak_agent import Agent, Collector, Sample, sample
from benchmarks.soak_busy import Busy
from benchmarks.soak_cases import ZOMBIE_AFTER_S, Act, Case, cases
from benchmarks.soak_factory import Box, Factory, code_of, program
from benchmarks.soak_judge import Truth, judge
from sigtrace.errors import SigtraceError
from sigtrace.lab.cgroups import find_memory
from sigtrace.lab.process import state_of, until

#: 5,000 in a quarter of an hour, 6,680 in 20 minutes.
_STOPS_A_MINUTE = 334
#: Containers at a time.
_AT_A_TIME = 40
_SAMPLE_S, _SCRAPE_S = 5.0, 10.0
#: After the last stop: for the last verdicts, and for findings that come after a shutdown.
_LAST_S, _AFTER_S = 15.0, 3.0


class Soak:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, factory: Factory, agent: Agent) -> None:
        self.arguments = arguments
        self.dice = random.Random(arguments.seed)
        self.program = str(program())
        self.folder = folder
        self.factory = factory
        self.agent = agent
        known = cases(self.program, folder, memory=find_memory() is not None)
        self.cases = [case for case in known if not arguments.only or case.name in arguments.only]
        if not self.cases:
            raise BenchError(f"--only: there are {', '.join(case.name for case in known)}")
        self.truths: list[Truth] = []
        self.samples: list[Sample] = []
        self.losses: list[tuple[float, float]] = []
        """(s, events lost up to then)"""
        self.failures: list[str] = []
        self.counted = 0.0
        """shutdowns, by the agent's metrics"""
        self.began = time.monotonic()
        self._names: set[str] = set()
        """of containers that are there"""
        self._room = asyncio.Semaphore(_AT_A_TIME)

    @property
    def _now_s(self) -> float:
        return time.monotonic() - self.began

    async def run(self) -> None:
        """Everything, to the end of the agent."""
        seconds = self.arguments.minutes * 60
        plan = self._plan(self.arguments.stops)
        busy = Busy(self.factory, self.program, self.arguments.seed, self._note)
        beside = [busy.containers(), busy.cgroups(), self._samples(), self._scrapes()]
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(one) for one in beside]
            async with asyncio.TaskGroup() as stops:
                for number, case in enumerate(plan, 1):
                    due = (number - 1 + self.dice.random()) * seconds / len(plan)
                    await asyncio.sleep(max(0.0, due - self._now_s))
                    await self._room.acquire()
                    stops.create_task(self._stop(number, case, self.dice.uniform(0, 1.5)))
            await asyncio.sleep(max(0.0, seconds - self._now_s))
            for task in others:
                task.cancel()
        await self._last()

    def _plan(self, count: int) -> list[Case]:
        """Each case once, if there is room for that, and then by weight."""
        rest = max(0, count - len(self.cases))
        plan = self.cases[:count] + self.dice.choices(self.cases, [c.weight for c in self.cases], k=rest)
        self.dice.shuffle(plan)
        return plan

    async def _last(self) -> None:
        """What is still to be told, then the agent's end."""
        deadline = time.monotonic() + _LAST_S
        wanted = {truth.cgroup_id for truth in self.truths}
        while wanted and time.monotonic() < deadline:
            wanted -= {t.record["task"]["cgroup_id"] for t in self.agent.told if t.record["type"] == "shutdown"}
            await asyncio.sleep(0.1)
        await asyncio.sleep(_AFTER_S)
        series = await self.agent.scrape()
        self.counted = sum(n for name, n in series.items() if name.startswith("sigtrace_container_shutdowns_total"))
        await self.agent.end()
        if self.agent.status:
            self.failures.append(f"the agent ended with {self.agent.status}: {' / '.join(self.agent.said[-3:])}")

    # ---- a stop

    def _name(self, case: Case) -> str:
        """As in a cluster: the next one of its kind has the name of one that is gone, and its fate.

        With names for all kinds there would be new series to the end, as each name comes to each fate, and memory
        that rises with them would hide what nobody needs.
        """
        return next(name for n in itertools.count() if (name := f"{case.name}-{n}") not in self._names)

    async def _stop(self, number: int, case: Case, live_s: float) -> None:
        name = self._name(case)
        self._names.add(name)
        try:
            box = await self.factory.start(name, case.argv, case.memory_bytes)
            await self.factory.wait(box, box.up, "up")
            if case.act is not Act.WATCH:
                await asyncio.sleep(max(live_s, case.live_s))
            await self._act(case, box)
            await self.factory.wait(box, box.ended, "ended")
            self._note(number, case, box)
            await asyncio.to_thread(self.factory.forget, box)
        finally:
            self._names.remove(name)
            self._room.release()

    async def _act(self, case: Case, box: Box) -> None:
        factory = self.factory
        if case.act is Act.KILL_AS_RUNTIME:
            factory.kill(box, signal.SIGKILL, "runc")
        elif case.act is Act.HOOK:
            await factory.enter(box, case.entered)
        elif case.act in (Act.PROBE, Act.PROBE_TIMES_OUT):
            entered = await factory.enter(box, case.entered)
            if case.act is Act.PROBE_TIMES_OUT:
                await factory.wait(entered, entered.up, "up")
                factory.kill(entered, signal.SIGKILL, "runc")
            await factory.wait(entered, entered.ended, "ended")
            factory.forget(entered)
        elif case.act is Act.HALT:
            factory.kill(box, signal.SIGSTOP)
            await asyncio.to_thread(until, lambda: state_of(box.pid) == "T", f"{box.id} (pid {box.pid}) to stop")
        if case.act not in (Act.WATCH, Act.HOOK, Act.KILL_AS_RUNTIME):
            factory.kill(box, signal.SIGTERM)
            if not await factory.ends_within(box, case.grace_s):
                factory.kill(box, signal.SIGKILL)

    def _note(self, number: int, case: Case, box: Box) -> None:
        seen = code_of(box.status or 0)
        self.truths.append(
            Truth(number, case.name, box.cgroup_id, box.pid, case.outcome, case.code, case.findings, seen)
        )

    # ---- what the agent takes

    async def _samples(self) -> None:
        for number in range(1 << 30):
            await asyncio.sleep(max(0.0, number * _SAMPLE_S - self._now_s))
            self.samples.append(sample(self.agent, self._now_s, len(self.truths)))

    async def _scrapes(self) -> None:
        said = 0.0
        while True:
            try:
                series = await self.agent.scrape()
            except BenchError as error:
                if not self.agent.is_alive:
                    raise BenchError(self.agent.last_words) from error
                self.failures.append(f"at {self._now_s:.0f} s: {error}")
                continue
            lost = sum(n for name, n in series.items() if name.startswith("sigtrace_event_lost_total"))
            self.losses.append((self._now_s, lost))
            if self._now_s >= said + 60:
                said += 60
                shutdowns = Counter(told.record["type"] for told in self.agent.told)["shutdown"]
                last = self.samples[-1]
                _say(f"{self._now_s:4.0f} s: {len(self.truths)} stops, {shutdowns} told, {last.rss_bytes / 1e6:.1f} MB")
            await asyncio.sleep(_SCRAPE_S)


def _say(line: str) -> None:
    print(f"soak: {line}", file=sys.stderr, flush=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Is every verdict right?")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long containers are stopped (20)")
    parser.add_argument("--stops", type=int, help=f"containers that are stopped ({_STOPS_A_MINUTE} a minute)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (1)")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="these kinds of stops alone")
    parser.add_argument("--output", type=Path, default=build.ROOT / "build" / "soak", help="the folder of the results")
    parser.add_argument("--sigtrace", type=Path, default=build.ROOT / ".venv/bin/sigtrace", help="our command")
    parser.add_argument("--docs", action="store_true", help="also renew what docs/soak.md says of the last run")
    parsed = parser.parse_args(arguments)
    if parsed.minutes <= 0 or (parsed.stops is not None and parsed.stops < 1):
        parser.error("--minutes and --stops are positive")
    parsed.stops = parsed.stops or max(1, round(parsed.minutes * _STOPS_A_MINUTE))
    return parsed


async def _run(parsed: argparse.Namespace) -> int:
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me
    for signo in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signo, me.cancel)
    cgroups = f"soak-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="sigtrace-soak-") as name, Collector() as collector:
        folder = Path(name)
        options = ("--http", "127.0.0.1:0", "--otlp-endpoint", collector.url, "--zombie-after", str(ZOMBIE_AFTER_S))
        agent = Agent(parsed.sigtrace, folder, options)
        async with agent, Factory(cgroups) as factory:
            soak = Soak(parsed, folder, factory, agent)
            _say(f"{parsed.stops} stops of {len(soak.cases)} kinds in {parsed.minutes:g} minutes, seed {parsed.seed}")
            await soak.run()
    records = [told.record for told in agent.told]
    judgement = judge(soak.truths, records, f"/{cgroups}/")
    roots = sum(r["type"] == "shutdown" and r["outcome"] != "exited" for r in records)
    if collector.roots != roots:
        soak.failures.append(f"{collector.roots} spans of shutdowns were exported, of {roots} that were told")
    return soak_report.write(soak_report.Result(parsed, soak, judgement, collector))


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parsed = _arguments(arguments)
    if os.geteuid():
        _say("needs root, to attach BPF programs and make PID namespaces")
        return 3
    try:
        return asyncio.run(_run(parsed))
    except (asyncio.CancelledError, KeyboardInterrupt):
        _say("interrupted; nothing was written")
        return 130
    except (BenchError, SigtraceError, OSError, ExceptionGroup) as error:
        for one in _each(error):
            _say(str(one))
        return 3


def _each(error: Exception) -> list[Exception]:
    """Those of a group; what is nobody's fault but ours is raised."""
    if isinstance(error, ExceptionGroup):
        return [one for part in error.exceptions for one in _each(part)]
    if not isinstance(error, BenchError | SigtraceError | OSError):
        raise error
    return [error]


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
