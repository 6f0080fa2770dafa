"""A plugin of pytest: each test's outcome as a line of JSON once it has ended, so that a run cut short has told most.

``SIGTRACE_RESULTS=FILE python -m pytest -p tests.vm.results``
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A passed call, or anything that failed or was skipped, set-up and teardown included."""
    if report.when == "call" or not report.passed:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _write({
            "test": report.nodeid.rpartition("/")[2],
            "outcome": report.outcome,
            "reason": reason.removeprefix("Skipped: "),
            "seconds": round(report.duration, 1),
        })  # fmt: skip


def pytest_sessionfinish() -> None:
    """Nothing was cut off."""
    _write({"end": True})


def _write(line: dict[str, object]) -> None:
    with Path(os.environ["SIGTRACE_RESULTS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
