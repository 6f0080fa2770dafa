"""What the stress tests share: the program that storms, and patience."""

import shutil

import pytest

from sigtrace import demonstration
from tests.stress import storming


@pytest.fixture(scope="session")
def storm(tmp_path_factory):
    """storm.c, compiled."""
    if not (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")):
        pytest.skip("no C compiler: install the package gcc")
    return storming.build(tmp_path_factory.mktemp("storm"))


@pytest.fixture
def patient(monkeypatch):
    """A verdict may take its time beside a storm: how long is not what is asked here."""
    monkeypatch.setattr(demonstration, "_PATIENCE_S", 60.0)
