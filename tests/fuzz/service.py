"""Fuzz targets: recordings, the agent's socket from both ends, its kept verdicts; and all that is made of them."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import time
import zlib
from unittest import mock

from sigtrace.audit.rows import Audit
from sigtrace.errors import RunError, SigtraceError
from sigtrace.model.filter import WorkloadFilter
from sigtrace.model.finding import Verdict
from sigtrace.model.overview import SnapshotDecoder, as_plain
from sigtrace.model.record import verdict_record
from sigtrace.model.recording.frames import MAGIC, START, VERSION, End, Packer, Part
from sigtrace.model.recording.plain import UNKNOWN
from sigtrace.model.recording.values import Decoder
from sigtrace.model.redaction import redacted
from sigtrace.recorder import run
from sigtrace.service import client
from sigtrace.service.follow import Verdicts
from sigtrace.service.protocol import PROTOCOL, Hello, frame_of, hello_line, request_of, status_of
from sigtrace.service.reader import Newest, Reader
from sigtrace.service.store import Store
from sigtrace.service.verdicts import VerdictDecoder, VerdictEncoder
from sigtrace.sinks.audit import audit_record, audit_text
from sigtrace.sinks.chosen import Filtered
from sigtrace.sinks.jsonl import Jsonl
from sigtrace.sinks.metrics.bookkeeping import Metrics
from sigtrace.sinks.otlp import sink as otlp
from sigtrace.sinks.otlp.settings import OtlpSettings
from sigtrace.sinks.overview.aggregate import Overview
from sigtrace.sinks.overview.rows import brief_of
from sigtrace.sinks.prometheus.exposition import exposition
from sigtrace.sinks.story import Story
from sigtrace.sinks.style import Style
from sigtrace.sinks.text import EventText
from sigtrace.sources.replay import Replay
from sigtrace.tui.cells import Layout, brief_line
from sigtrace.tui.lines import plain as plain_line
from sigtrace.tui.stories import container_story, verdict_story
from tests.fuzz.check import BrokenError, Writer, equal, harmless, one_line
from tests.fuzz.runtimes import answering

__all__ = ["TARGETS"]
_HELLO = hello_line(Hello("1.2", PROTOCOL, 42, "node", "boot"))


class _Exporter:
    """In place of the one with threads: builds what it would send."""

    def __init__(self, *_, **__) -> None: ...

    def put_spans(self, count, build, settled=None) -> None:
        build()

    def close(self, _) -> None: ...


def _sinks() -> list[object]:
    with mock.patch.object(otlp, "Exporter", _Exporter):
        spans = otlp.Otlp(OtlpSettings(traces=object(), exited=True), "boot", "n", tell=harmless)  # type: ignore[arg-type]
    return [
        Jsonl(Writer(json_lines=True), events=lambda _: True, boot_id="b"),  # type: ignore[arg-type]
        Story(Writer(json_lines=False), Style(colour=True)),  # type: ignore[arg-type]
        EventText(Writer(json_lines=False), Style(width=40), lambda _: True),  # type: ignore[arg-type]
        spans,
    ]


def _through(read) -> None:
    """A recording through detectors and every sink."""
    overview, metrics = Overview(source="replay"), Metrics()
    try:
        with read() as recording:
            harmless(recording.header.node, recording.header.kernel, recording.header.sigtrace)
            sinks = [*_sinks(), overview, metrics]
            run(recording, [Filtered(sink, WorkloadFilter()) for sink in sinks])
    except RunError as error:
        harmless(str(error))
        return
    overview.publish(0)
    one_line(overview.frame(0.0) + b"\n")
    for line in exposition(metrics.collect(0.0), {"a": "b"}).split("\n"):
        harmless(line)


def recording_file(data: bytes) -> None:
    """Any file."""
    _through(lambda: Replay(io.BytesIO(data if data[:8] == MAGIC else MAGIC + data), "file"))


class _Crafter(Packer):
    """A file with right checksums and any header."""

    def begin(self, header: bytes) -> bytes:
        start = START.pack(MAGIC, VERSION)
        self._crc = zlib.crc32(start)
        return start + self._frame(Part.HEADER, header)


def recording(data: bytes) -> None:
    """The lines of a recording, in a file whose checksums are right; the first is the header."""
    head, *lines = data[: 1 << 16].split(b"\n")
    packer = _Crafter()
    raw = packer.begin(head or b'{"sigtrace":"1"}') + packer.lines(lines)
    count = sum(line.startswith((b'["observation"', b'["advance"')) for line in lines)
    _through(lambda: Replay(io.BytesIO(raw + packer.end(End(count, 1 << 40))), "file"))


def show(verdict: Verdict) -> None:
    """A verdict from anybody, as everything shows it."""
    for one in (verdict, redacted(verdict)):
        one_line(json.dumps(verdict_record(one, "boot")) + "\n")
        again = VerdictEncoder("boot").json(one)
        one_line(again + b"\n")
    equal(VerdictDecoder().verdict(json.loads(VerdictEncoder().json(verdict))), verdict)
    overview, metrics = Overview(source="agent"), Metrics()
    for sink in (*_sinks(), overview, metrics):
        sink.verdict(verdict)  # type: ignore[attr-defined]
        sink.pass_time(1 << 61)  # type: ignore[attr-defined]
        sink.close()  # type: ignore[attr-defined]
    overview.publish(verdict.time_ns)
    snapshot(overview.frame(0.0))
    for line in exposition(metrics.collect(0.0), {}).split("\n"):
        harmless(line)
    for width in (20, 80):
        lines = [*verdict_story(verdict, [verdict], width), brief_line(brief_of(verdict), 1 << 61, width)]
        harmless(*map(plain_line, lines))


def verdict(data: bytes) -> None:
    """A frame of the agent, or a line of the store."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(data)
        try:
            found = VerdictDecoder().verdict(value)
        except ValueError as error:
            harmless(str(error))
            return
        _unless_value_error(found)


