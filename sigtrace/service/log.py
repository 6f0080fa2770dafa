"""What the agent says about itself: a line each on standard error, for a person or as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time

from sigtrace.model.record import rfc3339
from sigtrace.model.text import printable


class Log:
    """Lines of several threads don't mix. If nobody can read them, that changes nothing."""

    def __init__(self, form: str = "text") -> None:
        """``form``: text (``sigtrace: ready backend=bpf``) or json."""
        self.form = form
        self._lock = threading.Lock()

    def __call__(self, event: str, *, level: str = "info", **fields: object) -> None:
        """What happened, in a few words, and what goes with it."""
        if self.form == "json":
            head = {"time": rfc3339(time.time_ns()), "type": "log", "level": level, "message": event}
            line = json.dumps({**head, **fields}, default=str)
        else:
            mark = "" if level == "info" else f"{level}: "
            line = " ".join([f"sigtrace: {mark}{event}", *(f"{name}={_word(value)}" for name, value in fields.items())])
            line = printable(line)
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def warning(self, event: str) -> None:
        """A line of others' that is to be seen."""
        self(event, level="warning")


def _word(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' ="') else text
