"""A tracing backend that is not ours: Arize Phoenix shows the tree with the right parents, times and status.

It is large, and wants a Python of its own: the test makes a virtual environment for it in a cache folder, once
(SIGTRACE_TEST_CACHE, else ~/.cache/sigtrace-tests).
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest

from tests.receivers.rotel import free_port
from tests.receivers.sending import sending
from tests.unit.detectors.events import MS, WALL, S

pytestmark = pytest.mark.prove
VERSION = "20.26.1"
#: What an ISO time of theirs can tell apart.
_US = 1000


def _python():
    """The interpreter that has Phoenix; made if it is not there."""
    cache = Path(os.environ.get("SIGTRACE_TEST_CACHE") or Path.home() / ".cache" / "sigtrace-tests")
    folder = cache / f"phoenix-{VERSION}"
    python = folder / "bin" / "python"
    done = folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet", f"arize-phoenix=={VERSION}"]
        found = subprocess.run(install, capture_output=True, text=True, check=False)
        if found.returncode:
            pytest.skip(f"Phoenix cannot be installed: {found.stderr[-300:]}")
        done.touch()
    return python


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory, wait_until):
    """Its URL."""
    folder, python = tmp_path_factory.mktemp("phoenix"), _python()
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PHOENIX_", "OTEL_"))},
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [python, "-m", "phoenix.server.main", "serve"], env=environment, stdout=out, stderr=out, cwd=folder
        )
    url = f"http://127.0.0.1:{port}"
    try:

        def up():
            assert server.poll() is None, log.read_text(errors="replace")[-2000:]
            try:
                return get(f"{url}/healthz") is not None
            except OSError:
                return False

        wait_until(up, timeout=120)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def spans_of(url):
    try:
        return json.loads(get(f"{url}/v1/projects/default/spans?limit=1000"))["data"]
    except urllib.error.HTTPError:
        return []  # no project yet


def ns(text):
    at = datetime.fromisoformat(text)
    return int(at.timestamp()) * S + at.microsecond * _US


def test_it_shows_the_tree_as_it_was_and_once_however_often_it_is_sent(phoenix, wait_until):
    for _ in range(2):  # as after a restart, or a replay
        with sending(phoenix) as sender:
            for n in range(3):
                sender.stop_one(n)
            wait_until(lambda sender=sender: sender.tally.exported == 9, timeout=60)
    wait_until(lambda: len(spans_of(phoenix)) >= 9, timeout=60)
    spans = spans_of(phoenix)
    assert len(spans) == 9
    roots = {span["context"]["span_id"]: span for span in spans if span["parent_id"] is None}
    assert [root["name"] for root in roots.values()] == ["container.shutdown"] * 3
    assert len({root["context"]["trace_id"] for root in roots.values()}) == 3
    for root in roots.values():
        assert (ns(root["start_time"]), ns(root["end_time"])) == (WALL + S + MS, WALL + 3 * S + 2 * MS + 10 * _US)
        assert (root["status_code"], root["attributes"]["sigtrace.outcome"]) == ("ERROR", "escalated")
        assert root["status_message"] == "SIGKILL after 2.0 s: it never heard SIGTERM"
        sent = [event for event in root["events"] if event["name"] == "sigtrace.signal.generate"]
        assert [event["attributes"]["sigtrace.signal.name"] for event in sent] == ["SIGTERM", "SIGKILL"]
    children = [span for span in spans if span["parent_id"] is not None]
    for child in children:
        parent = roots[child["parent_id"]]
        assert child["name"] == "process.shutdown"
        assert child["context"]["trace_id"] == parent["context"]["trace_id"]
        assert ns(parent["start_time"]) <= ns(child["start_time"]) <= ns(child["end_time"]) <= ns(parent["end_time"])
    assert sorted(child["attributes"]["process.executable.name"] for child in children) == ["gunicorn"] * 3 + ["sh"] * 3
