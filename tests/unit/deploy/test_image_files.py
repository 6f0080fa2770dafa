"""What the image is made of: pinned packages, no compiler, nothing that lies about."""

import re
import tomllib

from tests.manifests import ROOT

IMAGE = ROOT / "deploy/image"


def locked(file, folder=IMAGE):
    """name → (version, hashes)."""
    text = (folder / file).read_text(encoding="ascii").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {normal(words[0].split("==")[0]): (words[0].split("==")[1], words[1:]) for words in lines}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned():
    """name → version, of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="ascii").splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in pins}


def test_the_developers_packages_are_the_pinned_ones_by_hash():
    packages = locked("requirements-dev.txt", ROOT)
    assert {name: version for name, (version, _) in packages.items()} == pinned(), "run deploy/image/lock"
    for name, (_, hashes) in packages.items():
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)


def test_the_images_python_packages_are_the_pinned_ones_by_hash():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.match(r"[\w.-]+", r)[0] for r in [*project["dependencies"], *extras["cri"], *extras["grpc"], *extras["tui"]]
    }
    pins = pinned()
    packages = locked("requirements.txt")
    missing = {normal(name) for name in wanted} - packages.keys()
    assert not missing, "run deploy/image/lock"
    for name, (version, hashes) in (packages | locked("build-requirements.txt")).items():
        assert version == pins[name], f"{name}: run deploy/image/lock"
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes)
    for package in ("psutil", "grpcio", "protobuf"):  # compiled: a file for each machine
        assert len(packages[package][1]) >= 2


def test_no_compiler_goes_into_the_image_itself():
    lines = (IMAGE / "packages.txt").read_text(encoding="ascii").splitlines()
    stages = [line.split() for line in lines if not line.startswith("#")]
    assert {stage for _, stage in stages} == {"build", "run"}
    assert {name for name, stage in stages if stage == "run"} == {"python3", "libbpf1", "ca-certificates"}


def test_what_the_dockerfile_copies_is_in_its_context_and_nothing_else_is():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        copied.update(source.rstrip("/") for source in line.split()[:-1])
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / path).exists() for path in copied)
    assert "sigtrace/sources/*.bpf.o" in rules, "an object that lies here could be of another source"


def test_the_image_starts_the_agent_in_exec_form():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["/opt/sigtrace/bin/sigtrace"]' in text
    assert 'CMD ["agent"]' in text
