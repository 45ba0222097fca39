# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations one by one: what the real kernel, the model and the recording say of each.

The three are compared after each one; what the tests assert besides is what the case is about.
"""

import pytest

from mnttrace.analysis.model import propagation
from tests.truth.both import Both

pytestmark = pytest.mark.usefixtures("kernel_that_is_modelled")


def test_a_mount_comes_to_peers_and_slaves_and_goes_with_them(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "peer").copy("host", "slave", user=True)
    both.mount("host", "/a")
    assert {(effect.mount.ns, effect.via) for effect in both.effects} == {
        ("host", "direct"),
        ("peer", "peer"),
        ("slave", "slave"),
    }
    both.mount("slave", "/b")
    assert [effect.mount.ns for effect in both.effects] == ["slave"]
    both.umount("peer", "/a")
    assert {(effect.action, effect.mount.ns, effect.via) for effect in both.effects} == {
        ("detach", "peer", "direct"),
        ("detach", "host", "peer"),
        ("detach", "slave", "slave"),
    }


def test_a_private_namespace_gets_nothing(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "other").change("other", "/", "private")
    both.mount("host", "/a").umount("host", "/a")
    assert [effect.mount.ns for effect in both.effects] == ["host"]


def test_a_copy_is_slipped_beneath_what_is_mounted_there_and_taken_away_again(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "slave").change("slave", "/", "slave")
    both.mount("slave", "/a")
    before = both.see("slave", "/a")
    both.mount("host", "/a")
    [moved] = [effect for effect in both.effects if effect.action == "move"]
    assert (moved.before, moved.mount, moved.via) == (before, both.see("slave", "/a"), "slave")
    both.umount("host", "/a")
    assert both.see("slave", "/a") == before


def test_a_copy_that_has_mounts_on_it_stays(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "slave").change("slave", "/", "slave")
    both.mount("host", "/a").change("slave", "/a", "private").mount("slave", "/a/b")
    both.umount("host", "/a", lazy=True)
    assert [effect.mount.ns for effect in both.effects] == ["host"]
    both.umount("slave", "/a").refuses("EBUSY")


def test_slaves_of_slaves(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "middle").change("middle", "/", "slave")
    both.change("middle", "/", "shared").copy("middle", "peer").copy("middle", "last")
    both.change("last", "/", "slave").mount("host", "/a")
    group = both.see("middle", "/a").group
    assert (both.see("peer", "/a").group, both.see("last", "/a").master) == (group, group)
    both.umount("host", "/a")
    assert len(both.effects) == 4


def test_a_copy_that_two_of_a_tree_take_along_is_of_that_with_its_root(both: Both) -> None:
    both.mount("host", "/a").mount("host", "/a/a").change("host", "/a/a", "shared")
    both.mount("host", "/a/a/b").bind("host", "/a/a", "/a/b").change("host", "/a/b", "slave")
    both.change("host", "/a/b", "shared").bind("host", "/a/b", "/b").mount("host", "/a/b/b")
    original = both.see("host", "/a/b/b")
    copy = both.see("host", "/b/b")
    both.umount("host", "/a", lazy=True)
    [gone] = [effect for effect in both.effects if effect.mount.id == copy.id]
    assert (gone.via, gone.copy_of) == ("peer", original.id)


def test_a_copy_that_bears_a_covered_one_stays(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "slave").change("slave", "/", "slave")
    both.mount("host", "/a").mount("host", "/a/b").change("slave", "/a/b", "private")
    both.mount("slave", "/a/b").umount("host", "/a", lazy=True)
    told = [(effect.action, effect.mount.ns, effect.mount.place) for effect in both.effects]
    assert sorted(told) == [
        ("change", "slave", "/a"),
        ("detach", "host", "/a"),
        ("detach", "host", "/b"),
        ("detach", "slave", "/b"),
        ("move", "slave", "/b"),
    ]


def test_the_slaves_of_a_group_that_ends_get_its_master(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "middle").change("middle", "/", "slave")
    both.change("middle", "/", "shared").copy("middle", "last").change("last", "/", "slave")
    both.end("middle")
    [change] = [effect for effect in both.effects if effect.action == "change"]
    assert change.mount.master == both.see("host", "/").group
    both.mount("host", "/a")
    assert [effect.mount.ns for effect in both.effects] == ["host", "last"]


def test_a_namespace_of_another_user_has_locked_slaves(both: Both) -> None:
    both.change("host", "/", "shared").mount("host", "/a").copy("host", "user", user=True)
    both.umount("user", "/a").refuses("EINVAL")
    both.move("user", "/a", "/b").refuses("EINVAL")
    both.bind("user", "/", "/b").refuses("EINVAL")
    both.umount("host", "/a")
    assert [effect.via for effect in both.effects] == ["direct", "slave"]


def test_a_locked_copy_stays_with_what_it_is_locked_to(both: Both) -> None:
    both.change("host", "/", "shared").mount("host", "/a").mount("host", "/a/b")
    both.copy("host", "user", user=True).mount("user", "/a/a")
    both.umount("host", "/a", lazy=True)
    assert {effect.mount.ns for effect in both.effects if effect.action == "detach"} == {"host"}
    both.umount("user", "/a/b").refuses("EINVAL")
    both.umount("user", "/a", lazy=True).refuses("")
    both.mount("host", "/a").mount("host", "/a/b").copy("host", "another", user=True)
    both.umount("host", "/a", lazy=True)
    assert len(both.model.in_namespace("another")) == 1


def test_a_tree_that_comes_from_elsewhere_is_locked_but_for_its_root(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "user", user=True)
    both.mount("host", "/a").mount("host", "/a/b")
    both.open_tree("host", "/a", recursive=True).attach(0, "/b")
    both.umount("user", "/b/b").refuses("EINVAL")
    both.bind("user", "/b", "/a/a", recursive=True).umount("user", "/a/a/b").refuses("EINVAL")
    both.umount("user", "/a/b").refuses("")


def test_unbindable_mounts(both: Both) -> None:
    both.mount("host", "/a").mount("host", "/a/a").change("host", "/a/a", "unbindable")
    both.bind("host", "/a/a", "/b").refuses("EINVAL")
    both.bind("host", "/a", "/b/a", recursive=True)
    assert [effect.mount.place for effect in both.effects] == ["/b/a"]
    # Unlike before 6.17, and unlike its documentation, a copied namespace has them no more.
    both.copy("host", "other")
    assert not both.see("other", "/a/a").unbindable
    both.change("host", "/", "shared").move("host", "/a/a", "/b/b").refuses("EINVAL")


def test_a_shared_tree_that_is_bound_into_itself_again_and_again(both: Both) -> None:
    both.mount("host", "/a").change("host", "/a", "shared")
    counts = []
    for target in ("/a/a/a", "/a/a/b", "/a/b/a"):
        both.bind("host", "/a", target, recursive=True)
        counts.append(len(both.model.mounts) - 1)
    # The third is 24 in question 3 of sharedsubtree.rst, which leaves out what propagates.
    assert counts == [2, 6, 42]


def test_what_may_not_be_moved(both: Both) -> None:
    both.mount("host", "/a").mount("host", "/b").mount("host", "/a/a")
    both.move("host", "/a", "/a/a").refuses("ELOOP")
    both.move("host", "/a/b", "/b").refuses("EINVAL")
    both.change("host", "/", "shared").move("host", "/a", "/b").refuses("EINVAL")
    both.move("host", "/a/a", "/b").refuses("")


def test_a_private_tree_that_is_moved_to_a_shared_mount_becomes_shared(both: Both) -> None:
    both.mount("host", "/a").mount("host", "/a/a").mount("host", "/a/a/b")
    both.mount("host", "/b").change("host", "/b", "shared").copy("host", "other")
    both.move("host", "/a/a", "/b/a")
    actions = [(effect.action, effect.mount.ns, effect.mount.place) for effect in both.effects]
    assert actions == [
        ("move", "host", "/a"),
        ("change", "host", "/b"),
        ("attach", "other", "/a"),
        ("attach", "other", "/b"),
    ]


def test_a_move_beneath_a_mount(both: Both) -> None:
    both.mount("host", "/a").mount("host", "/b")
    top, new = both.see("host", "/a"), both.see("host", "/b")
    both.move("host", "/b", "/", beneath=True).refuses("EINVAL")
    both.move("host", "/b", "/a", beneath=True)
    assert [effect.mount.id for effect in both.effects] == [new.id, top.id]
    assert both.see("host", "/a").parent == new.id
    both.umount("host", "/a")
    assert both.see("host", "/a").id == new.id


def test_what_may_not_be_moved_beneath_a_mount(both: Both) -> None:
    both.mount("host", "/a").change("host", "/a", "shared").bind("host", "/a/b", "/b")
    both.change("host", "/b", "private").mount("host", "/a/b").set_group("host", "/a", "/b")
    both.move("host", "/b", "/a/b", beneath=True).refuses("EINVAL")  # a copy would cover it
    both.bind("host", "/a/a", "/a/a").mount("host", "/b/a")
    both.open_tree("host", "/b/a").attach(0, "/a/a", beneath=True)
    both.refuses("EINVAL")  # a copy would cover the mount there
    both.move("host", "/a/b", "/a", beneath=True).refuses("EINVAL")
    both.change("host", "/a", "private").move("host", "/a/b", "/a", beneath=True)
    both.refuses("EINVAL")  # it is on the mount there
    both.mount("host", "/").open_tree("host", "/", recursive=True)
    both.attach(1, "/a", beneath=True).refuses("EINVAL")  # it is covered


def test_the_same_filesystem_twice_on_a_spot(both: Both) -> None:
    both.mount("host", "/a", "sysfs").mount("host", "/a", "sysfs").refuses("EBUSY")


def test_a_umount_waits_for_users_of_the_copies_that_would_go(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "peer").mount("host", "/a")
    copy = both.see("peer", "/a").id
    both.kernel["peer"].do("chdir", path="/a")
    both.umount("host", "/a", busy={copy}).refuses("EBUSY")
    both.umount("host", "/a", lazy=True, busy={copy}).refuses("")


def test_a_directory_that_is_removed_elsewhere(both: Both) -> None:
    both.copy("host", "other").mount("other", "/a/b").mount("other", "/a/b/a")
    both.bind("host", "/a/b", "/b")
    both.remove("other", "/a/b").refuses("EBUSY")
    both.remove("host", "/a/b")
    told = [(effect.action, effect.mount.ns, effect.via) for effect in both.effects]
    assert told == [
        ("detach", "other", "mountpoint-removed"),
        ("detach", "other", "mountpoint-removed"),
        ("change", "host", "mountpoint-removed"),
    ]
    both.mount("host", "/b").refuses("ENOENT")
    both.bind("host", "/b", "/a").refuses("ENOENT")


def test_a_detached_tree_is_nowhere_until_it_is_attached(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "peer").mount("host", "/a")
    both.open_tree("host", "/", recursive=True)
    assert both.effects == []
    both.mount("host", "/a/b").umount("host", "/a", lazy=True)  # which takes its copy along
    both.attach(0, "/b/a")
    assert [(effect.action, effect.mount.ns) for effect in both.effects] == [
        ("attach", "host"),
        ("attach", "peer"),
    ]
    both.open_tree("host", "/b").close(0)


def test_pivot_root(both: Both) -> None:
    both.mount("host", "/a").copy("host", "other")
    both.pivot_root("other", "/a", "/a/b")
    assert both.see("other", "/b").device == both.see("host", "/").device
    both.umount("other", "/b", lazy=True)
    assert len(both.model.in_namespace("other")) == 1
    both.change("host", "/", "shared").pivot_root("host", "/a", "/a/b").refuses("EINVAL")


def test_pivot_root_leaves_the_lock_at_the_root(both: Both) -> None:
    both.copy("host", "user", user=True).mount("user", "/a")
    both.pivot_root("user", "/a", "/a/b").move("user", "/", "/a").refuses("EINVAL")
    both.umount("user", "/b", lazy=True).refuses("")


def test_a_mount_on_the_root_directory(both: Both) -> None:
    both.mount("host", "/").mount("host", "/a").change("host", "/", "shared")
    assert both.see("host", "/").propagation == "shared"
    both.umount("host", "/").refuses("")
    assert len(both.model.mounts) == 2


def test_a_stack_that_comes_to_a_slave_with_a_mount_there(both: Both) -> None:
    both.mount("host", "/a").change("host", "/a", "shared").copy("host", "slave")
    both.change("slave", "/a", "slave").mount("slave", "/a/b").mount("host", "/")
    both.open_tree("host", "/", recursive=True).attach(0, "/a/b")
    assert [effect.action for effect in both.effects] == [*["attach"] * 6, "move"]


def test_types_that_a_mount_is_made(both: Both) -> None:
    both.change("host", "/", "unbindable").change("host", "/", "slave")
    assert both.see("host", "/").propagation == "unbindable"
    both.change("host", "/", "shared").copy("host", "slave").change("slave", "/", "slave")
    both.change("slave", "/", "shared").change("slave", "/", "slave").change("slave", "/", "slave")
    assert both.see("slave", "/").master == both.see("host", "/").group


def test_groups_that_are_given(both: Both) -> None:
    both.change("host", "/", "shared").copy("host", "peer").bind("host", "/", "/a")
    both.change("host", "/a", "private").set_group("host", "/", "/a")
    both.mount("peer", "/b/b")
    assert both.see("host", "/a/b/b").group == both.see("peer", "/b/b").group
    both.set_group("host", "/", "/a").refuses("EINVAL")
    both.mount("host", "/b").change("host", "/b", "private")
    both.set_group("host", "/", "/b").refuses("EINVAL")


def test_a_mount_of_a_mount_namespace_is_not_copied(both: Both) -> None:
    both.copy("host", "other").copy("host", "third")
    pid = both.kernel["other"].pid
    for path in ("/file", "/another"):
        tree, root, device = both.kernel["host"].do("open_namespace", pid=pid, path=path)
        tree_in_model = propagation.fsmount(both.model, device, root=root)
        both.trees.append(("host", tree, tree_in_model))
    both.attach(0, "/file")
    both.bind("host", "/", "/a", recursive=True)
    assert len(both.effects) == 2
    both.copy("host", "fourth")
    assert [effect.mount.root for effect in both.effects] == ["/", "/"]
    # Where it would have to be copied nothing is attached at all.
    both.change("host", "/", "shared").copy("host", "fifth")
    both.attach(0, "/another").refuses("EINVAL")
