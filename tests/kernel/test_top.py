"""`top` on a real terminal (tmux), driven by keys, over containers of the lab."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time

import pytest

from sigtrace.lab.container import Container
from sigtrace.lab.folder import Folder

PATIENCE_S = 30.0
TOP = f"{sys.executable} -m sigtrace.cli.main top --local"
#: PID 1 in shell form, that hears nothing.
DEAF = ["sh", "-c", "sleep 3600; true"]
_MANY = "import os, time\nfor n in range(3):\n    if os.fork() == 0:\n        time.sleep(3600)\ntime.sleep(3600)\n"


class Tmux:
    """A server and a window of its own; ``until(text)`` gives what is seen once that is there."""

    def __init__(self, columns, lines):
        self._name = f"sigtrace-{os.getpid()}-{secrets.token_hex(3)}"
        self._run("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines), "sh")
        self._run("set", "-g", "escape-time", "0")
        self.resize(columns, lines)

    def _run(self, *words):
        command = ["tmux", "-L", self._name, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def seen(self):
        return self._run("capture-pane", "-p")

    def keys(self, *names):
        self._run("send-keys", *names)

    def text(self, text):
        self._run("send-keys", "-l", text)

    def until(self, *wanted):
        __tracebackhide__ = True
        end = time.monotonic() + PATIENCE_S
        while True:
            late = time.monotonic() > end
            seen = self.seen()
            if all(re.search(one, seen) for one in wanted):
                return seen
            if late:
                pytest.fail(f"waited {PATIENCE_S:g} s for {wanted}; seen:\n{seen}")
            time.sleep(0.02)

    def resize(self, columns, lines):
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def close(self):
        subprocess.run(["tmux", "-L", self._name, "kill-server"], check=False, capture_output=True)


@pytest.fixture(params=[(80, 24), (120, 40)], ids=["80x24", "120x40"])
def tmux(request):
    if shutil.which("tmux") is None:
        pytest.skip("no tmux: install the package tmux")
    window = Tmux(*request.param)
    yield window
    window.close()


@pytest.fixture
def box():
    """A container that runs, with a name of its own."""
    opened = []

    def start(argv, ready=b""):
        name = f"top-{secrets.token_hex(2)}"
        container = Container(name)
        opened.append(container)
        container.__enter__()
        container.start(argv)
        container.wait_ready(ready, asleep=not ready)
        return name, container

    yield start
    for container in reversed(opened):
        container.__exit__(None, None, None)


def started(tmux, options=""):
    tmux.text(f"{TOP} {options}; echo STATUS=$?")
    tmux.keys("Enter")
    return tmux.until("sigtrace top", "quit", "containers?", "capture/bpf")


def only(tmux, name):
    """The filter, typed."""
    tmux.text("/")
    tmux.until("(?m)^/")
    tmux.text(name)
    tmux.until(f"(?m)^/{name}", r"1 of \d+ container")
    tmux.keys("Enter")
    return tmux.until(f"filter: {name}")


def test_a_stop_that_ends_in_sigkill_is_seen_opened_and_explained(tmux, box):
    name, container = box(DEAF)
    started(tmux)
    only(tmux, name)
    container.stop(0.2)
    tmux.until(f"✗ {name} +gone", "escalated", "SIGKILL after \\d+\\.\\d s: it never heard SIGTERM", "fix  exec form")
    tmux.keys("Enter")
    story = tmux.until("── shutdown", "T━+K", "never told", "sh -c")
    assert "it never heard SIGTERM" in story
    tmux.keys("Escape")
    tmux.until("q quit")
    tmux.keys("Tab", "Enter")
    tmux.until("SIGKILL after \\d+\\.\\d s", "who ended when|exit 137")
    tmux.keys("End")
    tmux.until("explain .*shell-form", "exec form")
    tmux.keys("Escape")
    tmux.until("q quit")
    tmux.text("q")
    after = tmux.until("STATUS=0")
    assert "── verdicts" not in after


def test_a_container_that_runs_shows_its_audit_and_its_processes(tmux, box):
    with Folder({"app.py": _MANY}) as folder:
        name, container = box([os.path.realpath(sys.executable), str(folder / "app.py")])
        started(tmux)
        only(tmux, name)
        tmux.keys("Enter")
        tmux.until("PID 1 .*app.py", "handles +INT", "SIGTERM would be dropped", "4 processes")
        tmux.keys("End")
        tmux.until(rf"{container.init_pid}")
        tmux.keys("C-c")
        tmux.until("STATUS=0")


@pytest.mark.parametrize("tmux", [(80, 24)], ids=["80x24 and 120x40"], indirect=True)
def test_zombies_are_counted_and_the_parent_that_owes_the_wait_is_named(tmux, box):
    """In one window that is made larger: it takes ten seconds until they are told."""
    program = "import os, time\nfor n in range(5):\n    if os.fork() == 0:\n        os._exit(0)\ntime.sleep(3600)\n"
    with Folder({"app.py": program}) as folder:
        name, _ = box([os.path.realpath(sys.executable), str(folder / "app.py")])
        started(tmux)
        only(tmux, name)
        tmux.keys("Enter")
        tmux.until("zombies, by who owes the wait|SIGTERM would be")
        tmux.keys("End")
        debt = r"5 \(python3?[.\d]*\): PID 1 does not wait for them"
        tmux.until(debt)
        tmux.keys("Escape")
        tmux.until("q quit")
        tmux.text("z")
        tmux.until(rf"! {name}.* 5 ")
        tmux.resize(120, 40)
        tmux.until(rf"! {name}.* 5 ", "r reverse")
        tmux.keys("Enter")
        tmux.until("zombies, by who owes the wait", debt)
        tmux.keys("Escape")
        tmux.until("q quit")
        tmux.text("q")
        tmux.until("STATUS=0")


def test_signals_a_second_are_what_was_sent(tmux, box):
    name, container = box(DEAF)
    started(tmux)
    only(tmux, name)
    end = time.monotonic() + PATIENCE_S
    while not re.search(rf"{name} +[1-9]\d*", tmux.seen()):
        assert time.monotonic() < end
        for _ in range(50):
            os.kill(container.init_pid, signal.SIGURG)
    tmux.text("q")
    tmux.until("STATUS=0")


def test_it_is_stopped_and_goes_on_and_lives_through_resizing(tmux):
    started(tmux)
    tmux.keys("C-z")
    tmux.until("Stopped|[Ss]uspended|Done|\\[1\\]")
    tmux.text("fg")
    tmux.keys("Enter")
    tmux.until("── verdicts", "quit")
    tmux.resize(60, 15)
    tmux.until(r"── verdicts ─+(?m:$)", r"Tab verdicts(?m:$)")
    tmux.resize(160, 30)
    tmux.until("RUNTIME", "── verdicts", "r reverse")
    tmux.text("q")
    after = tmux.until("Stopped", r"(?m)^\S*[#$] *$")
    assert "── verdicts" not in after


def test_once_shows_what_runs_as_text_and_as_json(box):
    name, _ = box(DEAF)
    command = [*TOP.split(), "--once"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert name in ran.stdout
    ran = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=False, timeout=60)
    snapshot = json.loads(ran.stdout)
    (row,) = [row for row in snapshot["rows"] if (row["workload"].get("cgroup") or "").endswith(name)]
    assert row["main"]["argv"] == DEAF
    assert snapshot["rate"] >= 0


def test_a_choice_that_matches_nothing_says_so():
    command = [*TOP.split(), "--once", "--pod", f"nobody-{os.getpid()}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"no container matches --pod nobody-{os.getpid()}" in ran.stdout
    assert "no container is running" not in ran.stdout
