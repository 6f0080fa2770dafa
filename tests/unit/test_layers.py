"""Who may import whom: the table of design.md, walked over the imports of every module."""

import ast
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sigtrace"

# layer → what of sigtrace it may import, itself aside. A name with a dot allows that module alone.
# A stage meets its neighbours as protocols, and those are in the base.py of each layer.
PROTOCOLS = {"sources.base", "attribution.base", "detectors.base", "sinks.base"}
LAYERS: dict[str, set[str]] = {
    "model": set(),
    "errors": set(),
    "config": {"model", "errors"},
    "sources": {"model", "errors"},
    "attribution": {"model", "errors"},
    "detectors": {"model"},
    "audit": {"model", "detectors.shell"},
    "sinks": {"model", "errors", "audit"},
    "tui": {
        "model",
        "errors",
        "audit.rows",
        "sinks.base",
        "sinks.headlines",
        "sinks.overview",
        "sinks.story",
        "sinks.style",
        "sinks.text",
    },
    "lab": {"model", "errors"},
    "pipeline": {"model", "errors", *PROTOCOLS},
    "capture": {"model", "errors", "sources", "attribution", "detectors", "sinks", "pipeline"},
    "commands": {"model", "errors", "sources", "attribution", "detectors", "sinks", "capture", "export", "service"},
    "export": {"errors", "capture", "sinks"},
    # the agent's unix socket and the verdicts it keeps
    "service": {"model", "errors", "audit", "sinks.base"},
    # what the agent kept, for a person
    "why": {"model", "errors", "service", "sinks"},
    "agent": {
        "model",
        "errors",
        "config",
        "sources",
        "attribution",
        "detectors",
        "sinks",
        "capture",
        "commands",
        "service",
        "auditor",
    },
    "top": {
        "audit.rows",
        "auditor",
        "model",
        "errors",
        "capture",
        "commands",
        "detectors.base",
        "recorder",
        "service",
        "sinks",
        "sources",
        "tui",
    },
    "auditor": {"model", "errors", "audit", "attribution", "service", "sinks", "sources"},
    "recorder": {"model", "errors", "commands", "capture", "detectors", "export", "pipeline", "sinks", "sources"},
    "demonstration": {"model", "errors", "commands", "capture", "detectors.base", "lab", "sinks", "sources"},
    # doctor asks each backend itself why it is refused
    "cli": {
        "agent",
        "attribution.runtimes",
        "auditor",
        "commands",
        "recorder",
        "top",
        "demonstration",
        "config",
        "errors",
        "model",
        "sources",
        "why",
    },
    "__main__": {"cli"},
}

# layer → what of other people's packages it may import at all.
FOREIGN: dict[str, set[str]] = {
    "sources": {"psutil", "bcc", "pyroute2"},
    "attribution": {"psutil", "grpc"},
    "sinks": {"opentelemetry", "google", "grpc"},
    "tui": {"textual", "rich"},
    "lab": {"psutil"},
    "agent": {"psutil"},
    "cli": {"click"},
}

# These cost 40 to 120 ms: outside their own room they are imported inside the function that needs them.
ROOMS = {
    "bcc": {"sources"},
    "grpc": {"attribution", "sinks"},
    "opentelemetry": {"sinks"},
    "pyroute2": {"sources"},
    "textual": {"tui"},
}

# The core is pure: time enters through events and tick(now_ns), and nothing leaves but return values.
PURE = {"model", "detectors", "audit"}
IMPURE = {"asyncio", "io", "logging", "os", "pathlib", "random", "socket", "subprocess", "threading", "time"}


@dataclass(frozen=True)
class Import:
    line: int
    module: str  # absolute: "sigtrace.model.event", "ctypes"
    when: str  # "load", or "call" inside a function, or "types" under TYPE_CHECKING


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    """Yield the imports of one file. `from sigtrace import x` counts as sigtrace.x where x is a module."""
    package = [root.name, *path.relative_to(root).parent.parts]

    def is_module(dotted: str) -> bool:
        place = root.parent.joinpath(*dotted.split("."))
        return place.is_dir() or place.with_suffix(".py").is_file()

    def names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        above = package[: len(package) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            inside = f"{source}.{alias.name}"
            yield inside if source.split(".")[0] == root.name and is_module(inside) else source

    def walk(node: ast.AST, when: str) -> Iterator[Import]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (Import(node.lineno, name, when) for name in names(node))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from walk(child, "types")
            for child in node.orelse:
                yield from walk(child, when)
        else:
            inner = "call" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else when
            for child in ast.iter_child_nodes(node):
                yield from walk(child, inner)

    yield from walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), "load")


def layer_of(path: Path, root: Path) -> str:
    """Return "model" for sigtrace/model/event.py and "errors" for sigtrace/errors.py."""
    return path.relative_to(root).parts[0].removesuffix(".py")


