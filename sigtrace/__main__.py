"""Where the command `sigtrace` begins: from here on Ctrl-C ends it quietly, also while the rest is imported.

Before that (the interpreter's own start, 10 to 30 ms) it ends as Python does.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Runs the command line and returns its exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started us wants it ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    from sigtrace.cli.main import main as run

    status = run()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to be told but that it ends
    return status


if __name__ == "__main__":
    sys.exit(main())
