"""A command on a terminal of its own: keys go in, what it writes is kept."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time

#: The time an end may take (interface: SIGINT and SIGTERM end a command within 2 s), and a slow machine's.
PATIENCE_S = 20.0
_END = b"<all was read>"
#: The terminal becomes its own: closing it sends SIGHUP, unless it was started with nohup.
_LAUNCH = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv.pop(1):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from sigtrace.cli.main import main
sys.exit(main())
"""


class Terminal:
    """``with Terminal("top", "--replay", path) as terminal: terminal.until(b"verdicts")``."""

    def __init__(self, *argv, columns=80, lines=24, env=None, nohup=False):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.written = b""
        self._closing = False

        environment = {**os.environ, "TERM": "xterm-256color", "TZ": "UTC", **(env or {})}
        for name in [name for name, value in environment.items() if value is None]:
            del environment[name]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, "nohup" if nohup else "", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.close()

    def _read(self):
        while not self._closing:
            if select.select([self.master], [], [], 0.01)[0]:
                try:
                    self.written += os.read(self.master, 65536)
                except OSError:  # nobody has the other side open any more
                    return

    def until(self, wanted, since=0, *, ended=False):
        """Waits until it has written that."""
        end = time.monotonic() + PATIENCE_S
        while wanted not in self.written[since:]:
            if time.monotonic() > end or (self.process.poll() is not None and not ended):
                raise AssertionError(f"{wanted!r} was not written; the last: {self.written[-300:]!r}")
            time.sleep(0.005)
        return len(self.written)

    def type(self, text):
        os.write(self.master, text)

    def close(self):
        """The terminal goes away."""
        if not self._closing:
            self._closing = True
            self._thread.join()
            os.close(self._slave)
            os.close(self.master)

    def ended(self):
        """Its status, once it has ended and all that it wrote was read."""
        status = self.process.wait(PATIENCE_S)
        if not self._closing:
            os.write(self._slave, _END)  # behind the command's own last words
            self.until(_END, ended=True)
        assert b"Traceback" not in self.written, self.written
        return status

    def is_restored(self):
        """Canonical mode and echo are back, and the screen that was there before."""
        return termios.tcgetattr(self._slave) == self.before and self.written.rfind(
            b"\x1b[?1049l"
        ) > self.written.rfind(b"\x1b[?1049h")
