"""`top` on a real terminal: how it ends, what it writes there. A recording feeds it, so that no privilege is needed."""

import re
import signal
import time
from pathlib import Path

import pytest

from tests.unit.tui.terminal import Terminal

RECORDING = str(Path(__file__).parents[2] / "data" / "recordings" / "prefork.sigtrace")
REPLAY = ("top", "--replay", RECORDING)
READY = b"help"


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_with_0_and_gives_the_terminal_back(end):
    with Terminal(*REPLAY) as terminal:
        terminal.until(READY)
        if isinstance(end, str):
            terminal.type(end.encode())
        else:
            terminal.process.send_signal(end)
        assert terminal.ended() == 0
        assert terminal.is_restored()


def test_it_ends_by_itself_when_its_time_is_over():
    with Terminal(*REPLAY, "--duration", "0.5") as terminal:
        terminal.until(READY)
        assert terminal.ended() == 0
        assert terminal.is_restored()


@pytest.mark.parametrize("end", ["q", signal.SIGTERM])
def test_it_ends_from_a_page_and_from_the_filter_as_well(end):
    with Terminal(*REPLAY, "--speed", "1000") as terminal:
        at = terminal.until(b"prefork")
        terminal.type(b"?")
        at = terminal.until(b"Columns", at)
        if end == "q":
            terminal.type(b"q")  # leaves the page
            at = terminal.until(b"prefork", at)
            terminal.type(b"/no/fsuch")
            terminal.until(b"no/fsuch", at)
            terminal.type(b"\x03")
        else:
            terminal.process.send_signal(end)
        assert terminal.ended() == 0
        assert terminal.is_restored()


def test_keys_that_come_at_once_with_the_one_that_opens_the_filter_are_its_text():
    with Terminal(*REPLAY, "--speed", "1000") as terminal:
        at = terminal.until(b"prefork")
        terminal.type(b"/no/fsuch")
        terminal.until(b"no/fsuch", at)
        terminal.until(b"no container matches the filter", at)
        terminal.type(b"\x03")
        assert terminal.ended() == 0


@pytest.mark.parametrize("nohup", [False, True])
def test_it_ends_when_its_terminal_is_closed(nohup):
    with Terminal(*REPLAY, nohup=nohup) as terminal:
        terminal.until(READY)
        terminal.close()
        assert terminal.ended() in (0, 4)


def test_what_is_no_terminal_is_refused_with_what_to_do_instead():
    import subprocess
    import sys

    ran = subprocess.run(
        [sys.executable, "-m", "sigtrace.cli.main", *REPLAY],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--once" in ran.stderr


COLOUR = re.compile(rb"\x1b\[[0-9;]*?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


@pytest.mark.parametrize("term", ["linux", "xterm", "screen", "xterm-256color", "xterm-direct"])
def test_it_keeps_to_the_terminal_s_own_colours(term):
    with Terminal(*REPLAY, env={"TERM": term, "NO_COLOR": None, "COLORTERM": "truecolor"}) as terminal:
        terminal.until(b"prefork")
        terminal.type(b"q")
        terminal.ended()
    told = [code for code in COLOUR.findall(terminal.written) if b"39" not in code and b"49" not in code]
    assert told
    assert b"38;2;" not in terminal.written
    assert b"48;2;" not in terminal.written


def test_it_writes_no_colour_if_asked_for_none():
    with Terminal(*REPLAY, env={"NO_COLOR": "1"}) as terminal:
        terminal.until(b"prefork")
        terminal.type(b"q")
        terminal.ended()
    codes = re.findall(rb"\x1b\[([0-9;]*)m", terminal.written)
    numbers = {int(n) for code in codes for n in code.split(b";") if n}
    assert not numbers & ({*range(30, 39), *range(40, 49), *range(90, 108)})


def test_a_recording_is_held_sped_up_and_sought_in():
    with Terminal(*REPLAY, "--speed", "64") as terminal:
        at = terminal.until("×64".encode())
        terminal.type(b"p")
        at = terminal.until(b"held", at)
        terminal.type(b"-")
        at = terminal.until("×32".encode(), at)
        terminal.type(b"p\x1b[D")
        at = terminal.until(b" s", at)
        terminal.type(b"q")
        assert terminal.ended() == 0


def test_a_damaged_recording_shows_what_is_whole_and_says_where_it_ends(tmp_path):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(Path(RECORDING).read_bytes()[:-40])
    with Terminal("top", "--replay", str(damaged), "--speed", "1000", columns=160) as terminal:
        terminal.until(b"offset")
        terminal.type(b"q")
        assert terminal.ended() == 0


def test_the_first_frame_comes_and_it_is_measured(record_property):
    began = time.monotonic()
    with Terminal(*REPLAY) as terminal:
        terminal.until(READY)
        record_property("first_frame_s", round(time.monotonic() - began, 3))
        terminal.type(b"q")
        assert terminal.ended() == 0
