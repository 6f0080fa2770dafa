"""The pages behind a container and behind a verdict: what is known at once, the rest when it was looked up."""

from __future__ import annotations

from collections.abc import Callable

from sigtrace.model.finding import Verdict
from sigtrace.model.overview import Brief, Row, Snapshot
from sigtrace.sinks.overview.rows import brief_of
from sigtrace.tui.feed import Feed, Inside
from sigtrace.tui.lines import Line, wrapped
from sigtrace.tui.page import Reader
from sigtrace.tui.stories import container_story, verdict_story


def container_reader(feed: Feed, row: Row, newest: Callable[[], Snapshot | None]) -> Reader:
    """Its numbers go on; what is in it is looked up once, and with ``r`` again."""
    looked: list[tuple[list[Verdict], Inside]] = []

    def now() -> Row:
        snapshot = newest()
        return (snapshot and snapshot.row(row.workload.cgroup_id)) or row

    def load() -> None:
        looked.append((feed.verdicts(), feed.inside(now())))

    def write(width: int) -> list[Line]:
        snapshot = newest()
        verdicts, inside = looked[-1] if looked else ([], None)
        return container_story(now(), inside, verdicts, snapshot.wall_ns if snapshot else 0, width)

    return Reader(row.workload.title, write, load)


def verdict_reader(feed: Feed, brief: Brief) -> Reader:
    """In full, if it is still kept."""
    looked: list[list[Verdict]] = []

    def load() -> None:
        looked.append(feed.verdicts())

    def write(width: int) -> list[Line]:
        verdicts = looked[-1] if looked else []
        verdict = next((v for v in verdicts if brief_of(v).key == brief.key), None)
        if verdict is not None:
            return verdict_story(verdict, verdicts, width)
        told = [*wrapped(brief.whose, width, style="bold"), *wrapped(brief.text, width), [("", "")]]
        return [*told, [("it is no longer kept in full" if looked else "looking…", "dim")]]

    return Reader(f"{brief.whose} · {brief.code}", write, load)
