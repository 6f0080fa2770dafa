"""Wires a capture to everything that tells of it, and lives as a daemon should."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from sigtrace import __version__
from sigtrace.agent._malloc import give_back, tune
from sigtrace.agent.audits import audits
from sigtrace.agent.exporters import Exporters
from sigtrace.agent.handover import Handover
from sigtrace.agent.naming import Naming
from sigtrace.agent.settings import LIVE, ONCE, Settings, source_options
from sigtrace.agent.unread import Unread
from sigtrace.capture import Capture
from sigtrace.detectors.base import Thresholds
from sigtrace.errors import EXIT_OK, EXIT_RUN, SigtraceError
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Verdict
from sigtrace.model.record import rfc3339
from sigtrace.model.signals import SIGHUP, name
from sigtrace.service.health import Health
from sigtrace.service.life import Signals, open_streams, wake_main
from sigtrace.service.listening import Lock
from sigtrace.service.log import Log
from sigtrace.service.outlet import Kept, Outlet
from sigtrace.service.protocol import PROTOCOL, Gap, Hello, Status
from sigtrace.service.server import Server
from sigtrace.service.store import Store
from sigtrace.sinks.base import LineWriter, Sink
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.overview.aggregate import Overview
from sigtrace.sinks.prometheus.address import parse_address
from sigtrace.sinks.prometheus.exposition import Scrape
from sigtrace.sinks.prometheus.server import Server as HttpServer
from sigtrace.sources.procfs import boot_id, node_name

#: The longest the main thread sleeps, at first and later: signals wake it, and a pipeline that has ended.
_FIRST_S: Final = 2.0
_STEP_S: Final = 30.0
#: The longest the pipeline sleeps, with top and without: whoever wants metrics, or the end, wakes it.
_WATCHED_S: Final = 0.2
_UNWATCHED_S: Final = 1.0
_RETIRE_S: Final = 0.05
#: At the end: for the pipeline's last step, for who reads standard output, and for the service.
_JOIN_S: Final = 2.0
_WRITE_S: Final = 0.5


class Agent:
    """What runs on a node. ``run`` until a signal ends it."""

    def __init__(self, settings: Settings, reload: Callable[[], Settings], log: Log) -> None:
        """``reload``: reads the settings again; raises SigtraceError if they are wrong now."""
        self._settings = settings
        self._reload_settings = reload
        self._log = log
        self._node = node_name()
        self._boot_id = boot_id()
        self._started_wall_ns = time.time_ns()
        self._health = Health()
        self._backend = ""
        self._retired: threading.Thread | None = None
        self._store = Store(settings.state, log.warning)
        self._overview = Overview(source="agent", node=self._node, verdicts=False)
        self._metrics = Metrics()
        self._handover = Handover(settings, self._boot_id, self._metrics, log)
        self._server = Server(
            settings.socket,
            self._store,
            Hello(__version__, PROTOCOL, os.getpid(), self._node, self._boot_id),
            status=self._status,
            tell=log.warning,
            snapshot=self._overview.frame,
            audit=lambda request: audits(self._settings, request),
            kept=self._verdict_kept,
        )
        self._writer = LineWriter(sys.stdout, on_closed=self._output_ended)
        self._kept = Kept(self._server)
        told = (Jsonl(self._writer, events=None, boot_id=self._boot_id), self._kept)
        self._shown = Outlet((self._overview,), WorkloadFilter(), redact=settings.redact)
        self._told = Outlet(told, settings.chosen, redact=settings.redact)
        self._exporters = Exporters(self._handover, self._metrics, self._boot_id, self._node, log)
        self._export = Outlet(self._exporters.make(settings.otlp), settings.chosen, redact=settings.redact)

    # ---- life

    def run(self, signals: Signals) -> int:
        """Until a signal ends it; returns the exit status. Raises SigtraceError if it can't begin."""
        settings = self._settings
        unanswered = settings.unanswered_after_s
        with contextlib.ExitStack() as stack:
            http = self._listen_http(stack)
            unread = Unread(self._missed)
            capture = Capture(
                settings.backend,
                source_options(settings),
                [unread, *self._handover.once([self._told, self._shown], self._export)],
                thresholds=Thresholds(unanswered_after_s=unanswered) if unanswered else None,
                sockets=settings.sockets,
                # An agent that sees less than it should must not look well; and what bcc loads can't be pinned.
                without=("bcc", "ptrace") if settings.pin else ("ptrace",),
            )
            stack.callback(self._handover.close)
            stack.callback(self._server.close)
            stack.enter_context(capture)
            self._overview.attach(capture.counts, capture.workload_of, backend=capture.backend)
            self._metrics.attach(
                counts=capture.counts,
                workload_of=capture.workload_of,
                given=capture.given_back,
                since_wall_ns=capture.since_wall_ns,
                wake=capture.wake,
            )
            capture.feed.overflows.append(self._metrics.take_overflow)
            self._backend = capture.backend
            now_ns = time.time_ns()
            self._store.open(now_ns, unbroken=capture.resumed_ns > 0)
            self._handover.resume(self._store, capture.resumed_ns, self._export)
            unread.since(capture.resumed_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            capture.begin()
            if capture.replaced:
                self._log.warning("what was pinned did not fit this version or these settings, and was replaced")
            for gap in [gap for gap in self._store.gaps if gap.until_ns == now_ns]:
                self._log("nothing was seen", since=_second(gap.from_ns), until=_second(gap.until_ns))
            self._server.start()
            self._health.parts["service"] = lambda: self._server.alive
            pipeline = threading.Thread(target=self._pipe, args=(capture,), name="pipeline", daemon=True)
            self._health.beat()
            pipeline.start()
            self._health.ready.set()
            self._log(
                "ready",
                backend=capture.backend,
                cgroups=capture.hierarchy.kind.name.lower(),
                pid=os.getpid(),
                http=http or "off",
                socket=settings.socket,
                otlp="on" if settings.otlp else "off",
                **({"pins": "resumed" if capture.resumed_ns else "new"} if settings.pin else {}),
            )
            signo = self._wait(signals, capture, settings.duration_s)
            signals.end_at_once()
            self._log("ending", signal=name(signo) if signo else "none")
            return self._end(capture, pipeline)

    def _verdict_kept(self, verdict: Verdict) -> None:
        otlp = self._settings.otlp
        self._handover.kept(verdict, sends=otlp is not None and otlp.traces is not None)

    def _missed(self, gap: Gap) -> None:
        """While no agent read."""
        self._log.warning(
            f"{gap.lost:,} events were lost between {_second(gap.from_ns)} and {_second(gap.until_ns)}: "
            "no agent ran, and the rings were full"
        )
        self._server.offer_gap(gap)

    def _listen_http(self, stack: contextlib.ExitStack) -> str | None:
        if not self._settings.http:
            return None
        info = {"service.name": "sigtrace", "service.version": __version__, "host.name": self._node}
        server = HttpServer(
            parse_address(self._settings.http),
            metrics=Scrape(self._handover.counted.scrape, info),
            healthy=self._health.healthy,
            ready=self._health.is_ready,
        )
        server.start()
        stack.callback(server.close)
        return str(server.address)

    def _pipe(self, capture: Capture) -> None:
        def done() -> bool:
            self._health.beat()
            return self._health.ending.is_set()

        try:
            capture.run(done, self._patience)
        except BaseException as error:  # noqa: BLE001 -- raised again in the main thread
            self._health.failure = error
            wake_main()

    def _patience(self) -> float:
        return _WATCHED_S if self._server.watched or self._metrics.wanted else _UNWATCHED_S

    def _wait(self, signals: Signals, capture: Capture, duration_s: float | None) -> int:
        """The signal that ends it; 0: its time was up, or the pipeline has ended."""
        naming, step_s = Naming(self._log), _FIRST_S
        end = time.monotonic() + duration_s if duration_s else float("inf")
        while self._health.failure is None and (left := end - time.monotonic()) > 0:
            naming.look(*capture.naming())
            signo, step_s = signals.next(min(left, step_s)), _STEP_S
            if signo == SIGHUP:
                self._reload()
            elif signo:
                return signo
            give_back()
        return 0

    def _end(self, capture: Capture, pipeline: threading.Thread) -> int:
        self._health.ending.set()
        capture.wake()
        pipeline.join(_JOIN_S)
        if pipeline.is_alive():
            self._log("the pipeline is stuck and is left behind", level="error")
            self._export.close()
            sys.stdout.flush()
            os._exit(EXIT_RUN)  # whatever is closed now, it may be at work with
        if self._health.failure is not None:
            self._export.close()
            raise self._health.failure
        capture.finish()
        if self._retired:
            self._retired.join(_JOIN_S)
        if (left := self._writer.close(_WRITE_S)) and not self._writer.closed:
            self._log.warning(f"{left} lines were not written: nobody read them in time")
        self._server.close()
        self._log("ended", lost=self._told.lost)
        return EXIT_OK

    # ---- changes

    def _output_ended(self) -> None:
        """No reason to end: all else is told still."""
        self._told.change(sinks=(self._kept,))
        failure = self._writer.failure
        why = f"standard output: {failure.strerror}" if failure else "nobody reads standard output any more"
        self._log.warning(f"{why}; verdicts are kept and exported still")

    def _reload(self) -> None:
        try:
            fresh = self._reload_settings()
            exporters = self._exporters.make(fresh.otlp) if fresh.otlp != self._settings.otlp else None
        except SigtraceError as error:
            self._log(f"not reloaded, all is as it was: {error}", level="error")
            return
        old = self._settings
        differ = {f.name for f in dataclasses.fields(Settings) if getattr(old, f.name) != getattr(fresh, f.name)}
        live = sorted(differ & LIVE)
        self._shown.change(redact=fresh.redact)
        for outlet in (self._told, self._export):
            outlet.change(chosen=fresh.chosen, redact=fresh.redact)
        self._log.form = fresh.log
        if exporters is not None:
            self._retired = threading.Thread(target=self._retire, args=(self._export.change(sinks=exporters),))
            self._retired.start()
        self._settings = dataclasses.replace(old, **{name: getattr(fresh, name) for name in live})
        self._log("reloaded", changed=",".join(live) or "nothing")
        if rest := sorted(differ - LIVE - ONCE):
            names = ", ".join(name.removesuffix("_s").replace("_", "-") for name in rest)
            self._log.warning(f"these need a restart to change: {names}")

    def _retire(self, sinks: tuple[Sink, ...]) -> None:
        """Closes sinks that were replaced, once the pipeline has let go of them."""
        steps = self._export.steps
        while self._export.steps == steps and not self._health.ending.wait(_RETIRE_S):
            pass
        for sink in sinks:
            sink.close()

    # ---- what readers ask for

    def _status(self, known: Status) -> Status:
        return dataclasses.replace(
            known,
            backend=self._backend,
            started_wall_ns=self._started_wall_ns,
            lost=dict(self._told.lost),
            chosen=self._settings.chosen.words,
        )


def _second(wall_ns: int) -> str:
    return rfc3339(wall_ns)[:19]


def run(settings: Settings, reload: Callable[[], Settings]) -> int:
    """Becomes this node's agent. Returns the exit status. Raises RunError if there is one already."""
    open_streams()
    with Signals() as signals:
        log = Log(settings.log)
        lock = Lock(settings.socket)
        try:
            if replaced := lock.take(replace=settings.replace):
                log("took over", pid=replaced)
            tune()
            return Agent(settings, reload, log).run(signals)
        finally:
            lock.release()
