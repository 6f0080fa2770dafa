"""docs/licences.md is made, not written; and nothing gets in that nobody has read."""

import importlib.machinery
import importlib.util

import pytest

from tests.manifests import ROOT


@pytest.fixture(scope="module")
def tool():
    loader = importlib.machinery.SourceFileLoader("licences", str(ROOT / "tools/licences"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("licences", loader))
    loader.exec_module(module)
    return module


def test_the_page_is_current(tool):
    assert (ROOT / "docs/licences.md").read_text(encoding="utf-8") == tool.page(), "run tools/licences"


@pytest.mark.parametrize(
    ("expression", "given"),
    [
        ("MIT", True),
        ("GPL-2.0-or-later OR Apache-2.0", True),
        ("GPL-2.0-or-later", False),
        ("Apache-2.0 AND GPL-3.0-only", False),
        ("MPL-2.0", False),
    ],
)
def test_the_image_takes_what_can_be_had_under_a_permissive_licence(tool, expression, given):
    assert tool.distributable(expression) is given


@pytest.mark.parametrize("words", ["", "Proprietary", "GPL-3.0-only"])
def test_a_licence_that_nobody_has_read_is_an_error(tool, monkeypatch, words):
    about = {"Version": "1", "License-Expression": words or None, "License": None}

    class Metadata(dict):
        def get_all(self, _, default):
            return default

    monkeypatch.setattr(tool.importlib.metadata, "metadata", lambda _: Metadata(about))
    with pytest.raises(SystemExit, match="read its licence"):
        tool.licence("new", "1")


def test_a_version_that_is_not_the_locked_one_is_an_error(tool):
    with pytest.raises(SystemExit, match="run make setup"):
        tool.licence("click", "0.0.1")
