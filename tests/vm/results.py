"""A plugin of pytest: each test's outcome as a line of JSON once it has ended, so that a run cut short has told most.

``SIGTRACE_RESULTS=FILE python -m pytest -p tests.vm.results``
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

#: The last lines of a failure, which say what failed.
WHY_CHARS: Final = 3000

if TYPE_CHECKING:
    import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A passed call, or anything that failed or was skipped, set-up and teardown included."""
    if report.when == "call" or not report.passed:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _write({
            "test": name_of(report.nodeid),
            "outcome": report.outcome,
            "reason": reason.removeprefix("Skipped: "),
            "seconds": round(report.duration, 1),
            # Whoever cuts the run short loses pytest's own report, which comes at the end.
            "why": report.longreprtext[-WHY_CHARS:] if report.failed else "",
        })  # fmt: skip


def name_of(nodeid: str) -> str:
    """``test_x.py::test_y[parameters]``, without the folder. A parameter may have a slash, too."""
    path, _, test = nodeid.partition("::")
    return f"{Path(path).name}::{test}"


def pytest_collection_finish(session: pytest.Session) -> None:
    """How many there are to be."""
    _write({"planned": len(session.items)})


def pytest_sessionfinish() -> None:
    """Nothing was cut off."""
    _write({"end": True})


def _write(line: dict[str, object]) -> None:
    with Path(os.environ["SIGTRACE_RESULTS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
