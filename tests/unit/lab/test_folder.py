"""The folder of a scenario: gone when it is closed, and swept when everybody who should have removed it was killed."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from sigtrace.lab import folder
from sigtrace.lab.folder import Folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """All of it happens here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(place, name, mode=0o700, age_s=3600.0):
    """A folder as a lab that was killed leaves it."""
    path = place / name
    path.mkdir()
    path.chmod(mode)
    (path / "app.py").write_text("")
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path


def test_a_folder_is_gone_when_it_is_closed(place):
    with Folder({"run.sh": "#!/bin/sh\n"}) as path:
        assert os.access(path / "run.sh", os.X_OK)
    assert list(place.iterdir()) == []


def test_what_a_killed_lab_left_is_removed_by_the_next(place):
    gone = left(place, "sigtrace-lab-x")
    with Folder({}) as path:
        assert not gone.exists()
        assert path.exists()


def test_a_folder_in_use_is_left_alone_however_old_it_is(place):
    with Folder({}) as path:
        os.utime(path, (0, 0))
        folder.sweep()
        assert path.exists()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("name", "mode", "age_s"), [
    ("sigtrace-lab-x", 0o700, 1.0),
    ("sigtrace-lab-x", 0o755, 3600.0),
    ("sigtrace-lab", 0o700, 3600.0),
    ("other", 0o700, 3600.0),
])  # fmt: skip
def test_what_is_not_surely_a_dead_lab_s_stays(place, name, mode, age_s):
    path = left(place, name, mode, age_s)
    folder.sweep()
    assert (path / "app.py").exists()


def test_a_link_is_not_followed(place):
    target = left(place, "mine")
    Path(place / "sigtrace-lab-x").symlink_to(target)
    folder.sweep()
    assert (target / "app.py").exists()
