"""The table's cells: how wide, what is cut, in which order."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.model import codes
from sigtrace.model.overview import Brief
from sigtrace.tui import cells
from sigtrace.tui.cells import COLUMNS, SORTS, Layout, age, chosen, number, ordered, spark, title
from sigtrace.tui.header import header, losses
from sigtrace.tui.help import help_lines
from sigtrace.tui.lines import fit, length, of_ansi, plain, width_of, wrapped
from sigtrace.tui.mend import mend, mend_row
from sigtrace.tui.stories import container_story
from tests.unit.sinks.screen import harmless
from tests.unit.tui.scene import BATCH, BRIEFS, CACHE, LOST, NOW, PLAIN, PY, SECOND, SHOP, SNAPSHOT, WEB

NASTY = st.text(max_size=60) | st.sampled_from(
    [
        "\x1b[2J",
        "a\u0301" * 40,
        "漢字" * 20,
        "\u202eevil",
        "שלום",
        "👩\u200d👩\u200d👧",
        "🇩🇪🇫🇷",
        "\u0301first",
        "각",
        "⌚\ufe0f",
        "x" * 4096,
    ]
)


@given(NASTY, st.integers(1, 90), st.booleans())
def test_what_is_fitted_has_exactly_its_width_and_moves_no_cursor(text, width, right):
    fitted = fit(text, width, right=right)
    assert width_of(fitted) == width
    assert harmless(fitted)


@given(NASTY, st.integers(12, 90))
def test_wrapped_text_is_no_wider_than_its_page(text, width):
    assert all(length(line) <= width for line in wrapped(text, width, 4, "x"))


@given(NASTY)
def test_a_painted_line_is_as_harmless_as_any(text):
    assert harmless(plain(of_ansi(text)))


@given(st.floats(0, 1e12))
def test_a_number_takes_five_columns_at_most(value):
    assert len(number(value)) <= 5 or value >= 1e12


@given(st.floats(-10, 1e9))
def test_an_age_takes_four_columns_at_most(seconds):
    assert len(age(seconds)) <= 4


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, ""), (0.01, ""), (0.4, "0.4"), (7, "7"), (9_999, "9999"), (12_345, "12.3k"), (999_999, "1.0M"), (4.5e9, "4G")],
)
def test_numbers_are_short(value, shown):
    assert number(value) == shown


@given(st.lists(st.integers(0, 1 << 40), max_size=40), st.integers(1, 40))
def test_a_sparkline_shows_the_newest_and_the_highest_as_a_full_bar(history, width):
    bars = spark(history, width)
    assert width_of(bars) == width
    if max(history[-width:], default=0) > 8:
        assert "█" in bars


@given(NASTY, NASTY, st.integers(12, 80))
def test_a_title_that_is_cut_keeps_some_of_pod_and_name(pod, name, width):
    assert width_of(title(f"{pod} · {name}", width)) == width


def test_a_long_pod_leaves_the_container_s_name():
    assert title("default/api-7d9f4c5b6-x2x9z · web", 20).endswith(" · web")


@pytest.mark.parametrize("width", [20, 40, 79, 80, 95, 96, 107, 108, 119, 120, 139, 140, 150, 200, 500])
def test_columns_fill_the_screen_and_no_more(width):
    layout = Layout.of(width)
    expected = max(width, length(Layout.of(20).head("t", reverse=False)))
    for line in [layout.head("t", reverse=True), *(layout.row(row, NOW) for row in SNAPSHOT.rows)]:
        assert length(line) == (width if width >= 70 else expected)


def test_a_place_on_the_screen_is_a_column():
    layout = Layout.of(80)
    assert [layout.column_at(x).key for x in (0, 2, 79)] == ["t", "n", "l"]
    assert layout.column_at(500) is None


def titles(sort, reverse=False):
    return [row.workload for row in ordered(SNAPSHOT.rows, sort, reverse=reverse)]


def test_trouble_comes_first():
    assert titles("t") == [WEB, SHOP, PY, BATCH, CACHE, PLAIN]
    assert titles("t", reverse=True) == titles("t")[::-1]


def test_verdicts_of_the_same_minute_do_not_throw_the_rows_about():
    def row(number, seconds, **counts):
        last = dataclasses.replace(BRIEFS[0], wall_ns=NOW - NOW % (60 * SECOND) + int(seconds * SECOND))
        workload = dataclasses.replace(WEB, cgroup_id=number)
        more = {"ended_wall_ns": 0} | counts
        return dataclasses.replace(SNAPSHOT.rows[1], workload=workload, last=last, **more)

    first, second = row(1, 1, dropped=9), row(2, 59)
    assert ordered([second, first], "t", reverse=False) == [first, second]
    assert ordered([row(3, 61), first], "t", reverse=False)[0].workload.cgroup_id == 3
    gone = row(4, 59, dropped=99, ended_wall_ns=NOW)
    assert ordered([gone, first], "t", reverse=False) == [first, gone]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_container_that_is_gone_says_so_at_any_width_and_the_header_counts_it(width):
    told = {row.workload: plain(Layout.of(width).row(row, NOW)) for row in SNAPSHOT.rows}
    assert [workload for workload, line in told.items() if " gone " in line] == [WEB, BATCH]
    assert "4 containers, 2 gone" in plain(header(SNAPSHOT, width))
    assert "  1 container  " in plain(header(dataclasses.replace(SNAPSHOT, rows=SNAPSHOT.rows[:1]), width))


def test_what_nobody_counts_is_a_dash_and_not_nothing():
    row = dataclasses.replace(SNAPSHOT.rows[2], signals=None, exits=None, rate=None, history=())
    line = plain(Layout.of(200).row(row, NOW))
    assert line.count(" – ") == 2
    assert ordered([SNAPSHOT.rows[0], row], "s", reverse=False) == [SNAPSHOT.rows[0], row]
    story = " ".join(plain(line) for line in container_story(row, None, [], NOW, 80))
    assert "not counted by this backend" in story


@pytest.mark.parametrize("code", [code for code in codes.CODES if code != "events-lost"])
def test_the_word_for_a_finding_fits_where_its_code_does_not(code):
    last = dataclasses.replace(BRIEFS[0], code=code, shutdown=False)
    row = dataclasses.replace(SNAPSHOT.rows[2], last=last)
    assert "…" not in cells.last_of(row, NOW, 14)
    assert cells.last_of(row, NOW, 29).startswith(code)


def test_what_to_do_about_a_stop_is_what_its_finding_says():
    stopped, dropped, masked, zombies, done = BRIEFS
    assert mend(stopped, BRIEFS) == codes.advice("signal-dropped", "shell-form")
    assert (
        mend(stopped, [dataclasses.replace(dropped, cgroup_id=7)])
        == codes.OUTCOMES["escalated"].causes["dropped"].advice
    )
    assert mend(masked, BRIEFS) == codes.advice("crash-masked", "supervisor-restarts")
    assert mend(zombies, ()) == codes.advice("zombie-unreaped", "pid1-does-not-reap")
    assert mend(done, BRIEFS) == ""
    assert mend(stopped, [dataclasses.replace(dropped, advice="another")]) == "another"
    killed = dataclasses.replace(dropped, code="killed", cause="grace-expired")
    assert mend(stopped, [killed]) == codes.OUTCOMES["escalated"].causes["dropped"].advice
    assert mend(stopped, [dataclasses.replace(killed, advice="another")]) == "another"
    assert mend(stopped, [dataclasses.replace(killed, advice="another"), dropped]) == mend(dropped, ())
    ended = dataclasses.replace(SNAPSHOT.rows[2], last=dataclasses.replace(done, cgroup_id=masked.cgroup_id))
    assert mend_row(ended, BRIEFS) == mend(masked, ())
    assert mend_row(SNAPSHOT.rows[0], BRIEFS) == ""
    assert mend(dataclasses.replace(dropped, code="of a later version"), ()) == ""


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("n", CACHE),
        ("s", SHOP),
        ("d", WEB),
        ("e", WEB),
        ("k", WEB),
        ("m", SHOP),
        ("z", PY),
        ("o", PY),
        ("l", WEB),
        ("x", PY),
    ],
)
def test_each_key_sorts_by_its_column_the_most_first(key, first):
    found = titles(key)
    assert found[0] is first or (key == "n" and found == sorted(found, key=lambda workload: workload.title))


def test_every_column_with_a_name_has_a_key_of_its_own_that_nothing_else_takes():
    keys = [column.key for column in COLUMNS if column.key]
    assert len(set(keys)) == len(keys) == len(SORTS)
    assert not set(keys) & set("qpr?/f")
    assert all(column.key for column in COLUMNS if column.head)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", 6),
        ("shop", 1),
        ("SHOP app", 1),
        ("default", 4),
        ("podman", 1),
        ("escalated", 1),
        ("dropped", 1),
        ("0202", 1),
        ("nothing", 0),
    ],
)
def test_a_filter_looks_at_names_ids_runtimes_and_verdicts(words, found):
    assert len(chosen(SNAPSHOT, words.casefold().split())) == found


@pytest.mark.parametrize("width", [10, 40, 60, 80, 120])
def test_losses_and_a_lost_connection_stay_in_the_header_whatever_the_width(width):
    told = plain(header(LOST, width, state="agent gone"))
    assert width_of(told) == width
    assert "agent" in told or width < 20
    assert "LOST" in told or width < 50


def test_no_loss_is_no_word():
    assert losses(SNAPSHOT) == ""
    assert losses(LOST) == "LOST 1,234 (ring-full 1,200, rate-limited 34)"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_help_fits_its_page_and_names_every_key(width):
    lines = help_lines(width, player=True)
    assert all(length(line) <= max(width, 26) for line in lines)
    told = " ".join(plain(line) for line in lines)
    assert all(f" {key} " in told for key in SORTS)


def test_a_verdict_line_shows_whose_and_what():
    width = 80
    brief = Brief(
        1, NOW - 61 * SECOND, "killed", "manual", None, "default/x-123456789012345678 · web", "SIGKILL from …"
    )
    line = plain(cells.brief_line(brief, NOW, width))
    assert width_of(line) == width
    assert "61s" in line
    assert "· web" in line


def test_a_row_of_hostile_text_is_as_wide_as_any():
    width = 100
    workload = dataclasses.replace(
        WEB, container_name="\x1b]0;x\x07漢\u0301\u0301\u0301\u202e", pod="שלום", namespace="🇩🇪"
    )
    row = dataclasses.replace(SNAPSHOT.rows[1], workload=workload)
    line = Layout.of(width).row(row, NOW)
    assert length(line) == width
    assert harmless(plain(line))
