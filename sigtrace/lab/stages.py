"""The stages on the way to a container's PID 1, as command lines.

Three processes make a container, as a runtime's do:

    lab ── shim: env, unshare, dash       outside the PID namespace and outside the cgroups
             └─ PID 1: env, unshare, stage (dash), the program

The stage enters the cgroups and then executes the program, so the exec of the program is the first that an init makes
in a cgroup that is not its parent's: that is how runc does it, and how sigtrace recognises a container. Where the PID
namespace is another container's the shim enters that one (nsenter in unshare's place), and where it is the host's there
is neither; the main process is no PID 1 then.

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

# All three split their list of cgroups, one a line.
_BY_LINES = """\
set -f; IFS='
'
"""

# $1: the cgroups, $2: rmdir; then PID 1's command. With dash, & means "ignore SIGINT and SIGQUIT" and no trap undoes
# it: env does. Without the lab nobody reads stderr: dash's "Killed" would be a SIGPIPE. Once PID 1 is dead nothing can
# fork here, but exec works. Outside a PID namespace of its own a container's processes outlive its main process.
_SHIM = """\
cgroups=$1 rmdir=$2; shift 2
"$@" </dev/null >&2 &
echo $!
read -r word
exec 2>/dev/null
[ "$word" = bye ] || kill -9 $!
wait $!
[ "$word" = bye ] && exit
for cgroup in $cgroups; do
    while read -r pid <"$cgroup/cgroup.procs"; do kill -9 "$pid"; done
    folders="$folders$cgroup$IFS${cgroup%/*}$IFS"
done
exec "$rmdir" $folders
"""

# $1: the host name, $2: the cgroups, $3: the working directory; then the program.
_PID_1 = """\
set -e
echo "$1" >/proc/sys/kernel/hostname
for cgroup in $2; do echo 0 >"$cgroup/cgroup.procs"; done
cd "$3"
shift 3
exec "$@"
"""

# As a runtime's exec: the parent stays outside the PID namespace and outside the cgroups. The exit keeps dash from
# taking the subshell for its last command, which it would run without a fork.
_EXEC = """\
(set -e; cd "$2"; for cgroup in $1; do echo 0 >"$cgroup/cgroup.procs"; done; shift 2; exec "$@"); exit $?
"""


def shim(
    name: str, cgroups: Sequence[str], workdir: str, argv: Sequence[str], *, pid_namespace: int | None
) -> list[str]:
    """The shim's command: it writes the pid of its PID 1 to stdout and reads ``bye`` from stdin.

    ``cgroups`` are the paths of the container's, ``argv`` the program. ``pid_namespace``: None for one of its own, 0
    for the host's, else that of this process.
    """
    dash, unshare, paths = tool("dash"), tool("unshare"), "\n".join(cgroups)
    namespace = [unshare, "--pid"]
    if pid_namespace is not None:
        namespace = [tool("nsenter"), f"--target={pid_namespace}", "--pid", "--no-fork"] if pid_namespace else []
    outside = [*namespace, dash, "-c", _BY_LINES + _SHIM, STAGE, paths, tool("rmdir")]
    proc = [] if pid_namespace == 0 else ["--mount-proc"]
    fresh = [tool("env"), "--default-signal=INT,QUIT", unshare, "--mount", "--uts", *proc]
    return [*outside, *fresh, dash, "-c", _BY_LINES + _PID_1, STAGE, name, paths, workdir, *argv]


def entry(init_pid: int, cgroups: Sequence[str], workdir: str, argv: Sequence[str]) -> list[str]:
    """The command that executes ``argv`` in the container of ``init_pid``; its code is the program's, or 128 + n."""
    enter = [tool("nsenter"), f"--target={init_pid}", "--pid", "--mount", "--uts", "--no-fork"]
    return [*enter, tool("dash"), "-c", _BY_LINES + _EXEC, STAGE, "\n".join(cgroups), workdir, *argv]
