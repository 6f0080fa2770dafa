"""What an agent is given, and what of that may change."""

import dataclasses

import click
import pytest

from sigtrace.agent.settings import LIVE, ONCE, Settings, settings_of
from sigtrace.cli import agent as agent_cli
from sigtrace.cli.main import cli
from sigtrace.errors import UsageError
from sigtrace.sources.procfs import node_name


@pytest.fixture
def options(monkeypatch):
    """Options as the command would get them, and then those read again."""
    for name in ("SIGTRACE_SOCKET", "OTEL_EXPORTER_OTLP_ENDPOINT", "SIGTRACE_HTTP"):
        monkeypatch.delenv(name, raising=False)
    got = []

    def take(settings, reload):
        got.extend([settings, reload])
        return 0

    monkeypatch.setattr("sigtrace.agent.daemon.run", take)

    def run(*arguments):
        got.clear()
        with cli.make_context("sigtrace", list(arguments), auto_envvar_prefix="SIGTRACE") as ctx:
            assert cli.invoke(ctx) == 0
        return got

    return run


def test_without_options_it_is_as_the_manual_says(options):
    settings, _ = options("agent")
    assert (settings.socket, settings.state) == ("/run/sigtrace/agent.sock", "/var/lib/sigtrace")
    assert settings.http == "127.0.0.1:9477"
    assert settings.redact
    assert settings.otlp is None
    assert not settings.replace


def test_options_come_from_the_command_line_the_environment_and_the_file(options, monkeypatch, tmp_path):
    (tmp_path / "c.toml").write_text('namespace = "prod"\n[agent]\nlog = "json"\nhttp = ":1"\nstate = "off"\n')
    monkeypatch.setenv("SIGTRACE_HTTP", ":2")
    settings, _ = options("agent", "--no-redact", "--config", str(tmp_path / "c.toml"))
    assert (settings.chosen.namespace, settings.log, settings.http) == ("prod", "json", ":2")
    assert settings.state is None
    assert not settings.redact


@pytest.mark.parametrize("early", [True, False])
def test_what_is_read_again_is_the_file_as_it_is_now(options, tmp_path, early):
    path = tmp_path / "\x1bc.toml"  # in messages it has another form
    path.write_text('[agent]\npod = "a"\n')
    given = ("--config", str(path))
    settings, reload = options(*given, "agent", "--log", "json") if early else options("agent", "--log", "json", *given)
    assert settings.chosen.pod == "a"
    path.write_text('[agent]\npod = "b"\nzombie-after = 3\n')
    fresh = reload()
    assert (fresh.chosen.pod, fresh.zombie_after_s, fresh.log) == ("b", 3.0, "json")
    path.write_text("[agent\n")
    with pytest.raises(UsageError, match="not TOML"):
        reload()
    path.write_text('[agent]\nhttp = "nowhere"\n')
    with pytest.raises((UsageError, click.UsageError)):
        reload()
    path.write_text("[agent]\n")
    assert reload().chosen.pod is None


def test_without_a_file_what_is_read_again_is_the_same(options):
    settings, reload = options("agent", "--pod", "a")
    assert reload() == settings


def test_a_collector_is_given_or_taken_from_the_environment(options, monkeypatch):
    settings, _ = options("agent", "--otlp-endpoint", "http://127.0.0.1:4318", "--otlp-exited")
    assert settings.otlp.exited
    assert settings.otlp is not None
    assert settings.otlp.flush_s < 3
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert options("agent")[0].otlp is not None


@pytest.mark.parametrize(
    "wrong", [("--http", "nowhere:x"), ("--socket", "x" * 200), ("--otlp-endpoint", "ftp://x"), ("--log", "xml")]
)
def test_what_is_wrong_is_wrong_usage(options, wrong):
    with pytest.raises((UsageError, click.UsageError)):
        options("agent", *wrong)


def test_each_setting_either_changes_while_it_runs_or_needs_a_restart():
    names = {field.name for field in dataclasses.fields(Settings)}
    assert names > LIVE
    assert names > ONCE
    assert not LIVE & ONCE


def test_the_node_has_the_name_that_is_given(monkeypatch):
    monkeypatch.setenv("SIGTRACE_NODE", "node-7")
    assert node_name() == "node-7"
    assert settings_of
    assert agent_cli.agent.name == "agent"
