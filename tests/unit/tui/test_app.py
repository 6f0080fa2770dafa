"""What keys and the mouse do, and what is drawn when something changes."""

import dataclasses

import pytest

from sigtrace.errors import RunError
from sigtrace.model.workload import Workload, WorkloadKind
from tests.unit.sinks.screen import harmless
from tests.unit.tui.scene import BRIEFS, EMPTY, LOST, PY, SNAPSHOT, Player, Scene

ROW = SNAPSHOT.rows[0]


def names(shown):
    """The rows of the table, by the name of their container."""
    lines = shown.lines()
    end = next(at for at, line in enumerate(lines) if line.startswith("──"))
    return [line[2:23].strip() for line in lines[2:end] if line.strip() and not line.startswith("no ")]


def under_cursor(shown):
    grid = shown.app.query_one("#containers")
    return shown.app.view.rows[grid.key].workload.container_name


def many(count):
    rows = []
    for n in range(count):
        workload = Workload(WorkloadKind.CONTAINER, n + 1, container_name=f"c{n:04}", asked=True)
        rows.append(dataclasses.replace(ROW, workload=workload))
    return dataclasses.replace(SNAPSHOT, rows=tuple(rows), briefs=())


def test_the_filter_works_as_you_type_and_escape_ends_it(show):
    async def scene(shown):
        found = []
        await shown.keys("slash", "s", "h")
        found.append(len(names(shown)))
        await shown.keys("o", "p")
        found.append(len(names(shown)))
        await shown.keys("backspace", "backspace", "backspace", "backspace", *"zz")
        found.append(len(names(shown)))
        await shown.keys("escape")
        return [*found, len(names(shown))]

    assert show(scene) == [1, 1, 0, 6]


def test_a_key_right_behind_the_one_that_closes_the_filter_is_for_the_containers(show):
    async def scene(shown):
        await shown.keys("slash", *"shop")
        await shown.pilot.press("enter", "enter")
        await shown.settle()
        return len(shown.app.screen_stack)

    assert show(scene) == 2


def test_keys_in_the_filter_are_text_and_sort_nothing(show):
    async def scene(shown):
        await shown.keys("slash", *"qsn?")
        return shown.text()

    text = show(scene)
    assert "/qsn?" in text
    assert "▼" in text


def test_what_is_held_does_not_change_until_it_goes_on(show):
    async def scene(shown):
        await shown.keys("p")
        await shown.news(EMPTY)
        held = len(names(shown))
        await shown.keys("p")
        return held, shown.text()

    held, after = show(scene)
    assert held == 6
    assert "no container is running" in after


def test_a_second_press_sorts_the_other_way_round(show):
    async def scene(shown):
        await shown.keys("n")
        first = names(shown)
        await shown.keys("n")
        second = names(shown)
        await shown.keys("r")
        return first, second, names(shown)

    first, second, third = show(scene)
    assert second == first[::-1]
    assert third == first


def test_the_cursor_stays_with_its_container_when_the_order_changes(show):
    async def scene(shown):
        await shown.keys("down", "down")
        before = under_cursor(shown)
        await shown.keys("n")
        return before, under_cursor(shown)

    before, after = show(scene)
    assert before == after == "worker"


def test_a_cursor_at_the_top_stays_at_the_top(show):
    async def scene(shown):
        await shown.keys("n")
        return under_cursor(shown), shown.app.query_one("#containers").cursor

    assert show(scene)[1] == 0


def test_the_cursor_finds_a_row_when_its_own_is_gone(show):
    async def scene(shown):
        await shown.keys("end")
        await shown.news(dataclasses.replace(SNAPSHOT, rows=SNAPSHOT.rows[:2]))
        await shown.keys("down")
        await shown.news(EMPTY)
        await shown.keys("down", "enter")
        return len(shown.app.screen_stack)

    assert show(scene) == 1


def test_a_long_list_scrolls_with_the_cursor_and_the_head_stays(show):
    async def scene(shown):
        await shown.news(many(1000))
        await shown.keys("end")
        last = names(shown)
        await shown.keys("home", "pagedown")
        return last, shown.lines()[1], names(shown), under_cursor(shown)

    last, head, page, cursor = show(scene)
    assert last[-1] == "c0999"
    assert "CONTAINER" in head
    assert cursor in page