def why_forbidden(layer: str, file: str, found: Import) -> str | None:
    """Say which rule an import breaks, or None."""
    top, *rest = found.module.split(".")
    if top == "sigtrace":
        # The package itself holds the version and nothing else, so whoever likes may ask for it.
        allowed = {layer, *LAYERS[layer]}
        if rest and rest[0] not in allowed and ".".join(rest[:2]) not in allowed:
            return f"{layer} may import {', '.join(sorted(LAYERS[layer])) or 'only the standard library'}"
        return None
    if top in {"ctypes", "_ctypes"}:
        private = file.startswith("_") and not file.startswith("__")
        return None if private else "ctypes lives only in files named _*.py"
    if top in sys.stdlib_module_names:
        return f"{layer} is pure: no clock, no IO, no logging" if layer in PURE and top in IMPURE else None
    if top in ROOMS and layer not in ROOMS[top] and found.when == "load":
        return f"{top} is heavy: outside {', '.join(sorted(ROOMS[top]))} import it where it is used"
    # Types cost nothing when the program runs, and agent wires every room's programs.
    if top in ROOMS and layer == "agent":
        return None
    return None if top in FOREIGN.get(layer, set()) else f"{layer} may not import {top}"


def violations(root: Path) -> list[str]:
    """Return one line for each import under root, a folder called sigtrace, that breaks a rule."""
    lines = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root.parent)
        if path == root / "__init__.py":
            lines += [f"{name}:{i.line}: sigtrace/__init__.py imports nothing" for i in imports_of(path, root)]
            continue
        layer = layer_of(path, root)
        if layer not in LAYERS:
            lines.append(f"{name}:1: {layer} is no layer of design.md's table; add it there and to LAYERS")
            continue
        for found in imports_of(path, root):
            if reason := why_forbidden(layer, path.name, found):
                lines.append(f"{name}:{found.line}: imports {found.module}: {reason}")
    return lines


def test_every_module_keeps_to_the_table():
    assert violations(PACKAGE) == []


# A test that can't fail proves nothing: each rule is broken once, and kept once as closely as it allows.

BROKEN = [
    ("model/event.py", "import sigtrace.sources", "model may import only the standard library"),
    ("model/event.py", "import psutil", "model may not import psutil"),
    ("model/clock.py", "from time import monotonic_ns", "model is pure"),
    ("detectors/dropped.py", "def f():\n    import logging", "detectors is pure"),
    ("detectors/dropped.py", "from ..errors import SigtraceError", "detectors may import model"),
    ("attribution/cri.py", "from sigtrace import sources", "attribution may import errors, model"),
    ("sources/bpf.py", "from .. import detectors", "sources may import errors, model"),
    ("sources/bpf.py", "import ctypes", "ctypes lives only"),
    ("sources/__init__.py", "from ctypes import CDLL", "ctypes lives only"),
    ("sources/replay.py", "if True:\n    import opentelemetry.sdk", "opentelemetry is heavy"),
    ("tui/app.py", "from sigtrace.sinks.otlp import Sink", "tui may import audit.rows, errors, model, sinks.base"),
    ("pipeline.py", "from sigtrace.sources.bpf import BpfSource", "pipeline may import"),
    ("pipeline.py", "import typing\nif typing.TYPE_CHECKING:\n    import sigtrace.sinks.otlp", "pipeline may import"),
    ("agent.py", "from sigtrace.cli import main", "agent may import"),
    ("agent.py", "try:\n    import grpc\nexcept ImportError:\n    pass", "grpc is heavy"),
    ("cli/top.py", "import textual.app", "textual is heavy"),
    ("cli/top.py", "def f():\n    import textual", "cli may not import textual"),
    ("cli/watch.py", "import sigtrace.pipeline", "cli may import agent, attribution.runtimes, auditor, commands, "),
    ("helpers.py", "", "helpers is no layer"),
    ("__init__.py", "import os", "imports nothing"),
]

KEPT = [
    ("model/event.py", "import enum, dataclasses\nfrom . import masks\nfrom sigtrace import __version__"),
    ("detectors/dropped.py", "from ..model.event import Event\nfrom .base import Detector"),
    ("sources/_libbpf.py", "import ctypes"),
    ("sources/bcc.py", "import bcc, psutil\nfrom sigtrace.sources._libbpf import load"),
    ("sinks/otlp.py", "def f():\n    from opentelemetry.sdk.trace import ReadableSpan"),
    ("tui/app.py", "import textual.app\nfrom sigtrace.sinks.base import Sink"),
    ("pipeline.py", "from sigtrace.sources.base import Source\nfrom sigtrace.sinks import base"),
    ("agent.py", "import sigtrace.sources, sigtrace.sinks, os\ndef f():\n    import textual"),
    ("cli/main.py", "import click\nfrom sigtrace.errors import SigtraceError\nfrom . import watch"),
]


@pytest.fixture
def tree(tmp_path):
    """A package called sigtrace with every layer in it, all empty; the function writes one file of it."""
    root = tmp_path / "sigtrace"
    for layer in ("model", "sources", "attribution", "detectors", "sinks", "tui", "cli", "lab"):
        (root / layer).mkdir(parents=True)
        for name in ("__init__", "base"):
            (root / layer / f"{name}.py").touch()

    def write(name: str, source: str) -> Path:
        (root / name).write_text(textwrap.dedent(source))
        return root

    return write


@pytest.mark.parametrize(("name", "source", "complaint"), BROKEN)
def test_it_sees_a_broken_rule(tree, name, source, complaint):
    (found,) = violations(tree(name, source))
    assert found.startswith(f"sigtrace/{name}:")
    assert complaint in found


@pytest.mark.parametrize(("name", "source"), KEPT)
def test_it_lets_a_kept_rule_pass(tree, name, source):
    assert violations(tree(name, source)) == []
