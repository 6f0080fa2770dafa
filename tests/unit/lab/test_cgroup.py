"""Where containers live, from the mounts alone."""

import pytest

from sigtrace.lab.cgroup import Hierarchy, cgroup_mounts, choose_hierarchy

V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
PIDS = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
CPU = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
NAMED = "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
OTHER = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"

IN_V2 = Hierarchy(2, "", "/sys/fs/cgroup")
IN_UNIFIED = Hierarchy(2, "", "/sys/fs/cgroup/unified")
IN_PIDS = Hierarchy(1, "pids", "/sys/fs/cgroup/pids")
IN_MEMORY = Hierarchy(1, "memory", "/sys/fs/cgroup/memory")


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
    assert choose_hierarchy(mountinfo, v2_controllers) == expected


def test_a_bind_mount_of_a_folder_comes_after_the_whole():
    bound = "50 1 0:36 /docker/abc /mnt rw - cgroup cgroup rw,pids\n"
    assert choose_hierarchy(bound + PIDS) == IN_PIDS
    assert choose_hierarchy(bound) == Hierarchy(1, "pids", "/mnt")


def test_controllers_are_whole_words_and_paths_are_unescaped():
    (mount,) = cgroup_mounts("1 1 0:1 / /mnt/my\\040cgroups rw - cgroup cgroup rw,cpu,cpuacct\n")
    assert mount.controllers == {"cpu", "cpuacct"}
    assert mount.path == "/mnt/my cgroups"


def test_broken_lines_are_skipped():
    assert choose_hierarchy("garbage\n1 2 3 - cgroup2\n\n" + PIDS) == IN_PIDS
