"""A container without a runtime: namespaces of its own, and cgroups."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from typing import TYPE_CHECKING, Self

from sigtrace.errors import HostError, RunError
from sigtrace.lab import stages
from sigtrace.lab.cgroups import Cgroups, MemoryLimit
from sigtrace.lab.entered import Exec
from sigtrace.lab.process import PATH, PATIENCE_S, argv_of, descendants_of, is_asleep, now_ns, poll_pause
from sigtrace.lab.record import Sent, Stop
from sigtrace.lab.shim import Shim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sigtrace.lab.cgroup import LabCgroup
    from sigtrace.lab.outside import Outside
    from sigtrace.model.waitstatus import WaitStatus


def cgroup_name(name: str, *, own_namespace: bool) -> str:
    """What its cgroup is called: without an init of its own, only a runtime's kind of name shows a container."""
    return name if own_namespace else f"docker-{hashlib.sha256(name.encode()).hexdigest()}.scope"


class Container:
    """One container. ``with Container("web") as web: web.start(["sleep", "infinity"])``; leaving the block ends it.

    Raises HostError where the host can't make one (no root, no dash, cgroups not writable), RunError for what went
    wrong while it ran.
    """

    def __init__(
        self,
        name: str,
        *,
        workdir: Path | str = "/",
        env: Mapping[str, str] | None = None,
        host_pid: bool = False,
        sandbox: Container | None = None,
        v2: bool = False,
        memory: MemoryLimit | None = None,
    ) -> None:
        """``name``: also its host name; ``workdir``: where programs start and what they find first on PATH.

        ``host_pid``: no PID namespace of its own; ``sandbox``: in that of this container. ``v2``: it is in a cgroup of
        version 2, too; ``memory``: how much it may have.
        """
        self.name = name
        self.workdir = str(workdir)
        self.env = {"PATH": f"{workdir}:{PATH}" if self.workdir != "/" else PATH, **(env or {})}
        self.cgroups: Cgroups | None = None
        #: The signals that the lab sent PID 1, or let somebody send, up to now.
        self.sent: list[Sent] = []
        self._host_pid = host_pid
        self._sandbox = sandbox
        self._v2 = v2
        self._memory = memory
        self._cgroup_id = 0
        self._shim = Shim(name)
        self._execs: list[Exec] = []

    @property
    def cgroup(self) -> LabCgroup | None:
        """Where containers live; None before ``start``."""
        return self.cgroups.main if self.cgroups else None

    @property
    def cgroup_id(self) -> int:
        """The kernfs id of its cgroup; it stays known when the cgroup is gone."""
        return self._cgroup_id

    @property
    def cgroup_path(self) -> str:
        """Where its cgroup is, or was; empty before ``start``."""
        return str(self.cgroup.path) if self.cgroup else ""

    @property
    def init_pid(self) -> int:
        """PID 1, or the main process that is none, as the host numbers it; 0 before ``start``."""
        return self._shim.init_pid

    @property
    def output(self) -> bytes:
        """What its programs have written, as far as the lab has read it. A writer of more than 64 KiB blocks."""
        return self._shim.output

    def _read_output(self) -> None:
        _ = self._shim.output

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, argv: Sequence[str]) -> None:
        """Run ``argv`` as PID 1; it may not have been executed yet when this returns (``wait_ready``)."""
        if os.geteuid() != 0:
            raise HostError("the lab makes containers, which needs root", next_step="run it with sudo")
        if self.cgroups:
            raise RunError(f"container {self.name} was started before", next_step="make another Container")
        try:
            self._start(argv)
        except BaseException:
            self.close()
            raise

    def _start(self, argv: Sequence[str]) -> None:
        if argv[0].rpartition("/")[2] in {"systemd", "init"}:
            raise RunError(
                f"{argv[0]} would set up this machine: the lab's containers share its files and cgroups",
                next_step="run it in a container with a root of its own",
            )
        own_namespace = not (self._host_pid or self._sandbox)
        self.cgroups = Cgroups(cgroup_name(self.name, own_namespace=own_namespace), v2=self._v2, memory=self._memory)
        namespace = 0 if self._host_pid else self._sandbox.init_pid if self._sandbox else None
        command = stages.shim(self.name, self.cgroups.paths, self.workdir, argv, pid_namespace=namespace)
        self.cgroups.create()
        self._cgroup_id = self.cgroups.main.id
        self._shim.start(command, self.env)

    def wait_ready(self, output: bytes = b"", *, asleep: bool = True, timeout_s: float = PATIENCE_S) -> None:
        """Wait until PID 1 is the program, ``output`` was written and, if ``asleep``, PID 1 waits for work.

        A shell that has said that it is ready may still be on its way into read(2), where a signal would be noticed
        only by the next line: asleep, it is there. Raises RunError if PID 1 exits before or time is up.
        """
        deadline = time.monotonic() + timeout_s
        while missing := self._not_ready(output, asleep=asleep):
            left = deadline - time.monotonic()
            if left <= 0:
                raise RunError(f"waited {timeout_s:g} s for {missing} in container {self.name}: {self._shim.said()}")
            if self._shim.await_exit(0):
                raise self._early_exit()
            if output and output not in self.output:
                self._shim.await_news(left)
            poll_pause()

    def _not_ready(self, output: bytes, *, asleep: bool) -> str:
        argv = argv_of(self.init_pid)
        if not argv or stages.STAGE in argv:
            return "PID 1 to execute its program"
        if output not in self.output:
            return f"the output {os.fsdecode(output)!r}"
        return "PID 1 to wait for work" if asleep and not is_asleep(self.init_pid) else ""

    def _early_exit(self) -> Exception:
        said = self._shim.said()
        if said.startswith(("env: ", "unshare: ")):
            return HostError(
                f"cannot make a container: {said}",
                next_step="the lab needs CAP_SYS_ADMIN, util-linux and GNU coreutils 8.31 or newer",
            )
        return RunError(f"PID 1 of container {self.name} ended before it was ready ({self._shim.status}): {said}")

    def kill(self, signo: int) -> Sent:
        """Send PID 1 a signal from outside. Raises RunError if it has been reaped."""
        sent = Sent(signo, now_ns())
        self._shim.send(signo)
        self.sent.append(sent)
        return sent

    def kill_by(self, outside: Outside, comm: str, signo: int = signal.SIGKILL, command: str = "") -> Sent:
        """Let a process called ``comm`` on the host send PID 1 a signal: by kill(1), or else by this shell command."""
        if not self._shim.running:
            raise RunError(f"container {self.name} is not running", next_step="start it first")
        sent = Sent(signo, now_ns(), comm)
        # Until the lab lets it be reaped, nobody else can get its pid.
        outside.run(comm, command or f"kill -{int(signo)} {self.init_pid}")
        self.sent.append(sent)
        return sent

    def exec(self, argv: Sequence[str]) -> Exec:
        """Start a program inside, as ``kubectl exec`` does: its parent is outside the namespace and the cgroup."""
        if not self.cgroups or not self.init_pid:
            raise RunError(f"container {self.name} is not running", next_step="start it first")
        command = stages.entry(self.init_pid, self.cgroups.paths, self.workdir, argv)
        self._execs.append(Exec(command, self.env, argv))
        return self._execs[-1]

    def kill_from_inside(self, command: str = "kill -9 1") -> int:
        """Let a shell inside do ``command``; returns its exit code. kill(2) gives 0 even where nothing comes of it."""
        return self.exec(["sh", "-c", command]).wait()

    def zombies(self) -> set[int]:
        """The processes that PID 1 and its descendants owe a wait for."""
        return {pid for pid, state in descendants_of(self.init_pid).items() if state == "Z"}

    def stop(self, grace_s: float, signo: int = signal.SIGTERM) -> Stop:
        """Stop it as a runtime does: ``signo`` to PID 1, and SIGKILL if it is there still after ``grace_s`` seconds.

        The record has what it was sent before, too.
        """
        if not self.has_exited():
            self.kill(signo)
            if signo != signal.SIGKILL and not self._shim.await_exit(grace_s):
                self.kill(signal.SIGKILL)
        return Stop(wait_status=self.wait(), signals=tuple(self.sent), exited_ns=self._shim.exited_ns)

    def has_exited(self) -> bool:
        """Whether PID 1 has ended."""
        return self._shim.await_exit(0)

    def wait(self, timeout_s: float = PATIENCE_S) -> WaitStatus:
        """PID 1's wait status; of the container only the cgroup is left then. Raises RunError after ``timeout_s``."""
        if not self._shim.await_exit(timeout_s) or self._shim.status is None:
            raise RunError(
                f"waited {timeout_s:g} s for the end of PID 1 (pid {self.init_pid}) of container {self.name}"
            )
        return self._shim.status

    def close(self) -> None:
        """End whatever is there still and remove it all; safe to call twice."""
        with contextlib.ExitStack() as steps:  # run from the last to the first, each even if another failed
            steps.callback(self._shim.close)
            for entered in self._execs:
                steps.callback(entered.close)
            if self.cgroups:
                steps.callback(self.cgroups.remove)
            steps.callback(self._shim.dismiss)
            if self._shim.running:
                steps.callback(self.stop, 0, signal.SIGKILL)
