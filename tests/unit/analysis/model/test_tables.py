# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Tables of all namespaces: paths, names, copies of tables."""

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Mount, Spot
from mnttrace.analysis.model.operation import go_on_with
from mnttrace.analysis.model.tables import Tables
from tests.unit.analysis.model.worlds import (
    assert_like,
    at,
    check_indexes,
    refusal,
    seen,
    text,
    world,
)


def test_paths_lead_to_the_topmost_mount_and_from_a_root_directory() -> None:
    tables = world("host / 8:1/\nhost /a 8:2/sub\nhost /a 8:3/\nhost /a/b 8:4/")
    assert tables.resolve("host", "/a") == Spot(3, "/")
    assert tables.resolve("host", "/a", follow=False) == Spot(1, "/a")
    assert tables.resolve("host", "//a/./b/../b/c") == Spot(4, "/c")
    assert tables.resolve("host", "/x", root=Spot(2, "/sub/y")) == Spot(2, "/sub/y/x")
    assert [tables.path(mount) for mount in (1, 2, 3, 4)] == ["/", "/a", "/a", "/a/b"]


def test_a_mount_on_the_root_directory_is_not_entered() -> None:
    tables = world("host / 8:1/")
    propagation.mount(tables, at(tables, "/"), "8:2")
    assert seen(tables, "/a").device == "8:1"
    propagation.change(tables, at(tables, "/"), "shared")
    assert tables.mounts[1].propagation == "shared"
    # But this is the one that goes.
    propagation.umount(tables, at(tables, "/"))
    assert_like(tables, "host / 8:1/ shared:1")


def test_a_root_filesystem_that_a_table_hides_and_one_that_it_shows() -> None:
    shown = Tables([Mount(1, "host", None, "/", "0:1", "/"), Mount(2, "host", 1, "/", "8:1", "/")])
    assert shown.resolve("host", "/a") == Spot(2, "/a")
    assert refusal(lambda: propagation.move(shown, Spot(1, "/"), Spot(2, "/a"))) == "EINVAL"
    propagation.copy_namespace(shown, "host", "new", owner="user")
    assert [mount.locked for mount in shown.in_namespace("new")] == [False, True]


def test_ids_and_groups_that_are_given_are_not_given_again() -> None:
    tables = Tables([Mount(-1, "host", None, "/", "8:1", "/", -1, -2)])
    assert (tables.new_id(), tables.new_group()) == (-2, -3)


def test_a_namespace_without_its_root_directory() -> None:
    tables = world("host / 8:1/")
    propagation.umount(tables, at(tables, "/"), lazy=True)
    assert refusal(lambda: tables.resolve("host", "/a")) == "EINVAL"


def test_a_copy_of_tables_is_apart() -> None:
    tables = world("host / 8:1/ shared:1\npeer / 8:1/ shared:1")
    copy = tables.copy()
    propagation.mount(copy, at(copy, "/a"), "8:2")
    assert_like(tables, "host / 8:1/ shared:1\npeer / 8:1/ shared:1")
    assert len(copy.mounts) == 4


def test_predicted_mounts_and_groups_get_their_true_names() -> None:
    tables = world("host / 8:1/ shared:1\npeer / 8:1/ shared:1\nslave / 8:1/ master:1")
    effects = propagation.mount(tables, at(tables, "/a"), "8:2")
    group = effects[0].mount.group
    assert group is not None
    propagation.mount(tables, at(tables, "/a/b"), "8:3")
    before = text(tables)
    new = {effect.mount.id: 100 + number for number, effect in enumerate(effects)}
    tables.rename(new, {group: 1, 1: 2})
    assert text(tables) == before
    assert seen(tables, "/a").id == 100
    assert seen(tables, "/a").group == 1
    assert seen(tables, "/").group == 2
    assert seen(tables, "/", "slave").master == 2
    check_indexes(tables)


def test_undoing_several_operations_leaves_the_indexes_as_they_were() -> None:
    """Also where a mount went before the one that it was on."""
    tables = world("host / 8:1/\nhost /a 8:2/\nhost /a/b 8:3/\nother / 8:1/\nother /a 8:4/")
    before = text(tables)
    for path in ("/a/b", "/a"):
        go_on_with(tables, propagation.umount, at(tables, path))
    go_on_with(tables, propagation.remove, Spot(1, "/a"))
    assert text(tables) != before
    tables.undo()
    assert text(tables) == before
    check_indexes(tables)
    assert [mount.id for mount in tables.mounted_on("8:2", "/b")] == [3]
