"""What is shipped works: the wheel is built, looked into, and installed where nothing of this checkout is."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OBJECT = "sigtrace/sources/sigtrace.bpf.o"
OBJECTS = (OBJECT, "sigtrace/sources/sigtrace-raw.bpf.o")
EM_BPF = 247  # e_machine in the ELF header


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy: what another build left in build/ must not get in. The copy keeps file times, so
    that the object is compiled only where this checkout would compile it too."""
    if not (ROOT / OBJECT).exists() and shutil.which("clang") is None:
        pytest.skip("needs the BPF object or clang: run make setup")
    copy = tmp_path_factory.mktemp("build") / "sigtrace"
    for folder in ("sigtrace", "bpf"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "MANIFEST.in", "Makefile", "README.md", "LICENSE"):
        shutil.copy2(ROOT / file, copy)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", copy / "dist", copy)
    (wheel,) = (copy / "dist").iterdir()
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of a new environment with the wheel in it. What it depends on comes from this one's
    site-packages; the editable sigtrace there stays out, for a .pth file found by way of a .pth file is not read."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def test_the_wheel_fits_every_machine_and_holds_the_compiled_objects(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "sigtrace/py.typed" in archive.namelist()
        headers = [archive.read(one)[:20] for one in OBJECTS]
    for header in headers:
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == EM_BPF


def test_the_wheel_holds_the_package_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sigtrace"}


def test_the_objects_tell_nothing_of_the_machine_they_were_built_on(wheel):
    with zipfile.ZipFile(wheel) as archive:
        for one in OBJECTS:
            assert str(ROOT).encode() not in archive.read(one)


def test_the_installed_command_starts(installed, tmp_path):
    # -I and another working directory: neither PYTHONPATH nor this checkout can lend it anything.
    code = "import sigtrace; print(sigtrace.__file__)"
    where = run(installed / "python", "-I", "-c", code, cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    out = run(installed / "sigtrace", "--version", cwd=tmp_path, env=clean)
    assert "sigtrace" in out
