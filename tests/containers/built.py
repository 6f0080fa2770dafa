"""The image of our Dockerfile, really built: buildah from Debian, on a base of debootstrap. No registry of images.

SIGTRACE_TEST_IMAGE=FILE keeps the archive there and takes it from there the next time, for those who work on the tests.
"""

import faulthandler
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sigtrace import __version__
from tests.containers.images import tool

ROOT = Path(__file__).parents[2]
NAME = f"localhost/sigtrace:{__version__}"
_BASE = "localhost/sigtrace-tests-debian:1"


def _quietly(*command: str | Path, **options: object) -> str:
    # pytest's limit for tests that hang (faulthandler_timeout) is too short for a build on a busy machine.
    faulthandler.cancel_dump_traceback_later()
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=900, **options)
    if done.returncode:
        words = (done.stdout + done.stderr)[-3000:]
        pytest.fail(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{words}")
    return done.stdout


class Builder:
    """A store of images of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.context = folder / "context"
        self._program = tool("buildah")
        # chroot: RUN needs neither namespaces nor a runtime.
        self._environment = {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",
            "STORAGE_DRIVER": "vfs",
            "TMPDIR": str(folder),
        }

    def buildah(self, *arguments: str | Path) -> str:
        stores = ("--root", self.folder / "store", "--runroot", self.folder / "run")
        return _quietly(self._program, *stores, *arguments, env=self._environment).strip()

    def make_base(self) -> None:
        """Debian with nothing but what debootstrap calls minimal."""
        root = self.folder / "debian"
        program = tool("debootstrap")
        _quietly(program, "--variant=minbase", f"--include={','.join(_packages('run'))}", "bookworm", root)
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(root / cache, ignore_errors=True)
            (root / cache).mkdir(parents=True)
        (root / "var/cache/apt/archives/partial").mkdir()
        (root / "var/lib/apt/lists/partial").mkdir()
        container = self.buildah("from", "scratch")
        mount = self.buildah("mount", container)
        _quietly("cp", "-a", f"{root}/.", f"{mount}/")
        shutil.rmtree(root)
        self.buildah("umount", container)
        self.buildah("commit", "-q", "--timestamp", "0", container, _BASE)
        self.buildah("rm", container)

    def make_context(self) -> None:
        """What the Dockerfile copies, and the wheels, so that pip needs no network in there."""
        text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
            for source in line.split()[:-1]:
                place = self.context / source.rstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / source).is_dir():
                    leave = shutil.ignore_patterns("__pycache__", "*.bpf.o", "wheels")
                    shutil.copytree(ROOT / source, place, dirs_exist_ok=True, ignore=leave)
                else:
                    shutil.copy2(ROOT / source, place)
        for name in ("Dockerfile", ".dockerignore"):
            shutil.copy2(ROOT / name, self.context)
        _quietly(ROOT / "deploy/image/fetch", self.context / "deploy/image/wheels")

    def build(self, name: str = NAME) -> str:
        """Build it anew; its id, which is a hash of all that is in it."""
        base = f"--build-arg=BASE={_BASE}"
        # The host's network is for the build stage's packages (clang) alone.
        out = self.buildah(
            "build", "-q", "--no-cache", "--timestamp=0", "--network=host", base, "-t", name, self.context
        )
        return out.splitlines()[-1]

    def archive(self, file: Path, name: str = NAME) -> None:
        self.buildah("push", "-q", name, f"docker-archive:{file}:{name}")


def _packages(stage: str) -> list[str]:
    lines = (ROOT / "deploy/image/packages.txt").read_text(encoding="ascii").splitlines()
    return [line.split()[0] for line in lines if line.endswith(f" {stage}") and not line.startswith("#")]


def builder(folder: Path) -> Builder:
    """One that is ready to build."""
    made = Builder(folder)
    made.make_base()
    made.make_context()
    return made