def test_only_lines_that_changed_are_drawn(show):
    async def scene(shown):
        await shown.news(many(500))
        grid = shown.app.query_one("#containers")
        drawn = []
        render = grid.render_line
        grid.render_line = lambda y: drawn.append(y) or render(y)
        rows = list(shown.feed.snapshot.rows)
        rows[3] = dataclasses.replace(rows[3], signals=5, rate=5.0)
        await shown.news(dataclasses.replace(shown.feed.snapshot, rows=tuple(rows)))
        changed = drawn.copy()
        drawn.clear()
        await shown.news(dataclasses.replace(shown.feed.snapshot))
        return changed, drawn

    changed, same = show(scene)
    assert changed == [4]
    assert same == []


def test_a_click_moves_the_cursor_a_second_one_opens_and_one_on_the_head_sorts(show):
    async def scene(shown):
        await shown.pilot.click("#containers", offset=(5, 3))
        await shown.settle()
        cursor = under_cursor(shown)
        await shown.pilot.click("#containers", offset=(25, 0))
        await shown.settle()
        sort = shown.app.view.sort
        await shown.pilot.click("#containers", offset=(5, 4), times=2)
        await shown.settle()
        return cursor, sort, len(shown.app.screen_stack)

    cursor, sort, screens = show(scene)
    assert (cursor, sort, screens) == ("worker", "s", 2)


def test_a_click_on_a_key_does_what_the_key_does(show):
    async def scene(shown):
        await shown.pilot.click("#keys", offset=(1, 0))
        await shown.settle()
        return shown.text()

    assert "Columns" in show(scene)


def test_what_a_page_looks_up_in_vain_is_said_on_it(show):
    class Broken(Scene):
        def verdicts(self):
            raise RunError("the agent has ended", next_step="start it")

    async def scene(shown):
        await shown.keys("enter")
        return shown.text()

    assert "the agent has ended: start it" in show(scene, feed=Broken())


def test_a_page_looks_again_when_asked(show):
    async def scene(shown):
        await shown.keys("z", "enter", "r")
        return shown.feed.asked

    assert show(scene) == [PY.title] * 2


def test_the_numbers_on_a_page_go_on(show):
    async def scene(shown):
        await shown.keys("z", "enter")
        rows = [dataclasses.replace(row, signals=99_123) if row.workload is PY else row for row in SNAPSHOT.rows]
        await shown.news(dataclasses.replace(SNAPSHOT, rows=tuple(rows)))
        return shown.text()

    assert "99,123 signals" in show(scene)


def test_a_verdict_that_is_no_longer_kept_says_so(show):
    class Forgot(Scene):
        def verdicts(self):
            return []

    async def scene(shown):
        await shown.keys("tab", "enter")
        return shown.text()

    assert "no longer kept" in show(scene, feed=Forgot())


@pytest.mark.parametrize("key", ["slash", "t", "s", "p", "tab", "question_mark", "enter", "r", "f"])
def test_over_a_page_only_the_page_s_keys_work(show, key):
    async def scene(shown):
        await shown.keys("enter", key)
        open_pages = len(shown.app.screen_stack)
        await shown.keys("escape")
        return open_pages, shown.app.view.sort, shown.app.view.paused, len(shown.app.screen_stack)

    assert show(scene) == (2, "t", False, 1)


def test_a_lost_agent_is_said_at_the_top_and_unsaid_when_it_is_back(show):
    async def scene(shown):
        await shown.news(state="agent gone, trying again: it ended")
        away = shown.lines()[0]
        await shown.news(state="")
        return away, shown.lines()[0]

    away, back = show(scene)
    assert "agent gone, trying again" in away
    assert "agent gone" not in back


def test_before_the_first_snapshot_it_says_what_it_waits_for(show):
    async def scene(shown):
        waiting = shown.lines()[0]
        await shown.news(state="agent gone, trying again: no agent runs on this node")
        return waiting, shown.lines()[0]

    waiting, away = show(scene, feed=Scene(None))
    assert "starting" in waiting
    assert "agent gone" in away


