"""cgroup id → path, over a directory tree: there too the id is the inode's number."""

import os

import pytest

from sigtrace.attribution import cgroups as module
from sigtrace.attribution.cgroups import _REMEMBERED, Cgroups

S = 1_000_000_000


@pytest.fixture
def tree(tmp_path):
    for path in ("a/b/c", "kubepods/pod1"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("", encoding="ascii")
    return tmp_path


def walked(tree):
    cgroups = Cgroups(str(tree))
    cgroups.walk(0)
    return cgroups


def number(path):
    return path.stat().st_ino


def test_a_walk_knows_every_directory_and_no_file(tree):
    cgroups = walked(tree)
    expected = {"/": tree, "/a": tree / "a", "/a/b": tree / "a/b", "/a/b/c": tree / "a/b/c"}
    assert {path: cgroups.path(number(at), 0) for path, at in expected.items()} == {path: path for path in expected}
    assert len(cgroups) == 6
    assert cgroups.path(number(tree / "cgroup.procs"), 0) is None


def test_a_link_is_not_followed(tree):
    (tree / "loop").symlink_to(tree)
    assert len(walked(tree)) == 6


def test_a_name_that_is_hostile_or_no_text_is_known_and_printable(tree):
    os.mkdir(os.fsencode(tree) + b"/\xff\x1b[2J")
    os.mkdir(os.fsencode(tree) + b"/\xff\x1b[2J/below")
    below = os.stat(os.fsencode(tree) + b"/\xff\x1b[2J/below").st_ino
    assert walked(tree).path(below, 0) == r"/\xff\x1b[2J/below"


def test_a_directory_that_cannot_be_read_does_not_end_the_walk(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if os.fsdecode(path).endswith("/a"):
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    cgroups = walked(tree)
    assert cgroups.path(number(tree / "kubepods/pod1"), 0) == "/kubepods/pod1"
    assert cgroups.path(number(tree / "a/b"), 0) is None


def test_a_hierarchy_that_is_not_there_is_empty(tmp_path):
    assert len(walked(tmp_path / "nothing")) == 0


def test_a_mkdir_record_is_known_below_its_parent(tree):
    cgroups = walked(tree)
    cgroups.made(111, number(tree / "a"), "new", 9)
    cgroups.made(112, 111, "newer", 9)
    cgroups.made(113, number(tree), "top", 9)
    assert [cgroups.path(n, 0) for n in (111, 112, 113)] == ["/a/new", "/a/new/newer", "/top"]


def test_one_that_was_made_before_the_first_walk_and_not_found_is_gone(tree):
    """An agent before us read that it was removed; its other records are read again."""
    cgroups = Cgroups(str(tree))
    cgroups.walk(10)
    cgroups.made(number(tree / "a"), number(tree), "a", 9)
    cgroups.made(111, number(tree), "old", 9)
    cgroups.made(112, number(tree), "new", 11)
    assert [cgroups.is_gone(n) for n in (number(tree / "a"), 111, 112)] == [False, True, False]
    assert cgroups.path(111, 11) == "/old"


def test_where_not_all_was_walked_nobody_is_gone(tree, monkeypatch):
    monkeypatch.setattr(module, "_WALK_MAX", 1)
    cgroups = Cgroups(str(tree))
    cgroups.walk(10)
    cgroups.made(111, number(tree), "old", 9)
    assert not cgroups.is_gone(111)


def test_a_mkdir_below_one_whose_path_is_another_s_by_now_keeps_its_own(tree):
    cgroups = walked(tree)
    cgroups.made(111, number(tree), "pod", 9)
    (tree / "pod").mkdir()  # in place of that, before its own record is read
    cgroups.walk(1)
    cgroups.made(112, 111, "box", 9)
    assert cgroups.path(112, 1) == cgroups.own_path(112) == "/pod/box"
    assert cgroups.id_of("/pod") == number(tree / "pod")


def test_a_mkdir_below_an_unknown_parent_waits_for_a_walk(tree):
    cgroups = Cgroups(str(tree))
    cgroups.made(number(tree / "a/b"), number(tree / "a"), "b", 9)
    assert len(cgroups) == 0
    assert cgroups.path(number(tree / "a/b"), 0) == "/a/b"


def test_what_lies_too_deep_goes_by_what_is_above_it(tree):
    cgroups = walked(tree)
    parent, name = number(tree / "a"), "n" * 250
    for n in range(1000, 3000):
        cgroups.made(n, parent, name, 9)
        parent = n
    deepest = cgroups.path(1003, 0)
    assert deepest == "/a" + f"/{name}" * 4
    assert {cgroups.path(n, 0) for n in range(1003, 3000)} == {deepest}
    assert cgroups.own_path(1003) == deepest
    assert cgroups.own_path(1004) is None
    assert cgroups.id_of(deepest) == 1003
    cgroups.made(3000, 2999, "b", 9)  # short again, and still none that the agent could tell from its cousins
    assert cgroups.path(3000, 0) == deepest
    assert sum(len(path) for path in set(cgroups._paths.values())) < 5_000


def test_a_walk_gives_what_lies_too_deep_the_path_of_what_is_above_it(tree):
    top = tree / "a" / ("n" * 250) / ("n" * 250) / ("n" * 250) / ("n" * 250)
    deep = top / ("n" * 250) / "b"
    deep.mkdir(parents=True)
    cgroups = walked(tree)
    shown = str(top)[len(str(tree)) :]
    assert cgroups.path(number(top), 0) == cgroups.path(number(deep), 0) == shown
    assert cgroups.id_of(shown) == number(top)


def test_a_removed_cgroup_is_remembered_for_events_that_are_still_to_come(tree):
    cgroups = walked(tree)
    cgroups.removed(number(tree / "a/b/c"))
    assert cgroups.path(number(tree / "a/b/c"), 0) == "/a/b/c"


def test_of_the_removed_only_the_latest_are_remembered(tree, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    cgroups = walked(tree)
    for n in range(1000, 1005):
        cgroups.made(n, number(tree), f"c{n}", 9)
        cgroups.removed(n)
    assert [cgroups.path(n, 0) is None for n in range(1000, 1005)] == [True, True, False, False, False]
    assert len(cgroups) == 6 + 3


def test_a_miss_walks_again_but_not_more_than_once_a_second(tree):
    cgroups = walked(tree)
    (tree / "late").mkdir()
    late = number(tree / "late")
    assert cgroups.path(late, S - 1) is None
    assert cgroups.path(late, S) == "/late"
    (tree / "later").mkdir()
    assert cgroups.path(number(tree / "later"), 2 * S - 1) is None
    assert cgroups.path(number(tree / "later"), 2 * S) == "/later"


def test_no_id_is_no_path_and_no_walk(tree, monkeypatch):
    cgroups = Cgroups(str(tree))
    monkeypatch.setattr(cgroups, "walk", lambda now: pytest.fail("walked"))
    assert cgroups.path(0, 100 * S) is None


def test_a_walk_is_bounded(tree, monkeypatch):
    monkeypatch.setattr(module, "_WALK_MAX", 2)
    assert len(walked(tree)) < 6


def test_an_id_that_is_used_again_has_its_new_path(tree):
    cgroups = walked(tree)
    cgroups.made(111, number(tree), "old", 9)
    cgroups.removed(111)
    cgroups.made(111, number(tree), "new", 9)
    assert cgroups.path(111, 0) == "/new"


def test_an_id_that_is_used_again_is_not_forgotten_with_the_old_one(tree, monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    cgroups = walked(tree)
    cgroups.made(111, number(tree), "old", 9)
    cgroups.removed(111)
    cgroups.made(111, number(tree), "new", 9)
    for n in (1000, 1001, 1002):
        cgroups.removed(n)
    assert cgroups.path(111, 0) == "/new"


def test_a_walk_remembers_what_is_gone_without_a_record_for_a_while(tree):
    cgroups = walked(tree)
    gone = number(tree / "a/b/c")
    (tree / "a/b/c").rmdir()
    cgroups.walk(10 * S)
    assert cgroups.path(gone, 10 * S) == "/a/b/c"
    for n in range(_REMEMBERED):
        cgroups.removed(-n - 1)
    assert gone not in cgroups._paths


def test_a_cgroup_inside_a_containers_is_the_containers_and_any_other_its_own(tree):
    box = tree / "docker" / ("a" * 64)
    (box / "workers/one").mkdir(parents=True)
    owners = {cgroup: owner for cgroup, owner, _ in walked(tree).owners()}
    assert {owners[number(at)] for at in (box, box / "workers", box / "workers/one")} == {number(box)}
    others = (tree, tree / "docker", tree / "a/b", tree / "kubepods/pod1")
    assert [owners[number(at)] for at in others] == [number(at) for at in others]
