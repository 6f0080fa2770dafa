"""What the agent may do on a node: exactly what README.md says, and what a policy checker lets pass."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.manifests import (
    AGENTS,
    CONTAINERD,
    CRIO,
    DEPLOY,
    DOCKER,
    OVERLAYS,
    built,
    containers,
    host_paths,
    one,
    pod_of,
)

CHECKOV = "3.3.30"
#: What each overlay's agent may do. A change here is a change of what sigtrace asks of a cluster: say why in README.md.
CAPABILITIES = {name: ["BPF", "PERFMON"] for name in AGENTS}
CAPABILITIES |= {"old-kernel": ["BPF", "PERFMON", "SYS_RESOURCE"], "ptrace": ["SYS_PTRACE", "NET_ADMIN"]}
OWN_FOLDERS = {"/run/sigtrace", "/var/lib/sigtrace"}
WRITABLE = dict.fromkeys(AGENTS, OWN_FOLDERS) | {"strict": set(), "pinned": OWN_FOLDERS | {"/sys/fs/bpf/sigtrace"}}
SOCKET = dict.fromkeys(AGENTS, CONTAINERD) | {"cri-o": CRIO, "docker": DOCKER, "strict": None}
SECCOMP = dict.fromkeys(AGENTS, "RuntimeDefault") | {"cri-o": "Localhost"}


@pytest.mark.parametrize("overlay", AGENTS)
def test_an_agent_has_these_rights_and_no_others(overlay):
    pod = pod_of(overlay)
    agent = pod["containers"][0]["securityContext"]
    assert agent["capabilities"] == {"drop": ["ALL"], "add": CAPABILITIES[overlay]}
    assert pod["hostPID"] is True
    assert (pod["hostNetwork"], pod["hostIPC"]) == (overlay == "ptrace", False)
    profile = agent.get("seccompProfile") or pod["securityContext"]["seccompProfile"]
    assert profile["type"] == SECCOMP[overlay]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] == 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_container_is_privileged_or_writes_to_its_root_and_only_the_agent_has_capabilities(overlay):
    pod = pod_of(overlay)
    assert not pod.get("hostIPC")
    for container in containers(pod):
        security = container["securityContext"]
        assert not security["privileged"]
        assert not security["allowPrivilegeEscalation"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"]["drop"] == ["ALL"]
        assert container["name"] == "sigtrace" or "add" not in security["capabilities"]
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("overlay", AGENTS)
def test_an_agent_writes_to_its_own_folders_of_the_host_only(overlay):
    pod = pod_of(overlay)
    agent = {**pod, "initContainers": []}
    writable = {path for path, mount in host_paths(agent) if not mount.get("readOnly")}
    assert writable == WRITABLE[overlay]
    read = {path for path, mount in host_paths(agent) if mount.get("readOnly")}
    assert read == {"/sys/fs/cgroup"} | ({SOCKET[overlay]} if SOCKET[overlay] else set())
    assert not any(mount.get("mountPropagation") for _, mount in host_paths(pod))


def test_the_seccomp_profile_comes_to_its_place_before_the_agent_starts():
    pod = pod_of("cri-o")
    (init,) = pod["initContainers"]
    ((path, mount),) = [(p, m) for p, m in host_paths({**pod, "containers": [], "initContainers": [init]})]
    agent = pod["containers"][0]["securityContext"]["seccompProfile"]
    target = Path(init["command"][-1])
    assert mount["mountPath"] == str(target.parent)
    assert f"{path}/{target.name}" == f"/var/lib/kubelet/seccomp/{agent['localhostProfile']}"
    profile = json.loads(one(built("cri-o"), "ConfigMap", "sigtrace-seccomp")["data"][target.name])
    allowed = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ALLOW"}
    assert "bpf" in allowed
    never = {"mount", "umount2", "setns", "unshare", "pivot_root", "chroot", "ptrace", "process_vm_readv", "keyctl"}
    never |= {"open_by_handle_at", "perf_event_open", "init_module", "finit_module", "kexec_load", "reboot", "mknod"}
    assert not allowed & never


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_exception_from_a_policy_has_its_reason(overlay):
    annotations = one(built(overlay), "DaemonSet")["metadata"]["annotations"]
    exceptions = [value for key, value in annotations.items() if key.startswith("checkov.io/skip")]
    assert exceptions
    for exception in exceptions:
        assert re.fullmatch(r"CKV2?_K8S_\d+=\S.{8,}", exception), exception
    assert len({exception.split("=")[0] for exception in exceptions}) == len(exceptions)


def checkov():
    """The program, from PATH or in an environment of its own, made once (as Phoenix's in tests/receivers)."""
    if program := shutil.which("checkov"):
        return program
    cache = Path(os.environ.get("SIGTRACE_TEST_CACHE") or Path.home() / ".cache" / "sigtrace-tests")
    folder = cache / f"checkov-{CHECKOV}"
    if not (folder / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [folder / "bin/pip", "install", "-q", f"checkov=={CHECKOV}"]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            pytest.skip("checkov can't be installed: put it on PATH (pip install checkov)")
        (folder / "done").touch()
    return str(folder / "bin/checkov")


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """What checkov says of all overlays: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("overlays")
    for overlay in OVERLAYS:
        (folder / f"{overlay}.yaml").write_text(yaml.safe_dump_all(built(overlay)), encoding="utf-8")
    command = [checkov(), "-d", folder, "--framework", "kubernetes", "--compact", "--skip-download", "-o", "json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return json.loads(done.stdout)["results"]


@pytest.mark.prove
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_checkov_has_nothing_to_say_but_the_exceptions(overlay, checked):
    mine = {
        result: [check["check_id"] for check in checked[result] if check["file_path"] == f"/{overlay}.yaml"]
        for result in ("failed_checks", "passed_checks", "skipped_checks")
    }
    assert mine["failed_checks"] == []
    assert len(mine["passed_checks"]) > 50
    exceptions = [key for key in one(built(overlay), "DaemonSet")["metadata"]["annotations"] if "/skip" in key]
    # One that no check asks for any more has to go.
    assert len(mine["skipped_checks"]) == len(exceptions)


def test_the_readme_names_every_overlay_and_every_right_it_asks_for():
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for overlay in OVERLAYS:
        assert f"overlays/{overlay}" in readme
    rights = {"hostPID", "runAsUser: 0", "readOnlyRootFilesystem", "allowPrivilegeEscalation", "seccompProfile"}
    rights |= {"automountServiceAccountToken", "hostNetwork", "seLinuxOptions", "drop: [ALL]"}
    rights |= {right for rights in CAPABILITIES.values() for right in rights}
    for overlay in AGENTS:
        rights |= {path for path, _ in host_paths(pod_of(overlay))}
    assert not {right for right in rights if right not in readme}
