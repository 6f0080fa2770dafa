"""Real container runtimes, each of the tests' own: a second for each module, and gone when others count signals."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.containers.containerd import containerd
from tests.containers.podman import podman


def pytest_runtest_setup(item):
    if os.geteuid() != 0:
        pytest.skip("needs root: run `sudo make test`")


@pytest.fixture(scope="session")
def short_folder():
    """Makes folders with short names, because of sockets; in memory, because runtimes sync what they write, and these
    tests would wait for the disk."""
    made = []

    def make() -> Path:
        made.append(tempfile.mkdtemp(prefix="stc-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "sigtrace-tests", made[-1]], check=True)
        return Path(made[-1])

    yield make
    for folder in made:
        subprocess.run(["umount", "-l", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cri(short_folder):
    """A containerd, see containerd.py. What a test starts in it ends with its module, at the latest."""
    with containerd(short_folder()) as one:
        yield one


@pytest.fixture(scope="module")
def pods(short_folder):
    """A Podman, see podman.py."""
    with podman(short_folder()) as one:
        yield one
