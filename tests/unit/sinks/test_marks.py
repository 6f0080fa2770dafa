"""Which way each verdict went, kept for the agent that comes next."""

import os
import threading

import pytest

from sigtrace.sinks import marks as module
from sigtrace.sinks.marks import Marks, Way, key_of
from tests.unit.detectors.events import S
from tests.unit.sinks.test_once import BOOT, verdicts


@pytest.fixture
def said():
    return []


@pytest.fixture
def marks(tmp_path, said):
    """Opens the marks of an agent; closed at the end."""
    opened = []

    def start(boot=BOOT, *, resumed=True):
        one = Marks(str(tmp_path / "told"), boot, said.append)
        opened.append(one)
        one.before = dict(one.open(resumed=resumed))
        return one

    yield start
    for one in opened:
        one.close()


VERDICTS = verdicts(100 * S)
KEYS = [key_of(BOOT, verdict) for verdict in VERDICTS]


def test_each_way_is_marked_by_itself_and_the_next_agent_knows_all(marks):
    first = marks()
    first.add(VERDICTS, Way.TOLD)
    first.add(VERDICTS[:1], Way.SENT)
    first.add(VERDICTS[1:2], Way.COUNTED)
    second = marks()  # nobody closed the first: it was killed
    assert second.before == {
        KEYS[0]: Way.TOLD | Way.SENT,
        KEYS[1]: Way.TOLD | Way.COUNTED,
        **dict.fromkeys(KEYS[2:], Way.TOLD),
    }
    assert marks().before == second.before


def test_marks_of_another_boot_or_of_pins_that_were_replaced_are_none(marks):
    marks().add(VERDICTS, Way.TOLD)
    assert marks("another").before == {}
    marks().add(VERDICTS, Way.TOLD)
    assert marks(resumed=False).before == {}


def test_a_line_that_was_not_wholly_written_costs_no_other(marks, tmp_path):
    marks().add(VERDICTS, Way.TOLD)
    with open(tmp_path / "told", "ab") as file:
        file.write(b"0123")
    assert set(marks().before) == set(KEYS)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"marks " + BOOT.encode() + b"\n" + b"f" * 99 + b" 9\n\n 1\n"])
def test_a_file_that_holds_anything_else_holds_no_marks(marks, tmp_path, content):
    (tmp_path / "told").write_bytes(content)
    assert marks().before == {}


def test_a_link_is_not_followed(marks, tmp_path):
    (tmp_path / "secret").write_text(f"marks {BOOT}\n{KEYS[0]} 1\n")
    os.symlink(tmp_path / "secret", tmp_path / "told")
    assert marks().before == {}
    assert (tmp_path / "secret").read_text().endswith(" 1\n")


def test_the_file_and_the_memory_are_bounded(marks, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOM", 20)
    monkeypatch.setattr(module, "_LINES_MAX", 40)
    one = marks()
    made = [v for n in range(1, 60) for v in verdicts(n * S, n)]
    for verdict in made:
        one.add([verdict], Way.TOLD)
    assert (tmp_path / "told").read_bytes().count(b"\n") <= 42
    assert list(marks().before)[-20:] == [key_of(BOOT, v) for v in made[-20:]]


def test_a_disk_that_takes_nothing_is_told_once_and_holds_up_nobody(marks, tmp_path, said):
    one = marks()
    os.mkdir(tmp_path / "told.new")
    one.close()
    one = Marks(str(tmp_path / "told"), BOOT, said.append)
    one.open(resumed=True)
    one.add(VERDICTS, Way.TOLD)
    one.add(VERDICTS, Way.SENT)
    assert len(said) == 1
    assert "an agent after this one may tell verdicts again" in said[0]
    os.rmdir(tmp_path / "told.new")
    one.add(VERDICTS[:1], Way.COUNTED)
    one.close()
    assert marks().before == {KEYS[0]: 7, **dict.fromkeys(KEYS[1:], 3)}


def test_without_pins_there_is_no_file(tmp_path, said):
    one = Marks(None, BOOT, said.append)
    assert one.open(resumed=True) == {}
    one.add(VERDICTS, Way.TOLD)
    assert os.listdir(tmp_path) == []


def test_threads_that_mark_at_once_lose_nothing(marks):
    one = marks()
    made = [v for n in range(1, 40) for v in verdicts(n * S, n)]
    threads = [threading.Thread(target=lambda w=way: [one.add([v], w) for v in made]) for way in Way]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert marks().before == {key_of(BOOT, v): 7 for v in made}