def test_a_feed_that_failed_before_its_first_snapshot_ends_it(show):
    feed = Scene(None)
    found = []

    async def scene(shown):
        feed.failure = RunError("no backend")
        shown.app._poll()
        found.append(shown.app.failure)
        shown.app.failure = None

    show(scene, feed=feed)
    assert found == [feed.failure]


def test_keys_of_a_recording_reach_its_player(show):
    player = Player()

    async def scene(shown):
        await shown.keys("left", "right", "shift+right", "plus", "minus", "minus", "space")

    show(scene, feed=Scene(player=player))
    assert (player.sought, player.speed, player.paused) == ([-10, 10, 60], 2.0, True)


def test_losses_are_seen_on_every_screen_size(show):
    async def scene(shown):
        found = []
        for width in (60, 80, 200):
            await shown.pilot.resize_terminal(width, 24)
            await shown.settle()
            found.append("LOST 1,234" in shown.lines()[0])
        return found

    assert show(scene, feed=Scene(LOST)) == [True] * 3


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (20, 5), (40, 8), (300, 100)])
def test_it_can_be_resized_to_anything_and_back(show, size):
    async def scene(shown):
        before = shown.text()
        await shown.pilot.resize_terminal(*size)
        await shown.settle()
        await shown.keys("down", "up", "enter", "escape", "question_mark", "escape")
        await shown.pilot.resize_terminal(80, 24)
        await shown.settle()
        return before, shown.text()

    before, after = show(scene)
    assert before == after


HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "漢字" * 40,
    "e\u0301" * 100,
    "\u202eevil\u2066",
    "שלום עולם",
    "👩\u200d👩\u200d👧🇩🇪⌚\ufe0f",
    "a" * 4096,
    "[red]markup[/red]",
    "\u0301",
    "a\nb\rc\td",
]


@pytest.mark.parametrize("keys", [(), ("enter",), ("tab", "enter"), ("slash",)])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("width", [80, 121])
def test_hostile_text_breaks_no_column_and_reaches_no_terminal(show, text, keys, width):
    workload = dataclasses.replace(PY, container_name=text, pod=text, image=text, runtime=text)
    main = dataclasses.replace(SNAPSHOT.rows[3].main, argv=(text, text), comm=text)
    brief = dataclasses.replace(BRIEFS[0], whose=text, text=text, cgroup_id=PY.cgroup_id)
    row = dataclasses.replace(SNAPSHOT.rows[3], workload=workload, main=main, last=brief, outcome=text)
    snapshot = dataclasses.replace(SNAPSHOT, rows=(row,), briefs=(brief,), node=text, lost={text: 3})

    async def scene(shown):
        await shown.keys(*keys)
        return shown.lines(), [strip.cell_length for strip in shown.strips()]

    lines, widths = show(scene, width=width, feed=Scene(snapshot, state=text))
    assert widths == [width] * 24
    assert all(harmless(line) for line in lines)
    assert not any("שלום" in line for line in lines)


def test_what_to_do_stands_below_and_follows_the_cursor(show):
    async def scene(shown):
        first = shown.lines()[-2]
        await shown.keys("end")
        last = shown.lines()[-2]
        await shown.keys("tab", "down", "down")
        return first, last, shown.lines()[-2]

    first, last, verdict = show(scene)
    assert first.startswith("fix  exec form")
    assert last.startswith("Enter tells its story")
    assert verdict.startswith("fix  mend the crash")


def test_a_small_screen_has_no_line_to_spare_for_it(show):
    async def scene(shown):
        return shown.text()

    assert "fix" not in show(scene, 80, 15)
    assert "fix" in show(scene, 80, 16)


def test_where_the_command_line_chose_containers_that_is_said_when_none_is_there(show):
    async def scene(shown):
        shown.app._none = "no container matches --pod api"
        await shown.news(EMPTY)
        return shown.text()

    assert "no container matches --pod api" in show(scene)
