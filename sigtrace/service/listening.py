"""The place of the agent: its folder, the lock that makes it the only one, and the socket it listens on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import stat
import time
from typing import Final

from sigtrace.errors import HostError, RunError, UsageError
from sigtrace.model.text import printable

DEFAULT_SOCKET: Final = "/run/sigtrace/agent.sock"
#: Bytes of sockaddr_un.sun_path, with its NUL.
_PATH_MAX: Final = 108
#: An agent that was asked to end has so long (s): its own limit is 5.
_REPLACE_S: Final = 10.0
_STEP_S: Final = 0.05
_BACKLOG: Final = 64


def agent_socket(given: str | None = None) -> str:
    """Where the agent listens: as given, else SIGTRACE_SOCKET, else /run/sigtrace/agent.sock. Raises UsageError."""
    path = given or os.environ.get("SIGTRACE_SOCKET") or DEFAULT_SOCKET
    if len(os.fsencode(path)) >= _PATH_MAX or "\0" in path:
        raise UsageError(f"{printable(path)} can be no socket", next_step=f"fewer than {_PATH_MAX} bytes, and no NUL")
    return path


def make_folder(path: str) -> str:
    """The socket's folder, for root alone to write to; returned. Raises HostError."""
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
        open_to_all = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
        if open_to_all and status.st_uid == os.geteuid():  # an emptyDir, as the kubelet makes it
            os.chmod(folder, 0o700)
            open_to_all = 0
    except OSError as error:
        raise HostError(
            f"cannot use the folder {printable(folder)}: {error.strerror}",
            next_step="run it as root, or set SIGTRACE_SOCKET to a path in a folder of yours",
        ) from error
    if open_to_all:
        raise HostError(
            f"others can write to {printable(folder)}, so they could pass for the agent",
            next_step=f"chmod 700 {folder}",
        )
    if status.st_uid not in (0, os.geteuid()):
        raise HostError(
            f"{printable(folder)} belongs to uid {status.st_uid}, who could pass for the agent",
            next_step="set SIGTRACE_SOCKET to a path in a folder of root's or of yours",
        )
    return folder


class Lock:
    """One agent a node: a lock on a file beside its socket, which ends with the process however that ends."""

    def __init__(self, socket_path: str) -> None:
        """Opens the file. Raises HostError."""
        self._path = os.path.join(make_folder(socket_path), "agent.lock")
        self._held = False
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise HostError(
                f"cannot open {printable(self._path)}: {error.strerror}", next_step="run it as root"
            ) from error

    def take(self, *, replace: bool = False) -> int:
        """Becomes the only one; with ``replace`` in place of another. Returns that one's pid, or 0.

        Raises RunError if another has it and is not to be replaced, or does not go.
        """
        holder = 0
        if not self._try():
            holder = self._holder()
            if not replace:
                raise RunError(
                    f"an agent runs on this node already (pid {holder or 'unknown'}, {printable(self._path)})",
                    next_step="sigtrace agent --replace takes its place; sigtrace why and top read from it",
                )
            self._ask_to_end(holder)
        self._held = True
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        return holder

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                return False
            raise RunError(f"cannot lock {printable(self._path)}: {error.strerror}") from error
        return True

    def _holder(self) -> int:
        """Whoever takes the lock writes its pid into the file; 0: not yet, or none that can be one."""
        text = os.pread(self._fd, 32, 0).strip()
        return int(text) if text.isdigit() and len(text) < 10 else 0

    def _ask_to_end(self, holder: int) -> None:
        end = time.monotonic() + _REPLACE_S
        if holder > 1:
            self._send_term(holder)
        while not self._try():
            if time.monotonic() > end:
                raise RunError(
                    f"the agent with pid {holder or 'unknown'} was asked to end and did not within {_REPLACE_S:g} s",
                    next_step=f"look at what holds it up, or end it: kill -9 {holder or 'PID'}",
                )
            time.sleep(_STEP_S)

    def _send_term(self, holder: int) -> None:
        try:
            pidfd = os.pidfd_open(holder)
        except OSError:
            return  # it has gone meanwhile
        try:
            # A pid may be another's by now. That it still has the lock shows that it was not when the pidfd was opened.
            if not self._try_and_give_back() and self._holder() == holder:
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                select.select([pidfd], [], [], _REPLACE_S)
        except OSError as error:
            raise RunError(
                f"cannot ask the agent with pid {holder} to end: {error.strerror}", next_step="run it as root"
            ) from error
        finally:
            os.close(pidfd)

    def _try_and_give_back(self) -> bool:
        free = self._try()
        if free:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        return free

    def release(self) -> None:
        """Another may be the only one. Harmless if it never was taken."""
        if self._held:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
        os.close(self._fd)


def listen(path: str) -> socket.socket:
    """A socket at this path that root alone can connect to, in place of one whose agent is gone.

    Raises RunError if somebody listens there, or the path is no socket's; HostError if it can't be made.
    """
    shown = printable(path)
    make_folder(path)
    _refuse_others(path, shown)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    fresh = f"{path}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
        _bind(listener, fresh)
        os.chmod(fresh, 0o600)
        listener.listen(_BACKLOG)
        os.replace(fresh, path)
    except OSError as error:
        listener.close()
        raise HostError(f"cannot listen at {shown}: {error.strerror or error}", next_step="run it as root") from error
    return listener


def _bind(listener: socket.socket, path: str) -> None:
    """Through the folder's descriptor: sun_path holds the name that readers use, and this one is longer."""
    folder = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)


def _refuse_others(path: str, shown: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostError(f"cannot look at {shown}: {error.strerror}", next_step="run it as root") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise RunError(f"{shown} is no socket, and is left as it is", next_step="remove it, or set SIGTRACE_SOCKET")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # stale: whoever listened there was killed
        except BlockingIOError:
            pass  # its queue is full
        except OSError as error:
            raise HostError(f"cannot look at {shown}: {error.strerror}", next_step="run it as root") from error
    raise RunError(f"somebody listens at {shown} already", next_step="set SIGTRACE_SOCKET to another path")


def unlink_if_ours(path: str, inode: int) -> None:
    """Removes the socket unless another agent has put its own there. ``inode``: of ours."""
    with contextlib.suppress(OSError):
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
