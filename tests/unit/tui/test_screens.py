"""Each screen, cell for cell, on a small and on a larger terminal (tests/unit/tui/screens)."""

import dataclasses

import pytest

from tests.unit.tui.scene import EMPTY, LOST, SNAPSHOT, Player, Scene

SIZES = [(80, 24), (120, 40), (200, 50)]
#: name → (keys, snapshot, why nothing new comes, whether it is a recording)
MODES = {
    "table": ((), SNAPSHOT, "", False),
    "empty": ((), EMPTY, "", False),
    "lost": ((), LOST, "", False),
    "away": ((), SNAPSHOT, "agent gone, trying again: no agent runs on this node", False),
    "held": (("p",), SNAPSHOT, "", False),
    "sorted": (("s", "down"), SNAPSHOT, "", False),
    "typing": (("slash", *"shop"), SNAPSHOT, "", False),
    "filtered": (("slash", *"jobs", "enter"), SNAPSHOT, "", False),
    "replay": ((), dataclasses.replace(SNAPSHOT, source="replay", backend="", rate=None), "", True),
    "help": (("question_mark",), SNAPSHOT, "", False),
    "shutdown": (("e", "enter"), SNAPSHOT, "", False),
    "container": (("z", "enter"), SNAPSHOT, "", False),
    "verdict": (("tab", "enter"), SNAPSHOT, "", False),
    "evidence": (("tab", "enter", "end"), SNAPSHOT, "", False),
}


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_the_screen_shows_what_it_did_when_somebody_looked_at_it(mode, width, height, show, same):
    keys, snapshot, state, recording = MODES[mode]

    async def scene(shown):
        await shown.keys(*keys)
        return shown.text()

    feed = Scene(snapshot, state, Player() if recording else None)
    same(f"{mode}-{width}x{height}", show(scene, width, height, feed))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (20, 6), (250, 60)])
@pytest.mark.parametrize("mode", ["table", "lost", "away", "container", "verdict", "help"])
def test_every_line_is_as_wide_as_the_terminal(mode, width, height, show):
    keys, snapshot, state, _ = MODES[mode]

    async def scene(shown):
        await shown.keys(*keys)
        return [strip.cell_length for strip in shown.strips()]

    assert show(scene, width, height, Scene(snapshot, state)) == [width] * height
