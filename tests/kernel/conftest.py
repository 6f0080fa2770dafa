"""What the kernel tests share: the program they send signals to, and the source that watches it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernel.targets import running
from tests.kernel.watcher import Watcher


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """target.c, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: install the package gcc")
    # A folder that another user can reach.
    path = tmp_path_factory.mktemp("target") / "target"
    source = Path(__file__).with_name("target.c")
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-pthread", "-o", path, source], check=True)
    return path


@pytest.fixture(scope="module")
def watch(bpf_host):
    """One source a module; what this process and its descendants do. Nothing may be lost."""
    watcher = Watcher()
    yield watcher
    lost = watcher.lost()
    watcher.close()
    assert not lost


@pytest.fixture
def run(watch, program):
    """``with run("init", "handler") as target``: see targets.running."""
    watch.drain()
    watch.events.clear()
    return lambda kind, *argv: running(watch, kind, program, *argv)
