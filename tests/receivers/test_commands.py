"""`watch --otlp-endpoint` and `replay --otlp-endpoint`, as a user calls them, against the strict receiver."""

import signal
import subprocess
from pathlib import Path

import pytest

from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from tests.receivers.servers import HttpReceiver
from tests.receivers.strict import attributes_of

ROOT = Path(__file__).parents[2]
SIGTRACE = ROOT / ".venv/bin/sigtrace"
RECORDINGS = ROOT / "tests/data/recordings"


def replay(name, url, *options):
    argv = [SIGTRACE, "replay", RECORDINGS / f"{name}.sigtrace", "--otlp-endpoint", url, *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def ids(receiver):
    return {(span.trace_id, span.span_id) for span in receiver.checker.spans}


def roots(receiver):
    return [span for span in receiver.checker.spans if span.name == "container.shutdown"]


def test_a_replay_sends_the_spans_of_what_was_recorded_with_the_same_ids_each_time():
    sent = []
    for _ in range(2):
        with HttpReceiver() as receiver:
            done = replay("shell-form", receiver.url)
            assert (done.returncode, "OTLP" in done.stderr) == (0, False)
            assert receiver.checker.finish() == []
            (root,) = roots(receiver)
            assert attributes_of(root.attributes)["sigtrace.outcome"] == "escalated"
            assert not receiver.checker.metrics  # those of the past are nobody's
            sent.append(ids(receiver))
    assert sent[0] == sent[1]


def test_the_ids_are_those_in_the_records():
    with HttpReceiver() as receiver:
        told = replay("shell-form", receiver.url, "-o", "json").stdout
        assert all(f'"trace_id":"{span.trace_id.hex()}"' in told for span in receiver.checker.spans)


def test_a_collector_that_is_not_there_costs_spans_and_says_so_and_no_more():
    done = replay("shell-form", "http://127.0.0.1:9")
    assert done.returncode == 0
    assert "SIGKILL after" in done.stdout
    assert "could not be sent within 3 s" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--otlp-endpoint", "ftp://x"], "ftp"),
        (["--otlp-header", "authorization=secret"], "without --otlp-endpoint"),
        (["--otlp-endpoint", "http://x", "--otlp-header", "no-value"], "--otlp-header"),
        (["--otlp-endpoint", "http://x", "--otlp-certificate", "/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_option_is_one_line_without_a_secret(options, words):
    argv = [SIGTRACE, "replay", RECORDINGS / "shell-form.sigtrace", *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_watch_exports_a_shutdown_and_its_metrics(bpf_host):
    with HttpReceiver() as receiver:
        argv = [SIGTRACE, "watch", "--local", "--otlp-endpoint", receiver.url, "-o", "json"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            try:
                assert "ready" in watch.stderr.readline()
                result = run_scenario(SCENARIOS["shell-form"])
                while result.container not in watch.stdout.readline():
                    pass
                while '"type":"shutdown"' not in watch.stdout.readline():
                    pass
            finally:
                watch.send_signal(signal.SIGTERM)
                _, err = watch.communicate(timeout=10)
        assert (watch.returncode, err) == (0, "")
        assert receiver.checker.finish() == []
        mine = [
            span
            for resource, span in receiver.checker.traces
            if span.name == "container.shutdown" and resource.get("container.name") == result.container
        ]
        assert [attributes_of(span.attributes)["sigtrace.cause"] for span in mine] == ["dropped"]
        names = {metric.name for _, metric in receiver.checker.metrics}
        assert {"sigtrace.container.shutdowns", "sigtrace.signal.generated", "sigtrace.export.items"} <= names
