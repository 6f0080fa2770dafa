"""The manifests are valid for several Kubernetes, fit together, and say to the agent what it understands."""

import json
import re
import shutil
import subprocess
import tomllib

import kubernetes_validate
import pytest
import yaml

from sigtrace import __version__
from tests import kustomize
from tests.manifests import AGENTS, DEPLOY, OVERLAYS, built, containers, one, pod_of

#: The oldest that Kubernetes itself still mends, and newer.
KUBERNETES = ("1.33", "1.35", "1.37")


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_valid_for_this_kubernetes(overlay, version):
    for manifest in built(overlay):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("folder", [*(f"overlays/{name}" for name in OVERLAYS), "monitoring", "monitoring-lean"])
def test_kubectl_builds_what_our_own_reader_builds(folder):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: our own reader of kustomizations is not compared with it")
    command = ["kubectl", "kustomize", str(DEPLOY / folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def comparable(objects):
        return sorted(canonical(sorted_lists(o)) for o in objects)

    assert comparable(yaml.safe_load_all(text)) == comparable(kustomize.build(DEPLOY / folder))


def canonical(value):
    return json.dumps(value, sort_keys=True)


def sorted_lists(value):
    """Lists of named things in one order: kustomize's differs with the patch, and means nothing."""
    if isinstance(value, dict):
        return {key: sorted_lists(one) for key, one in value.items()}
    if isinstance(value, list):
        ordered = [sorted_lists(one) for one in value]
        return sorted(ordered, key=canonical) if all(isinstance(one, dict) for one in ordered) else ordered
    return value


def test_nodes_are_updated_one_at_a_time_and_never_with_two_agents():
    update = one(built("containerd"), "DaemonSet")["spec"]["updateStrategy"]
    assert update == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}


@pytest.mark.parametrize("overlay", AGENTS)
def test_probes_ask_the_port_that_the_agent_opens(overlay):
    pod = pod_of(overlay)
    agent = pod["containers"][0]
    env = {variable["name"]: variable.get("value") for variable in agent["env"]}
    host, _, port = env["SIGTRACE_HTTP"].rpartition(":")
    (http,) = agent["ports"]
    assert (http["name"], http["containerPort"]) == ("http", int(port))
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        get = agent[probe]["httpGet"]
        assert (get["path"], get["port"], get.get("host", "")) == (path, "http", host)
    policy = one(built(overlay), "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": int(port)}]


def agent_options():
    """Long names of the options of `sigtrace agent`, and the variables that set them."""
    from sigtrace.cli.main import cli

    command = cli.get_command(None, "agent")
    variables = {name for option in command.params for name in option.envvar or ()}
    return {name for option in command.params for name in option.opts}, variables


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_agent_knows_every_variable_and_argument_that_it_is_given(overlay):
    options, variables = agent_options()
    variables |= {"SIGTRACE_CONFIG", "SIGTRACE_NODE"}
    for container in containers(pod_of(overlay)):
        given = {variable["name"] for variable in container.get("env", [])}
        assert {name for name in given if name.startswith("SIGTRACE_")} <= variables
        if "command" not in container:
            command, *arguments = container["args"]
            assert command == "agent"
            assert set(arguments) <= options


def test_the_config_map_is_a_configuration_of_the_agent_also_without_its_comment_signs():
    text = one(built("containerd"), "ConfigMap", "sigtrace")["data"]["sigtrace.toml"]
    options, _ = agent_options()
    bare = tomllib.loads(re.sub(r"^# ", "", text, flags=re.MULTILINE))
    assert bare.keys() == {"agent"}
    assert {f"--{key}" for key in bare["agent"]} <= options
    assert tomllib.loads(text) == {"agent": {}}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_and_selector_has_the_same_name_and_place(overlay):
    objects = built(overlay)
    daemons = one(objects, "DaemonSet")
    name = daemons["metadata"]["name"]
    labels = daemons["spec"]["template"]["metadata"]["labels"]
    assert labels == daemons["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}
    assert one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert {o["metadata"].get("namespace", "sigtrace") for o in objects} == {"sigtrace"}
    assert (
        one(objects, "ServiceAccount")["metadata"]["name"] == daemons["spec"]["template"]["spec"]["serviceAccountName"]
    )
    for container in containers(daemons["spec"]["template"]["spec"]):
        assert container["image"] == f"sigtrace:{__version__}"
