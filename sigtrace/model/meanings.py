"""What exit codes and signals usually mean: data for `sigtrace explain`.

Sources: signal(7), proc(5), POSIX's shell (2.8.2 Exit Status), docker-run(1), ld.so(8), Kubernetes' and containerd's
constants. "Usually", for a program may exit with any number it likes.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: exit code → (sentences, advice). 129 to 192 have 128 + signal said before them.
EXIT_CODES: Final[Mapping[int, tuple[tuple[str, ...], tuple[str, ...]]]] = MappingProxyType(
    {
        0: (
            (
                "Success. After a stop signal: it handled the signal and left.",
                (
                    "A container that should run for ever and ends with 0 has nothing left to wait for: its command "
                    "returned, or "
                    "the program went into the background."
                ),
            ),
            (),
        ),
        1: (
            (
                (
                    "The program failed by itself, for a reason of its own: an uncaught exception (Python, Node.js, "
                    "the "
                    "JVM), a "
                    "failed check, a shell command under `set -e`."
                ),
                "No signal ended it; but a supervisor may exit 1 because a signal ended its worker.",
            ),
            ("its log has the reason; `sigtrace watch` shows a child that died first",),
        ),
        2: (
            (
                (
                    "Wrong usage, by custom (shell built-ins, Python's argparse, click). A Go program that panics "
                    "exits "
                    "with 2, too."
                ),
            ),
            ("its log: a usage message, or a panic with its goroutines",),
        ),
        124: (("timeout(1) ended the command because its time was over.",), ("a longer timeout, or a faster command",)),
        125: (
            (
                (
                    "docker run (podman run, timeout, env) failed itself, before the command began: a wrong option, a "
                    "daemon error."
                ),
            ),
            ("the message of docker or podman",),
        ),
        126: (
            (
                (
                    "The command was found and could not be executed: no x permission, a directory, a file system "
                    "mounted "
                    "noexec, or "
                    "an executable for another architecture (exec format error)."
                ),
            ),
            ("chmod +x; check the image's platform (docker image inspect) and the script's first line (#!/bin/sh)",),
        ),
        127: (
            (
                "The command was not found: not in PATH, or not in the image.",
                (
                    "Also: the interpreter in a script's first line is missing (a \\r behind it counts), or a shared "
                    "library is."
                ),
            ),
            ("run it with an absolute path; look at the image (`ls`, `ldd`), at PATH, and for Windows line ends",),
        ),
        128: (
            (
                "Usually the container could not be started at all: Kubernetes shows 128 with the reason StartError.",
                "A shell gives it for a wrong argument of exit.",
            ),
            ("the pod's events, or the runtime's message: a missing command, mount or device",),
        ),
        134: (
            (
                (
                    "abort(): a failed assertion, an uncaught C++ exception, heap corruption found by malloc, a fatal "
                    "error of a "
                    "runtime (JVM, .NET)."
                ),
                "As PID 1 of a container abort() ends with 139 (arm64: 133) instead, for SIGABRT is dropped there.",
            ),
            ("its last words on stderr, and its core dump",),
        ),
        137: (
            (
                (
                    "Who sends SIGKILL: the OOM killer; a runtime or the kubelet when the grace period is over; a "
                    "supervisor that "
                    "gives up on a worker; `docker kill`, a liveness probe's restart; a person. So it need not be "
                    "memory."
                ),
                (
                    "How to tell: OOMKilled in the container's status says that the OOM killer was at work in it, but "
                    "also if it took "
                    "only a child. A gap of exactly the grace period (30 s, docker 10 s) after a stop signal says that "
                    "the signal was "
                    "not heard."
                ),
                (
                    "A shell or tini that waited for a killed child exits 137 by itself: then PID 1 was never killed. "
                    "Kubernetes also "
                    "writes 137 with the reason ContainerStatusUnknown, when nobody saw the end."
                ),
            ),
            (
                (
                    "`sigtrace watch` names the sender; if a stop signal came first, see signal-dropped and "
                    "killed/grace-expired"
                ),
                "if it was the OOM killer: memory.max and memory.peak of its cgroup, and the kernel's log",
            ),
        ),
        139: (
            (
                (
                    "An access to memory that is not its own: a bad pointer, a stack overflow, a broken native "
                    "extension "
                    "or library."
                ),
                (
                    "As PID 1 of a container it may have been abort() instead: SIGABRT is dropped there, and the "
                    "kernel "
                    "then sends "
                    "SIGSEGV. Outside a container the same program would end with 134."
                ),
            ),
            ("its core dump; as PID 1 look for an assertion or uncaught exception in its log first",),
        ),
        141: (
            (
                (
                    "It wrote into a pipe or socket whose reader had gone: `… | head` does that to the left side, "
                    "without "
                    "harm."
                ),
            ),
            (),
        ),
        143: (
            (
                (
                    "It was asked to stop, and there are two ways to 143. Either the default action ended it: nothing "
                    "was "
                    "cleaned up. "
                    "Or it handled SIGTERM and then exited with 143 by custom, as the JVM does after its shutdown "
                    "hooks, "
                    "or re-raised "
                    "it: all is well."
                ),
                (
                    "PID 1 of a container can't die of SIGTERM's default action: its 143 is a handler's, or passed on "
                    "from a child by "
                    "a shell or tini."
                ),
            ),
            ("if something has to be finished or flushed: a handler for SIGTERM",),
        ),
        255: (
            (
                (
                    "exit(-1), or any status that doesn't fit: only the low 8 bits are kept. ssh gives it when ssh "
                    "itself "
                    "failed."
                ),
                (
                    "containerd reports 255 when it lost track of a container, as after a node's reboot: then nobody "
                    "knows the status."
                ),
            ),
            ("the program's log; if there is none, the runtime's log and the node's uptime",),
        ),
    }
)

#: signal → who sends it and what for.
SIGNALS: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "The terminal is gone; daemons take it as: read the configuration again.",
        2: "Ctrl-C; also the stop signal of some images (STOPSIGNAL SIGINT).",
        3: "Ctrl-\\; nginx and php-fpm take it as a graceful stop, the JVM prints its threads.",
        4: "The CPU met an instruction it does not know: a build for a newer CPU, or a jump into data.",
        5: "A breakpoint, or a trap that a runtime set on purpose.",
        6: "abort(): a failed assertion, an uncaught exception, a corrupted heap.",
        7: "An access to memory that has nothing behind it: a truncated mapped file, a full /dev/shm, broken RAM.",
        8: "An arithmetic error: an integer divided by zero.",
        9: "Sent to end a process at once: the OOM killer, a runtime after the grace period, kill -9.",
        10: "Free for programs: log rotation, a debugger's door.",
        11: "An access to memory that is not its own.",
        12: "Free for programs: nginx's binary upgrade, a debugger's door.",
        13: "A write into a pipe or socket without a reader; most servers ignore it.",
        14: "alarm(2): a timer that the process set itself.",
        15: "The polite request to end: docker stop, kubectl delete, systemctl stop, kill.",
        16: "Not used on today's machines.",
        17: "A child ended, stopped or went on. At its default it is ignored, and the zombie stays until somebody "
        "waits.",
        18: "Go on after a stop; that happens even if the signal is ignored or dropped.",
        19: "Stop, and there is no way to refuse.",
        20: "Ctrl-Z: stop.",
        21: "A background process read from the terminal.",
        22: "A background process wrote to the terminal.",
        23: "Urgent data on a socket. Go's runtime sends it to its own threads, thousands of times a second: no cause "
        "for concern.",
        24: "The CPU time limit (RLIMIT_CPU) is over.",
        25: "A file grew over the limit (RLIMIT_FSIZE).",
        26: "A timer of the process's own CPU time.",
        27: "A profiler's timer.",
        28: "The terminal's size changed; Apache httpd takes it as a graceful stop, and its image sets it as "
        "STOPSIGNAL.",
        29: "A file descriptor is ready (O_ASYNC).",
        30: "The power is failing: sent by init or a UPS daemon. LXC stops containers with it.",
        31: "A system call that seccomp forbids, or that does not exist.",
        32: "glibc keeps it for itself: it cancels threads (pthread_cancel).",
        33: "glibc keeps it for itself: setuid and its like in all threads.",
        37: "systemd as PID 1 takes it as a request to power off: the stop signal of containers that run systemd.",
    }
)
