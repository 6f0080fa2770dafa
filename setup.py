"""Compiles the BPF object when a wheel, an sdist or an editable install is made; all else is in pyproject.toml."""

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.command.sdist import sdist
from setuptools.errors import SetupError

HERE = Path(__file__).resolve().parent
OBJECTS = [Path("sigtrace/sources") / name for name in ("sigtrace.bpf.o", "sigtrace-raw.bpf.o")]


def build_object() -> None:
    """Build both objects by the Makefile's rule (the flags stand there alone), or keep those an sdist brought.

    Raises SetupError when a tool is missing or the compiler fails.
    """
    # Only an sdist has PKG-INFO beside setup.py. Its object was built with it; file times mean nothing there.
    if (HERE / "PKG-INFO").exists() and all((HERE / one).exists() for one in OBJECTS):
        return
    tools = ("make", os.environ.get("CLANG", "clang"), os.environ.get("LLVM_STRIP", "llvm-strip"))
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise SetupError(
            f"cannot build {OBJECTS[0]}: {', '.join(missing)} not found; "
            "install clang, llvm, make and libbpf's headers (Debian: clang llvm make libbpf-dev)"
        )
    done = subprocess.run(["make", "--no-print-directory", "bpf"], cwd=HERE, check=False)
    if done.returncode != 0:
        raise SetupError(f"cannot build {OBJECTS[0]}: `make bpf` failed, the compiler's words are above")


class BuildBpf(Command):
    """A step of `build`, ahead of build_py: it leaves the object in the source tree, from where it is packed."""

    # A step rather than a hook in build_py: an editable install ignores a failing build_py.
    description = "compile the BPF object"
    user_options = []  # noqa: RUF012 - setuptools reads it from the class
    editable_mode = False

    def initialize_options(self) -> None:
        """Nothing to set: the Makefile knows."""

    def finalize_options(self) -> None:
        """Nothing to check."""

    def run(self) -> None:
        """Build the object if it is missing or older than its sources."""
        build_object()

    def get_source_files(self) -> list[str]:
        """Name what an sdist must hold (MANIFEST.in does that)."""
        return []

    def get_outputs(self) -> list[str]:
        """Name what lands in build/lib by this step: nothing, build_py copies the object."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """As get_outputs."""
        return {}


class SdistWithObject(sdist):
    """An sdist carries the object, so that a host without clang can install from it."""

    def run(self) -> None:
        """Build the object first."""
        build_object()
        super().run()


# On the class: `build` looks its steps up there, in order.
build.sub_commands = [("build_bpf", None), *build.sub_commands]

setup(cmdclass={"build_bpf": BuildBpf, "sdist": SdistWithObject})
