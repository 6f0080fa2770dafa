"""`sigtrace why`: whom a name means, and what is said where there is nothing to say."""

import dataclasses
import json

import click
import pytest
from click.testing import CliRunner

from sigtrace.cli.main import cli, main
from sigtrace.cli.why import Ago
from sigtrace.errors import UsageError
from sigtrace.model.workload import Workload, WorkloadKind
from sigtrace.service.client import status
from sigtrace.why import matcher
from tests.unit.service.conftest import BOX, Service, finding, shutdown


def pod(name, container="app", namespace="default", container_id=None):
    return Workload(
        WorkloadKind.CONTAINER, 1, pod=name, container_name=container, namespace=namespace, container_id=container_id
    )


PODS = [
    pod("api-7d9f6c5b8-x2x4z", "web", container_id="4f0a8c11"),
    pod("api-7d9f6c5b8-bcdfg", "web", container_id="99008c11"),
    pod("api-gateway-66d9f6c5b8-zzzzz", "nginx"),
    pod("shop-0", "app"),
    pod("shop-1", "app"),
    pod("shop-0", "app", namespace="staging"),
    pod("cache", "redis"),
    pod("node-exporter-w9xk2", "exporter"),
    Workload(WorkloadKind.CONTAINER, 1, container_name="lonely", container_id="4f0affff"),
]


def meant(name):
    return sorted({f"{w.namespace}/{w.pod}/{w.container_name}" for w in PODS if matcher(name, PODS)(w)})


@pytest.mark.parametrize(
    ("name", "whom"),
    [
        ("cache", ["default/cache/redis"]),
        ("shop-0", ["default/shop-0/app", "staging/shop-0/app"]),
        ("staging/shop-0", ["staging/shop-0/app"]),
        ("staging/shop", ["staging/shop-0/app"]),
        ("api", ["default/api-7d9f6c5b8-bcdfg/web", "default/api-7d9f6c5b8-x2x4z/web"]),
        ("api-7d9f", ["default/api-7d9f6c5b8-bcdfg/web", "default/api-7d9f6c5b8-x2x4z/web"]),
        ("api-7d9f6c5b8-x", ["default/api-7d9f6c5b8-x2x4z/web"]),
        ("api-gateway", ["default/api-gateway-66d9f6c5b8-zzzzz/nginx"]),
        ("node-exporter", ["default/node-exporter-w9xk2/exporter"]),
        ("redis", ["default/cache/redis"]),
        ("web", ["default/api-7d9f6c5b8-bcdfg/web", "default/api-7d9f6c5b8-x2x4z/web"]),
        ("9900", ["default/api-7d9f6c5b8-bcdfg/web"]),
        ("990", []),
        ("lonely", ["None/None/lonely"]),
        ("nobody", []),
    ],
)
def test_a_name_means_a_pod_its_owner_a_container_or_an_id(name, whom):
    assert meant(name) == whom


@pytest.mark.parametrize("name", ["shop", "s", "ap"])
def test_a_beginning_that_several_owners_share_is_wrong_usage(name):
    if name == "s":
        name = "sh"
    with pytest.raises(UsageError, match="say more of it"):
        matcher(name, PODS)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172_800), ("1h30m", 5400), ("90", 90),
                          ("1.5h", 5400), ("5min", 300), ("1 h", 3600)]
)  # fmt: skip
def test_a_time_that_has_passed(text, seconds):
    assert Ago().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "h", "1x", "-1h", "0", "1h?", "yesterday", "99999999d", "1e3", "nan"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="90s, 15m, 1h or 2d"):
        Ago().convert(text, None, None)


@pytest.fixture
def service(tmp_path, monkeypatch, wait_until):
    monkeypatch.setenv("SIGTRACE_SOCKET", str(tmp_path / "agent.sock"))
    service = Service(tmp_path / "agent.sock")

    def keep(*verdicts):
        service.offer(*verdicts)
        wait_until(lambda: status(service.path).kept == len(verdicts))

    service.keep = keep
    yield service
    service.close()


def run(*arguments):
    done = CliRunner().invoke(cli, ["why", *arguments], standalone_mode=False, auto_envvar_prefix="SIGTRACE")
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.return_value, done.stdout


def test_a_story_is_told_as_watch_tells_it_with_the_day_it_was(service):
    service.keep(finding(main=True), shutdown())
    code, out = run()
    assert code == 0
    assert out.startswith("-- 2023-11-1")
    assert "default/api-7d9f · web" in out
    assert "SIGKILL after 2.0 s: it never heard SIGTERM" in out


def test_records_are_those_of_watch(service):
    service.keep(finding(), shutdown())
    _, out = run("-o", "json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [(r["type"], r["seq"]) for r in records] == [("finding", 1), ("shutdown", 2)]
    assert records[1]["trace_id"]


def test_the_status_says_how_bad_it_was(service):
    service.keep(finding())
    assert run("--fail-on", "error", "web")[0] == 1
    assert run("--fail-on", "error", "cache")[0] == 0


def test_filters_and_time_leave_others_out(service):
    service.keep(finding())
    assert "number 0" in run("--namespace", "default")[1]
    assert "number 0" not in run("--namespace", "staging")[1]
    assert "nothing to tell in the last 1 h" in " ".join(run("--since", "1h")[1].split())


def test_where_there_is_nothing_to_tell_it_says_what_the_agent_has_seen(service):
    out = " ".join(run()[1].split())
    assert out.startswith("nothing to tell: the agent of node node runs since")
    assert "has seen 0 shutdowns, and 0 findings" in out
    service.keep(shutdown())
    out = " ".join(run("cache")[1].split())
    assert "nothing to tell of cache" in out
    assert "has seen 1 shutdown, the last one at 2023-11-1" in out
    assert f"it has verdicts of {BOX.title}" in out


def test_how_far_back_it_reaches_is_said_where_that_is_not_far_enough(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGTRACE_SOCKET", str(tmp_path / "agent.sock"))
    full = {"kept": 1000, "oldest_wall_ns": 1_700_000_000 * 10**9}
    service = Service(tmp_path / "agent.sock", status=lambda s: dataclasses.replace(s, **full))
    try:
        assert "note: the last 1,000 verdicts are kept: of before 2023-11-1" in run()[1]
    finally:
        service.close()


def test_an_agent_that_leaves_others_out_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGTRACE_SOCKET", str(tmp_path / "agent.sock"))
    chosen = "--namespace shop\x1b"
    service = Service(tmp_path / "agent.sock", status=lambda s: dataclasses.replace(s, chosen=chosen))
    try:
        assert "note: the agent runs with --namespace shop\\x1b: of others it keeps nothing" in run()[1]
    finally:
        service.close()


def test_what_the_agent_lost_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGTRACE_SOCKET", str(tmp_path / "agent.sock"))
    service = Service(tmp_path / "agent.sock", status=lambda s: dataclasses.replace(s, lost={"ring-full": 7}))
    try:
        assert "could not be told of 7 events: 7 ring-full" in " ".join(run()[1].split())
    finally:
        service.close()


def test_without_an_agent_it_says_what_to_do_and_ends_with_3(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SIGTRACE_SOCKET", str(tmp_path / "none.sock"))
    assert main(["why"]) == 3
    err = capsys.readouterr().err
    assert "no agent runs on this node" in err
    assert "sigtrace agent" in err
    assert "sigtrace watch" in err
