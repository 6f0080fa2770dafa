"""The stages on the way to a container's PID 1, as command lines.

Three processes make a container, as a runtime's do:

    lab ── shim: env, unshare, dash       outside the PID namespace and outside the cgroup
             └─ PID 1: env, unshare, stage (dash), the program

The stage enters the cgroup and then executes the program, so the exec of the program is the first that an init makes
in a cgroup that is not its parent's: that is how runc does it, and how sigtrace recognises a container.

The shim waits for a word from the lab, not for PID 1. So PID 1 stays a zombie until the lab has read its true wait
status in /proc: ``unshare --fork`` would relay a death by signal by killing itself, which is one more event on the
host, and a shell makes one number of exit 137 and of SIGKILL. And when the lab dies, be it of SIGKILL, the shim's pipe
closes and it cleans up. It has to be dash: bash reaps while it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigtrace.lab.process import tool

if TYPE_CHECKING:
    from collections.abc import Sequence

#: $0 of the shells on the way to the program: as long as PID 1's arguments have it, PID 1 is not the program yet.
STAGE = "sigtrace-lab-stage"

# $1: the cgroup, $2: rmdir; then PID 1's command. With dash, & means "ignore SIGINT and SIGQUIT" and no trap undoes it:
# env does. Without the lab nobody reads stderr: dash's "Killed" would be a SIGPIPE. Once PID 1 is dead nothing can fork
# here, but exec works.
_SHIM = """\
cgroup=$1 rmdir=$2; shift 2
"$@" </dev/null >&2 &
echo $!
read -r word
exec 2>/dev/null
[ "$word" = bye ] || kill -9 $!
wait $!
[ "$word" = bye ] || exec "$rmdir" "$cgroup" "${cgroup%/*}"
"""

# $1: the host name, $2: the cgroup, $3: the working directory; then the program.
_PID_1 = """\
set -e
echo "$1" >/proc/sys/kernel/hostname
cd "$3"
echo 0 >"$2/cgroup.procs"
shift 3
exec "$@"
"""

# As a runtime's exec: the parent stays outside the PID namespace and outside the cgroup. The exit keeps dash from
# taking the subshell for its last command, which it would run without a fork.
_EXEC = '(set -e; cd "$2"; echo 0 >"$1/cgroup.procs"; shift 2; exec "$@"); exit $?'


def shim(name: str, cgroup: str, workdir: str, argv: Sequence[str]) -> list[str]:
    """The shim's command: it writes the pid of its PID 1 to stdout and reads ``bye`` from stdin.

    ``cgroup`` is the path of the container's, ``argv`` the program.
    """
    dash, unshare = tool("dash"), tool("unshare")
    outside = [unshare, "--pid", dash, "-c", _SHIM, STAGE, cgroup, tool("rmdir")]
    fresh = [tool("env"), "--default-signal=INT,QUIT", unshare, "--mount", "--uts", "--mount-proc"]
    return [*outside, *fresh, dash, "-c", _PID_1, STAGE, name, cgroup, workdir, *argv]


def entry(init_pid: int, cgroup: str, workdir: str, argv: Sequence[str]) -> list[str]:
    """The command that executes ``argv`` in the container of ``init_pid``; its code is the program's, or 128 + n."""
    enter = [tool("nsenter"), f"--target={init_pid}", "--pid", "--mount", "--uts", "--no-fork"]
    return [*enter, tool("dash"), "-c", _EXEC, STAGE, cgroup, workdir, *argv]