def _unless_value_error(found: Verdict) -> None:
    """``contextlib.suppress`` above is for the parser alone."""
    try:
        show(found)
    except ValueError as error:
        raise BrokenError(f"{type(error).__name__}: {error}") from error


def snapshot(data: bytes) -> None:
    """What top is sent."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        found = SnapshotDecoder().snapshot(value)
    except ValueError as error:
        harmless(str(error))
        return
    one_line(json.dumps(as_plain(found)) + "\n")
    for row in found.rows:
        lines = container_story(row, None, [], found.wall_ns, 60)
        lines += [Layout.of(width).row(row, found.wall_ns) for width in (40, 80, 130)]
        harmless(*map(plain_line, lines))
    harmless(*(plain_line(brief_line(brief, found.wall_ns, 60)) for brief in found.briefs))


def audit(data: bytes) -> None:
    """What audit is sent."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        found = Decoder({}).object(Audit, value)
    except ValueError as error:
        harmless(str(error))
        return
    if found is not UNKNOWN:
        one_line(json.dumps(audit_record(found)) + "\n")
        harmless(*audit_text([found], Style(), 1))


def frames(data: bytes) -> None:
    """The agent's lines, one by one, and a reader's."""
    for line in data.split(b"\n"):
        for read in (frame_of, hello_of_line, request_of):
            try:
                read(line)
            except ValueError as error:
                harmless(str(error))
        with contextlib.suppress(ValueError):
            status_of(frame_of(line).value)


def hello_of_line(line: bytes) -> None:
    """Its text is harmless."""
    from sigtrace.service.protocol import hello_of

    hello = hello_of(line)
    harmless(hello.node, hello.sigtrace, hello.boot_id)


def agent(data: bytes) -> None:
    """An agent that is none, as `why` meets it."""
    with answering(_HELLO + b'{"begin":true}\n' + data, _Connected) as sock:
        with mock.patch.object(client.socket, "socket", return_value=sock):
            try:
                link = client.Link("x", "verdicts", timeout_s=1.0)
            except SigtraceError as error:
                harmless(str(error))
                return
        try:
            with mock.patch("sigtrace.service.follow.Link", return_value=link):
                for found in Verdicts("x"):
                    show(found)
        except SigtraceError as error:
            harmless(str(error))


class _Connected(socket.socket):
    """It is already."""

    def connect(self, address) -> None: ...


def reader(data: bytes) -> None:
    """A reader that is none, as the agent meets it."""
    store = Store(None, harmless, room=3)
    store.add("f", 5, b"{}")
    with answering(data) as sock:
        sock.setblocking(False)
        one = Reader(sock, _HELLO, time.monotonic() + 5)
        for _ in range(100):
            if not one.receive():
                break
            if one.request:
                one.begin(store)
            if one.wants_to_send(store, Newest()) and not one.send(store, Newest()):
                break
        if len(one._in) > 3 * 4096:
            raise BrokenError(f"{len(one._in)} bytes are kept of a reader's request")


def store(data: bytes) -> None:
    """The file of kept verdicts, with right checksums: who can write it is root, but a disk can rot."""
    one = Store(None, harmless)
    for line in data.split(b"\n"):
        one._take(line)
        one._take(b"%08x %s" % (zlib.crc32(line), line))
    for found in one.verdicts("boot"):
        show(found)


TARGETS = {
    "recording-file": recording_file,
    "recording": recording,
    "verdict": verdict,
    "snapshot": snapshot,
    "audit": audit,
    "frames": frames,
    "agent": agent,
    "reader": reader,
    "store": store,
}
