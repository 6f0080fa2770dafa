"""An agent in a cgroup namespace of its own, with the host's tree mounted beside it, as a DaemonSet has it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from sigtrace.lab.cgroup import LabCgroup
from sigtrace.lab.container import Container
from sigtrace.model.hierarchy import HierarchyKind

ROOT = Path(__file__).parents[2]

#: $1: a folder; $2: where the hierarchy is; $3: its type and options for mount; then the command.
INSIDE = textwrap.dedent("""\
    set -e
    folder=$1 tree=$2; shift 2
    mkdir -p "$folder/own" "$folder/host/sys/fs/cgroup"
    mount --bind "$tree" "$folder/host/sys/fs/cgroup"
    if [ "$1" = v2 ]; then mount -t cgroup2 none "$folder/own"; else mount -t cgroup -o "$1" none "$folder/own"; fi
    umount "$tree"
    shift
    exec "$@"
""")
PROGRAM = textwrap.dedent("""\
    import os, time
    from sigtrace.attribution.cgroups import Cgroups
    from sigtrace.sources.host import read_host
    hierarchy = read_host().hierarchy
    cgroups = Cgroups(hierarchy.mount)
    cgroups.walk(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    print(hierarchy.mount, cgroups.path(int(os.environ["ASKED"]), 0))
""")


def test_the_hosts_tree_is_used_and_not_ones_own_part_of_it(bpf_host, tmp_path):
    cgroup = LabCgroup(f"agent-{os.getpid()}")
    cgroup.create()
    kind = "v2" if cgroup.hierarchy.kind is HierarchyKind.V2 else cgroup.hierarchy.kind.name.lower()
    try:
        with Container(f"seen-{os.getpid()}") as box:
            box.start(["sleep", "infinity"])
            box.wait_ready()
            enter = f'echo 0 >"{cgroup.path}/cgroup.procs"; exec unshare --cgroup --mount "$@"'
            inside = ["sh", "-c", INSIDE, "sh", str(tmp_path), cgroup.hierarchy.mount, kind]
            done = subprocess.run(
                ["sh", "-c", enter, "sh", *inside, sys.executable, "-c", PROGRAM],
                cwd=ROOT, env={**os.environ, "ASKED": str(box.cgroup_id)}, capture_output=True, text=True, check=False,
                timeout=60,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        mount, path = done.stdout.split()
        assert mount == f"{tmp_path}/host/sys/fs/cgroup"
        assert path == f"/sigtrace-lab/seen-{os.getpid()}"
    finally:
        cgroup.remove()
