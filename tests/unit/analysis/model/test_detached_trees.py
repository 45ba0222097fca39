# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model of detached trees, as open_tree(2) and fsmount(2) make."""

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Effect, Spot
from tests.unit.analysis.model.worlds import assert_like, at, refusal, seen, text, told, world


def test_a_detached_tree() -> None:
    tables = world("host / 8:1/ shared:1\nhost /a 8:2/ shared:2\npeer / 8:1/ shared:1")
    before = text(tables)
    tree = propagation.open_tree(tables, at(tables, "/"), recursive=True)
    assert text(tables) == before
    # Nothing comes there by propagation, but things go from there.
    propagation.mount(tables, at(tables, "/b"), "8:3")
    propagation.umount(tables, at(tables, "/b"))
    propagation.umount(tables, at(tables, "/a"))
    assert [mount.device for mount in tables.tree(tree)] == ["8:1"]
    effects = propagation.move(tables, Spot(tree, "/"), at(tables, "/c"))
    assert told(effects, tables) == ["attach host /c direct", "attach peer /c peer"]
    assert (effects[0].mount.id, effects[0].copy_of, effects[1].copy_of) == (tree, 1, tree)
    assert propagation.close(tables, tree) == []
    assert tree in tables.mounts


def test_a_detached_tree_that_is_closed_and_one_of_a_new_filesystem() -> None:
    tables = world("host / 8:1/")
    tree = propagation.open_tree(tables, at(tables, "/"))
    assert propagation.close(tables, tree) == []
    assert list(tables.mounts) == [1]
    mount = propagation.fsmount(tables, "8:2", id=77)
    [effect] = propagation.move(tables, Spot(mount, "/"), at(tables, "/a"))
    assert effect == Effect("attach", tables.mounts[77], None, "direct", None)


def test_a_detached_tree_that_cannot_be_attached_is_the_same_afterwards() -> None:
    tables = world("host / 8:1/ shared:1\nhost /a 8:2/ unbindable\nhost /b 8:3/b//deleted")
    tree = propagation.open_tree(tables, at(tables, "/b"))
    for path, error in (("/b", "ENOENT"), ("/c", "ENOENT")):
        spots = Spot(tree, "/b//deleted"), at(tables, path)
        assert refusal(lambda spots=spots: propagation.move(tables, *spots)) == error
    assert refusal(lambda: propagation.open_tree(tables, at(tables, "/a"))) == "EINVAL"
    assert (len(tables.mounts), tables.originals) == (4, {tree: 3})
    again = propagation.open_tree(tables, Spot(tree, "/b//deleted"))
    assert tables.originals == {tree: 3, again: 3}


def test_trees_of_trees() -> None:
    tables = world("host / 8:1/\nhost /a 8:2/")
    outer = propagation.open_tree(tables, at(tables, "/"))
    inner = propagation.open_tree(tables, at(tables, "/a"))
    assert propagation.move(tables, Spot(inner, "/"), Spot(outer, "/x")) == []
    propagation.close(tables, inner)  # which is not detached by itself any more
    for spots in ((Spot(inner, "/"), Spot(1, "/y")), (Spot(outer, "/"), Spot(outer, "/y"))):
        assert refusal(lambda spots=spots: propagation.move(tables, *spots)) == "EINVAL"
    assert refusal(lambda: propagation.bind(tables, Spot(2, "/"), Spot(outer, "/"))) == "EINVAL"
    assert refusal(lambda: propagation.mount(tables, Spot(outer, "/"), "8:3")) == "EINVAL"
    assert refusal(lambda: propagation.umount(tables, Spot(outer, "/"))) == "EINVAL"
    effects = propagation.move(tables, Spot(outer, "/"), at(tables, "/b"))
    assert [(effect.action, effect.copy_of) for effect in effects] == [("attach", 1), ("attach", 2)]
    assert tables.originals == {}
    assert_like(tables, "host / 8:1/\nhost /a 8:2/\nhost /b 8:1/\nhost /b/x 8:2/")


def test_a_slave_of_a_detached_copy() -> None:
    # The copy keeps the group alive; when it ends, the slave has no master any more.
    tables = world("host / 8:1/\nhost /a 8:2/ shared:1\nhost /b 8:2/ master:1")
    tree = propagation.open_tree(tables, at(tables, "/a"))
    propagation.umount(tables, at(tables, "/a"))
    assert seen(tables, "/b").propagation == "slave"
    effects = propagation.close(tables, tree)
    assert told(effects, tables) == ["change host /b slave"]
