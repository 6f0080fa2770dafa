"""Disks that are full: what was written can be read, what could not is said, and the verdicts go on."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from sigtrace.lab.scenario import run as run_scenario
from sigtrace.lab.scenarios import SCENARIOS
from tests.kernel.test_agent import REPOSITORY, SIGTRACE, agent, ask, folder, name  # noqa: F401

PATIENCE_S = 60
STOPPED = ("shell-form", "exec-form", "no-handler", "segfault")


@pytest.fixture
def disk():
    """Mounts a small file system of its own; returns a function that fills it but for so many bytes."""
    mounted = []

    def mount(path, kilobytes):
        os.makedirs(path, mode=0o700, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=700", "tmpfs", path], check=True)
        mounted.append(path)
        return Path(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


def fill(path):
    """To the last page."""
    with open(path / "ballast", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def test_a_recording_on_a_full_disk_ends_with_an_error_and_has_what_came_before(bpf_host, disk, tmp_path, wait_until):
    path = disk(tmp_path / "disk", 32)
    recording = path / "stops.sigtrace"
    with subprocess.Popen(
        [*SIGTRACE, "record", recording], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    ) as recorder:
        try:
            assert "ready" in recorder.stderr.readline()
            stopped = {}
            # Twice a page or so each: it is not said when the disk is full.
            while recorder.poll() is None and len(stopped) < 400:
                name = STOPPED[len(stopped) % len(STOPPED)]
                stopped[run_scenario(SCENARIOS[name], grace_s=0.1).container] = name
            said = recorder.communicate(timeout=PATIENCE_S)[1]
        finally:
            recorder.kill()
    assert recorder.returncode == 4, said
    assert "No space left on device" in said
    assert "Traceback" not in said
    replayed = subprocess.run(
        [*SIGTRACE, "replay", recording, "-o", "json"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in replayed.stderr
    records = [json.loads(line) for line in replayed.stdout.splitlines()]
    ours = {r["workload"]["container_name"]: r for r in records if r["type"] == "shutdown" and r["workload"]}
    ours = {container: one for container, one in ours.items() if container in stopped}
    assert len(ours) >= len(STOPPED), replayed.stderr
    # The last may have been cut in the middle of its stop.
    for container, one in list(ours.items())[:-1]:
        expect = SCENARIOS[stopped[container]].expect
        assert (one["outcome"], one["cause"]) == (expect.outcome, expect.cause), container


def stop(one, name, scenario, wait_until):  # noqa: F811
    run_scenario(SCENARIOS[scenario], container=name, grace_s=0.1)
    wait_until(lambda: one.of(name, "shutdown"), timeout=PATIENCE_S)
    (record,) = one.of(name, "shutdown")
    expect = SCENARIOS[scenario].expect
    assert (record["outcome"], record["cause"]) == (expect.outcome, expect.cause)


def test_an_agent_with_a_full_disk_tells_all_and_keeps_it_once_there_is_room(
    agent, ask, disk, folder, name, wait_until  # noqa: F811
):  # fmt: skip
    state = disk(os.path.join(folder, "state"), 256)
    one = agent()
    stop(one, f"{name}-before", "shell-form", wait_until)
    fill(state)
    number = 0
    while not one.said("No space left on device") and number < 50:  # the last page has room for some
        number += 1
        stop(one, f"{name}-full-{number}", STOPPED[number % len(STOPPED)], wait_until)
    assert one.said("No space left on device")
    told = ask("why")[1]
    assert all(f"{name}-full-{n}" in told for n in range(1, number + 1))
    (state / "ballast").unlink()
    stop(one, f"{name}-after", "exec-form", wait_until)
    kept = state / "verdicts"
    wait_until(lambda: f"{name}-after" in kept.read_text(), timeout=PATIENCE_S, what="the file to be written again")
    one.kill(signal.SIGKILL)
    one.wait(PATIENCE_S)
    agent()
    code, told, _ = ask("why", "-o", "json")
    assert code == 0
    names = {(json.loads(line)["workload"] or {}).get("container_name") for line in told.splitlines()}
    assert {f"{name}-before", f"{name}-after", *(f"{name}-full-{n}" for n in range(1, number + 1))} <= names


def test_an_agent_whose_disk_is_full_from_the_beginning_does_without(
    agent, ask, disk, folder, name, wait_until  # noqa: F811
):  # fmt: skip
    fill(disk(os.path.join(folder, "state"), 64))
    one = agent()
    stop(one, name, "shell-form", wait_until)
    assert one.said("verdicts are not kept for the next agent")
    assert name in ask("why")[1]
    one.kill(signal.SIGTERM)
    assert one.wait(PATIENCE_S) == 0
    assert "Traceback" not in "\n".join(one.log)
