"""What the tests of the screens share: the app in a terminal that is none, and what it shows."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.unit.tui.scene import Scene

SCREENS = Path(__file__).with_name("screens")


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Local time is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Shown:
    """The app while it runs: ``await keys("down", "enter")``; ``text()`` is what a person sees."""

    def __init__(self, app, pilot, feed):
        self.app = app
        self.pilot = pilot
        self.feed = feed

    def strips(self):
        return self.app.screen._compositor.render_strips(self.app.size)

    def lines(self):
        return ["".join(segment.text for segment in strip) for strip in self.strips()]

    def text(self):
        return "".join(f"{line.rstrip()}\n" for line in self.lines())

    async def keys(self, *names):
        for name in names:
            await self.pilot.press(name)
        await self.settle()

    async def news(self, snapshot=None, state=None):
        """The feed has something new, and it was asked."""
        self.feed.snapshot = snapshot or self.feed.snapshot
        self.feed.state = self.feed.state if state is None else state
        self.app._poll()
        await self.settle()

    async def settle(self):
        """All messages are handled, and what a page looks up has come."""
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()


@pytest.fixture
def show():
    """``show(async function, width, height, feed)``: the function gets what is shown."""
    from sigtrace.tui.app import Top

    def run(scene, width=80, height=24, feed=None):
        feed = feed or Scene()
        found = []

        async def main():
            app = Top(feed)
            async with app.run_test(size=(width, height)) as pilot:
                shown = Shown(app, pilot, feed)
                await shown.news()
                found.append(await scene(shown))
            assert app.failure is None, app.failure

        asyncio.run(main())
        return found[0]

    return run


@pytest.fixture
def same():
    """Compares with the file of that name; SIGTRACE_UPDATE_SCREENS=1 writes it anew."""

    def compare(name, text):
        path = SCREENS / f"{name}.txt"
        if os.environ.get("SIGTRACE_UPDATE_SCREENS") == "1":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path.name} shows something else"

    return compare
