"""What OTEL_* and the user's options mean, and that no secret is ever shown."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigtrace.errors import UsageError
from sigtrace.sinks.otlp.endpoint import Protocol
from sigtrace.sinks.otlp.settings import OtlpSettings

SECRET = "hunter2-very-secret"


def settings(endpoint=None, environ=None, **given):
    return OtlpSettings.from_environment(endpoint, environ=environ or {}, **given)


def env(**variables):
    return {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}


def test_without_an_endpoint_nothing_is_exported():
    assert settings() is None
    assert settings(environ=env(ENDPOINT="  ")) is None
    assert settings(environ=env(HEADERS="a=b", PROTOCOL="grpc")) is None


def test_the_sdks_switch_turns_it_off():
    assert settings("http://c:4318", {"OTEL_SDK_DISABLED": "True"}) is None
    assert settings("http://c:4318", {"OTEL_SDK_DISABLED": "false"}) is not None


@pytest.mark.parametrize(
    ("environ", "ignored"),
    [
        ({"OTEL_SDK_DISABLED": "maybe"}, ["OTEL_SDK_DISABLED: 'maybe' is neither true nor false"]),
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, ["OTEL_TRACES_EXPORTER: 'jaeger': there are otlp and none"]),
        (
            {"OTEL_METRICS_EXPORTER": "otlp, console,\x1b"},
            [
                "OTEL_METRICS_EXPORTER: 'console': there are otlp and none",
                r"OTEL_METRICS_EXPORTER: '\\x1b': there are otlp and none",
            ],
        ),
        ({"OTEL_SDK_DISABLED": "FALSE", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": ""}, []),
    ],
)
def test_what_the_environment_says_that_nobody_knows_is_told_and_ignored(environ, ignored):
    """As the specification has it: a value that an implementation does not recognise is warned of, and ignored."""
    found = settings("http://c:4318", environ)
    assert list(found.ignored) == ignored
    assert found.traces
    assert found.metrics


@pytest.mark.parametrize(
    ("variables", "traces", "metrics"),
    [
        ({"ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
        ({"ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
        ({"ENDPOINT": "https://c/otlp"}, "https://c/otlp/v1/traces", "https://c/otlp/v1/metrics"),
        ({"ENDPOINT": "https://c/o?k=1"}, "https://c/o/v1/traces?k=1", "https://c/o/v1/metrics?k=1"),
        ({"TRACES_ENDPOINT": "http://t:1/x"}, "http://t:1/x", None),
        ({"METRICS_ENDPOINT": "http://m:1"}, None, "http://m:1"),
        ({"ENDPOINT": "http://c:1", "TRACES_ENDPOINT": "http://t:2/y"}, "http://t:2/y", "http://c:1/v1/metrics"),
    ],
)
def test_endpoints_are_made_as_the_specification_says(variables, traces, metrics):
    found = settings(environ=env(**variables))
    assert (found.traces and found.traces.url, found.metrics and found.metrics.url) == (traces, metrics)


def test_what_the_user_gives_goes_over_the_environment():
    found = settings(
        "http://mine:4318",
        env(
            ENDPOINT="http://c:1", TRACES_ENDPOINT="http://t:2/y", HEADERS="a=1,b=2", COMPRESSION="none", TIMEOUT="500"
        ),
        headers=("b=mine, with a comma", "c=3"),
        compression="gzip",
        timeout_s=2.0,
    )
    assert found.traces.url == "http://mine:4318/v1/traces"
    assert found.traces.headers == {"a": "1", "b": "mine, with a comma", "c": "3"}
    assert (found.traces.gzip, found.traces.timeout_s) == (True, 2.0)


def test_variables_of_a_signal_go_over_the_general_ones():
    variables = env(
        ENDPOINT="http://c:1", HEADERS="a=1", TRACES_HEADERS="b=2", COMPRESSION="gzip", METRICS_COMPRESSION="none"
    )
    found = settings(environ=variables)
    assert (found.traces.headers, found.metrics.headers) == ({"b": "2"}, {"a": "1"})
    assert (found.traces.gzip, found.metrics.gzip) == (True, False)


def test_a_signal_can_be_turned_off():
    found = settings("http://c:4318", {"OTEL_METRICS_EXPORTER": "none"})
    assert found.traces
    assert found.metrics is None


@pytest.mark.parametrize(
    ("endpoint", "insecure", "target", "tls"),
    [
        ("http://c:4317", None, "c:4317", False),
        ("https://c", None, "c:4317", True),
        ("c:4317", None, "c:4317", True),
        ("c:4317", True, "c:4317", False),
        ("http://[::1]:4317/", None, "[::1]:4317", False),
    ],
)
def test_grpc_takes_a_host_and_a_port(endpoint, insecure, target, tls):
    found = settings(endpoint, protocol="grpc", insecure=insecure)
    assert (found.traces.url, found.traces.tls, found.traces.protocol) == (target, tls, Protocol.GRPC)


@pytest.mark.parametrize(("raw", "seconds"), [("10000", 10.0), ("1500", 1.5), ("10", 10.0), ("0.5", 0.5)])
def test_a_time_limit_is_in_ms_unless_that_makes_no_sense(raw, seconds):
    assert settings("http://c:1", env(TIMEOUT=raw)).traces.timeout_s == seconds


@pytest.mark.parametrize(
    ("endpoint", "environ", "complaint"),
    [
        ("localhost:4318", {}, "begin with http://"),
        ("ftp://c", {}, "begin with http://"),
        ("http://", {}, "is no URL"),
        ("http://c:99999", {}, "is no URL"),
        ("http://c:0", {}, "is no URL"),
        ("http://c/\x1b[31m", {}, "is no URL"),
        ("http://ü/", {}, "encode"),
        ("http://c", env(PROTOCOL="http/json"), "is not spoken here"),
        ("http://c", env(COMPRESSION="zstd"), "there are none, gzip"),
        ("http://c", env(TIMEOUT="soon"), "no positive number"),
        ("http://c", env(TIMEOUT="nan"), "no positive number"),
        ("http://c", env(CERTIFICATE="/nowhere/ca.pem"), "No such file"),
        ("http://c", env(HEADERS="authorization"), "is not name=value"),
        ("http://c", env(HEADERS="Content-Length=3"), "no header for a user"),
        ("http://c", env(HEADERS="grpc-timeout=3"), "no header for a user"),
        ("http://c", env(HEADERS="token-bin=3"), "no header for a user"),
        ("http://c", {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
        ("http://c", {"OTEL_METRIC_EXPORT_INTERVAL": "x"}, "OTEL_METRIC_EXPORT_INTERVAL"),
        ("http://c", {"OTEL_RESOURCE_ATTRIBUTES": "what"}, "is not key=value"),
        ("http://c", env(METRICS_TEMPORALITY_PREFERENCE="sideways"), "there are cumulative"),
    ],
)
def test_what_makes_no_sense_is_said(endpoint, environ, complaint):
    with pytest.raises(UsageError, match=complaint) as error:
        settings(endpoint, environ)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "given",
    [
        {"environ": env(ENDPOINT="http://c", HEADERS=f"authorization=Bearer {SECRET}\x00")},
        {"environ": env(ENDPOINT="http://c", HEADERS=f"{SECRET}")},
        {"environ": env(ENDPOINT="http://c", HEADERS=f"bad name={SECRET}")},
        {"environ": env(ENDPOINT=f"http://user:{SECRET}@c:1")},
        {"environ": env(ENDPOINT=f"http://user:{SECRET}@c:x")},
        {"endpoint": "http://c", "headers": (f"a={SECRET}\r\nb: c",)},
        {"endpoint": "http://c", "headers": (f"={SECRET}",)},
    ],
)
def test_no_complaint_shows_a_secret(given):
    with pytest.raises(UsageError) as error:
        settings(**given)
    assert SECRET not in f"{error.value!r} {error.value} {error.value.__cause__}"


def test_what_is_printed_of_settings_has_no_secret():
    found = settings(f"http://c:4318/x?token={SECRET}", env(HEADERS=f"authorization=Bearer%20{SECRET}"))
    assert found.traces.headers == {"authorization": f"Bearer {SECRET}"}
    assert str(found.traces) == "http://c:4318/x/v1/traces"
    assert SECRET not in f"{found.traces} {found!r}"


@given(st.dictionaries(st.sampled_from(["ENDPOINT", "HEADERS", "TIMEOUT", "PROTOCOL"]), st.text()), st.text())
def test_any_text_gives_settings_or_a_usage_error(variables, attributes):
    environ = env(**variables) | {"OTEL_RESOURCE_ATTRIBUTES": attributes}
    with contextlib.suppress(UsageError):
        settings(environ=environ)


def test_the_agents_name_and_its_resource():
    environ = {
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=x,deployment.environment.name=prod%20eu, k8s.cluster.name = c1"
    }
    found = settings("http://c", environ)
    assert found.service_name == "x"
    assert found.resource["deployment.environment.name"] == "prod eu"
    assert found.resource["k8s.cluster.name"] == "c1"
    assert settings("http://c", environ | {"OTEL_SERVICE_NAME": "y"}).service_name == "y"
    assert settings("http://c").service_name == "sigtrace"
