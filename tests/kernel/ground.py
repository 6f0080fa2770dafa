"""The ground truth of the lab's containers, read from /proc and cgroupfs without the lab's help."""

import contextlib
import os
import time
from pathlib import Path

from sigtrace.lab.cgroup import FOLDER, find_hierarchy, find_other
from sigtrace.lab.container import cgroup_name

SLEEP = ["sleep", "infinity"]


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def cgroup_of(pid, hierarchy=None):
    """Path of its cgroup in a hierarchy, by default that where containers live."""
    wanted = (hierarchy or find_hierarchy()).number
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        if int(number) == wanted:
            return path
    raise AssertionError(pid)


def namespace_of(pid, kind="pid"):
    return Path(f"/proc/{pid}/ns/{kind}").readlink()


def hierarchies():
    """All of this host that the lab makes cgroups in."""
    found = [find_hierarchy(), find_other("cgroup2"), find_other("memory")]
    return list(dict.fromkeys(hierarchy for hierarchy in found if hierarchy))


def cgroups_of(name):
    """The cgroups of the containers whose names begin so, in any hierarchy."""
    patterns = (f"{name}*", cgroup_name(name, own_namespace=False))
    found = []
    for hierarchy in hierarchies():
        with contextlib.suppress(FileNotFoundError):  # the last container takes the folder with it, also while we look
            found += [path for pattern in patterns for path in Path(hierarchy.mount, FOLDER).glob(pattern)]
    return found


def processes_of(cgroup):
    """Live processes and zombies that say they are in it, in any hierarchy."""
    return [p.name for p in Path("/proc").iterdir() if p.name.isdigit() and cgroup in read(p / "cgroup")]


def read(path):
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def wait_for(condition, what):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"waited 10 s for {what}"
        time.sleep(0.002)


def proc_mounts():
    """The lab mounts nothing else."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - proc " in line]


def own_children():
    """Pids of this process's children; none where the kernel does not list them."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(path.read_text().split()) if path.exists() else set()


@contextlib.contextmanager
def nothing_left():
    """Leaving the block with a mount, a descriptor, a child, or a cgroup or process of ours fails."""
    mounts = proc_mounts()
    descriptors = len(names_in("/proc/self/fd"))
    children = own_children()  # of a session that also has container runtimes
    yield
    # Another lab may run beside us; ours carry our pid or went with their scenario.
    assert cgroups_of(f"test-{os.getpid()}") == []
    assert processes_of(f"/{FOLDER}/test-{os.getpid()}") == []
    assert proc_mounts() == mounts
    assert len(names_in("/proc/self/fd")) == descriptors
    assert own_children() <= children
