"""Where containers live, from the texts of /proc alone."""

import pytest

from sigtrace.model.hierarchy import Hierarchy, HierarchyKind, choose

V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
PIDS = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
NAMED = "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
OTHER = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"

CGROUPS = "9:name=systemd:/\n8:pids:/\n4:memory:/x\n2:cpu,cpuacct:/\n0::/\n"

IN_V2 = Hierarchy(HierarchyKind.V2, "/sys/fs/cgroup", 0)
IN_UNIFIED = Hierarchy(HierarchyKind.V2, "/sys/fs/cgroup/unified", 0)
IN_PIDS = Hierarchy(HierarchyKind.PIDS, "/sys/fs/cgroup/pids", 8)
IN_MEMORY = Hierarchy(HierarchyKind.MEMORY, "/sys/fs/cgroup/memory", 4)


@pytest.mark.parametrize(
    ("mountinfo", "v2_controllers", "expected"),
    [
        pytest.param(V2, "cpuset cpu io memory pids", IN_V2, id="v2 alone"),
        pytest.param(V2, "", IN_V2, id="v2 alone without controllers"),
        pytest.param(OTHER + CPU + MEMORY + PIDS + NAMED + UNIFIED, "hugetlb", IN_PIDS, id="hybrid"),
        pytest.param(OTHER + CPU + PIDS + UNIFIED, "memory", IN_UNIFIED, id="hybrid, memory moved to v2"),
        pytest.param(OTHER + CPU + MEMORY + PIDS + NAMED, "", IN_PIDS, id="v1"),
        pytest.param(OTHER + CPU + MEMORY + NAMED, "", IN_MEMORY, id="v1 without pids"),
        pytest.param(OTHER + CPU + NAMED + UNIFIED, "hugetlb", IN_UNIFIED, id="no v1 controller that tells"),
        pytest.param(OTHER + CPU + NAMED, "", None, id="none"),
        pytest.param("", "", None, id="nothing mounted"),
    ],
)
def test_containers_live_where_runtimes_put_them(mountinfo, v2_controllers, expected):
    assert choose(mountinfo, CGROUPS, lambda _: v2_controllers) == expected


def test_a_bind_mount_of_a_folder_comes_after_the_whole():
    bound = "50 1 0:36 /docker/abc /mnt rw - cgroup cgroup rw,pids\n"
    assert choose(bound + PIDS, CGROUPS, lambda _: "") == IN_PIDS
    assert choose(bound, CGROUPS, lambda _: "") == Hierarchy(HierarchyKind.PIDS, "/mnt", 8)


def test_paths_are_unescaped():
    line = "1 1 0:1 / /mnt/my\\040cgroups rw - cgroup cgroup rw,pids\n"
    assert choose(line, CGROUPS, lambda _: "") == Hierarchy(HierarchyKind.PIDS, "/mnt/my cgroups", 8)


def test_broken_lines_are_skipped():
    assert choose("garbage\n1 2 3 - cgroup2\n\n" + PIDS, "x:\n::\n" + CGROUPS, lambda _: "") == IN_PIDS
