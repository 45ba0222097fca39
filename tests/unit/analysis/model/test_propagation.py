# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model by the tables of Documentation/filesystems/sharedsubtree.rst: types, bind, move."""

import pytest

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Effect, Mount, Spot
from mnttrace.analysis.model.tables import Tables
from tests.unit.analysis.model.worlds import (
    NOT_SHARED,
    SHARED,
    TYPES,
    assert_like,
    at,
    refusal,
    seen,
    text,
    told,
    world,
)


@pytest.mark.parametrize(
    ("before", "shared", "slave", "private", "unbindable"),
    [
        ("shared", "shared", "slave", "private", "unbindable"),
        ("slave", "shared-and-slave", "slave", "private", "unbindable"),
        ("shared-and-slave", "shared-and-slave", "slave", "private", "unbindable"),
        ("private", "shared", "private", "private", "unbindable"),
        ("unbindable", "shared", "unbindable", "private", "unbindable"),
    ],
)
def test_the_types_that_a_mount_is_made(
    before: str, shared: str, slave: str, private: str, unbindable: str
) -> None:
    after = {"shared": shared, "slave": slave, "private": private, "unbindable": unbindable}
    for to in ("shared", "slave", "private", "unbindable"):
        tables = world(
            f"""
            host / 8:1/
            host /a 8:2/ {TYPES[before]}
            peer / 8:2/ shared:1
            master / 8:2/ shared:8
            """
        )
        effects = propagation.change(tables, at(tables, "/a"), to)
        assert seen(tables, "/a").propagation == after[to]
        assert told(effects, tables) == (["change host /a direct"] * (after[to] != before))


def test_the_only_shared_mount_of_its_group_made_a_slave_becomes_private() -> None:
    tables = world("host / 8:1/ shared:1")
    propagation.change(tables, at(tables, "/"), "slave")
    assert_like(tables, "host / 8:1/")


def test_a_shared_mount_made_a_slave_is_one_of_its_peers() -> None:
    tables = world("host / 8:1/ shared:1\npeer / 8:1/ shared:1 \nslave / 8:1/ master:1")
    propagation.change(tables, at(tables, "/"), "slave")
    assert_like(tables, "host / 8:1/ master:1\npeer / 8:1/ shared:1 \nslave / 8:1/ master:1")


def test_the_slaves_of_a_group_that_ends_get_its_master() -> None:
    tables = world(
        """
        first / 8:1/ shared:1
        host / 8:1/ shared:2 master:1
        last / 8:1/ shared:3 master:2
        """
    )
    effects = propagation.change(tables, at(tables, "/"), "private")
    assert_like(tables, "first / 8:1/ shared:1\nhost / 8:1/\nlast / 8:1/ shared:3 master:1")
    assert told(effects, tables) == ["change host / direct", "change last / slave"]


def test_all_mounts_of_a_tree_are_changed() -> None:
    tables = world("host / 8:1/\nhost /a 8:2/ unbindable\nhost /a/b 8:3/ shared:3")
    propagation.change(tables, at(tables, "/"), "shared", recursive=True)
    assert_like(tables, "host / 8:1/ shared:1\nhost /a 8:2/ shared:2\nhost /a/b 8:3/ shared:3")
    propagation.change(tables, at(tables, "/a"), "private", recursive=True)
    assert_like(tables, "host / 8:1/ shared:1\nhost /a 8:2/\nhost /a/b 8:3/")


def test_only_the_root_of_a_mount_has_a_type() -> None:
    tables = world("host / 8:1/")
    assert refusal(lambda: propagation.change(tables, at(tables, "/a"), "shared")) == "EINVAL"


# Bind and move: 5b to 5d

# The type of what comes to be mounted, by that of the source and whether the target is shared.
BOUND = [
    ("shared", "shared", "shared"),
    ("private", "shared", "private"),
    ("slave", "shared-and-slave", "slave"),
    ("shared-and-slave", "shared-and-slave", "shared-and-slave"),
]
BIND = [*BOUND, ("unbindable", "EINVAL", "EINVAL")]
MOVE = [*BOUND, ("unbindable", "EINVAL", "unbindable")]


def source_and_target(source: str, target: str) -> Tables:
    """A source and a target of given types, each with a peer and a master elsewhere."""
    return world(
        f"""
        host / 8:1/
        host /source 8:2/ {TYPES[source]}
        host /target 8:3/ {TYPES[target].replace("1", "2").replace("8", "9")}
        master / 8:3/ shared:9
        master /source 8:2/ shared:8
        peer / 8:3/ shared:2
        peer /source 8:2/ shared:1
        slave / 8:3/ master:2
        """
    )


@pytest.mark.parametrize("target", [*SHARED, *NOT_SHARED])
@pytest.mark.parametrize(("source", "shared", "other"), BIND)
def test_bind(source: str, target: str, shared: str, other: str) -> None:
    expected = shared if target in SHARED else other
    tables = source_and_target(source, target)
    before = text(tables)

    def bind() -> list[Effect]:
        return propagation.bind(tables, at(tables, "/source/x"), at(tables, "/target/y"))

    if expected == "EINVAL":
        assert refusal(bind) == "EINVAL"
        assert text(tables) == before
        return
    effects = bind()
    old, new = seen(tables, "/source"), seen(tables, "/target/y")
    assert (new.device, new.root, new.propagation) == ("8:2", "/x", expected)
    assert new.group == old.group or source in ("private", "slave")
    assert new.master == old.master
    check_copies(tables, new, effects, target, source)
    assert effects[0] == Effect("attach", new, None, "direct", old.id)


@pytest.mark.parametrize("target", [*SHARED, *NOT_SHARED])
@pytest.mark.parametrize(("source", "shared", "other"), MOVE)
def test_move(source: str, target: str, shared: str, other: str) -> None:
    expected = shared if target in SHARED else other
    tables = source_and_target(source, target)
    old = seen(tables, "/source")
    before = text(tables)

    def move() -> list[Effect]:
        return propagation.move(tables, at(tables, "/source"), at(tables, "/target/y"))

    if expected == "EINVAL":
        assert refusal(move) == "EINVAL"
        assert text(tables) == before
        return
    effects = move()
    new = seen(tables, "/target/y")
    assert (new.id, new.root, new.propagation) == (old.id, "/", expected)
    assert new.master == old.master
    check_copies(tables, new, effects, target, source)
    assert effects[0] == Effect("move", new, old, "direct", None)
    assert seen(tables, "/source").device == "8:1"


def check_copies(
    tables: Tables, new: Mount, effects: list[Effect], target: str, source: str
) -> None:
    """What was mounted on a shared mount is also on its peer and on their slave, else nowhere."""
    if target not in SHARED:
        assert len(effects) == 1
        return
    on_peer, on_slave = seen(tables, "/y", "peer"), seen(tables, "/y", "slave")
    assert (on_peer.device, on_peer.root) == (on_slave.device, on_slave.root) == new[4:6]
    assert (on_peer.group, on_peer.master) == (new.group, new.master)
    assert (on_slave.group, on_slave.master) == (None, new.group)
    assert [effect for effect in effects[1:] if effect.action == "attach"] == [
        Effect("attach", on_peer, None, "peer", new.id),
        Effect("attach", on_slave, None, "slave", new.id),
    ]
    assert seen(tables, "/y", "master").device == "8:3"


@pytest.mark.parametrize("target", [*SHARED, *NOT_SHARED])
def test_mount(target: str) -> None:
    tables = source_and_target("private", target)
    effects = propagation.mount(tables, at(tables, "/target/y"), "8:9")
    new = seen(tables, "/target/y")
    assert (new.device, new.root) == ("8:9", "/")
    assert new.propagation == ("shared" if target in SHARED else "private")
    check_copies(tables, new, effects, target, "private")


def test_a_copy_comes_only_to_mounts_in_which_the_place_can_be_seen() -> None:
    tables = world(
        """
        host / 8:1/ shared:1
        inside / 8:1/a shared:1
        outside / 8:1/b shared:1
        likewise / 8:1/a/dir master:1
        beside / 8:1/a/directory master:1
        """
    )
    effects = propagation.mount(tables, at(tables, "/a/dir"), "8:2")
    assert told(effects, tables) == [
        "attach host /a/dir direct",
        "attach inside /dir peer",
        "attach likewise / slave",
    ]


def test_copies_form_a_tree_like_that_of_the_mounts_that_they_are_on() -> None:
    # Group 3 is skipped, for nothing can be seen there; its slaves depend on what is above it.
    tables = world(
        """
        host / 8:1/ shared:1
        n1 / 8:1/ shared:2 master:1
        n2 / 8:1/ shared:2 master:1
        n3 / 8:1/other shared:3 master:2
        n4 / 8:1/ master:3
        """
    )
    propagation.mount(tables, at(tables, "/a"), "8:2")
    assert_like(
        tables,
        """
        host / 8:1/ shared:1
        host /a 8:2/ shared:4
        n1 / 8:1/ shared:2 master:1
        n1 /a 8:2/ shared:5 master:4
        n2 / 8:1/ shared:2 master:1
        n2 /a 8:2/ shared:5 master:4
        n3 / 8:1/other shared:3 master:2
        n4 / 8:1/ master:3
        n4 /a 8:2/ master:5
        """,
    )


def test_the_target_is_the_topmost_mount_there() -> None:
    tables = world("host / 8:1/\nhost /a 8:2/")
    propagation.mount(tables, Spot(1, "/a"), "8:3")
    assert_like(tables, "host / 8:1/\nhost /a 8:2/\nhost /a 8:3/")


def test_the_same_filesystem_is_not_mounted_twice_on_a_spot() -> None:
    tables = world("host / 8:1/\nhost /a 8:2/")
    assert refusal(lambda: propagation.mount(tables, at(tables, "/a"), "8:2")) == "EBUSY"


def test_a_copy_is_slipped_beneath_what_is_mounted_there() -> None:
    tables = world(
        """
        host / 8:1/ shared:1
        slave / 8:1/ master:1
        slave /a 8:5/
        slave /a 8:6/
        """
    )
    effects = propagation.mount(tables, at(tables, "/a"), "8:2")
    assert_like(
        tables,
        """
        host / 8:1/ shared:1
        host /a 8:2/ shared:2
        slave / 8:1/ master:1
        slave /a 8:2/ master:2
        slave /a 8:5/
        slave /a 8:6/
        """,
    )
    assert told(effects, tables) == [
        "attach host /a direct",
        "attach slave /a slave",
        "move slave /a slave",
    ]
    moved = effects[-1]
    assert moved.before is not None
    assert (moved.mount.id, moved.before.parent) == (3, 2)
    assert moved.mount.parent == effects[1].mount.id


def test_what_is_mounted_there_comes_to_lie_on_the_top_of_a_copied_stack() -> None:
    tables = world(
        """
        host / 8:1/
        host /a 8:2/
        host /a 8:3/
        host /s 8:4/ shared:1
        slave / 8:4/ master:1
        slave /x 8:5/
        """
    )
    propagation.bind(tables, Spot(2, "/"), at(tables, "/s/x"), recursive=True)
    assert [mount.device for mount in tables.tree(5)] == ["8:4", "8:2", "8:3", "8:5"]


def test_the_mount_of_a_mount_namespace_is_copied_by_a_bind_alone() -> None:
    tables = world(
        """
        host / 8:1/
        host /ns 0:4mnt:[4026532000]
        host /s 8:2/ shared:1
        peer / 8:2/ shared:1
        """
    )
    propagation.bind(tables, at(tables, "/"), at(tables, "/b"), recursive=True)
    assert seen(tables, "/b/ns").device == "0:4"
    # Not where it had to be copied further, and what is on another mount is left out there.
    spots = at(tables, "/ns"), at(tables, "/s/x")
    assert refusal(lambda: propagation.bind(tables, *spots)) == "EINVAL"
    propagation.bind(tables, at(tables, "/"), at(tables, "/s/x"), recursive=True)
    assert seen(tables, "/s/x/ns").device == "0:4"
    assert seen(tables, "/x/ns", "peer").device == "8:1"
    propagation.copy_namespace(tables, "host", "new")
    assert seen(tables, "/ns", "new").device == "8:1"


def test_what_was_removed_is_not_attached_any_more() -> None:
    tables = world("host / 8:1/\nhost /a 8:1/gone//deleted")
    for function in (propagation.bind, propagation.move):
        spots = at(tables, "/a"), at(tables, "/b")
        assert refusal(lambda run=function, spots=spots: run(tables, *spots)) == "ENOENT"
        assert list(tables.mounts) == [1, 2]
        assert tables.effects() == []


def test_a_whole_tree_is_bound_but_for_what_is_unbindable() -> None:
    """The example of 5c: B and C on A, of which C is unbindable."""
    tables = world(
        """
        host / 8:1/
        host /A 8:2/
        host /A/B 8:3/
        host /A/B/D 8:4/
        host /A/B/E 8:5/
        host /A/C 8:6/ unbindable
        host /A/C/F 8:7/
        host /A/C/G 8:8/
        """
    )
    effects = propagation.bind(tables, at(tables, "/A"), at(tables, "/Z"), recursive=True)
    assert told(effects, tables) == [
        f"attach host {path} direct" for path in ("/Z", "/Z/B", "/Z/B/D", "/Z/B/E")
    ]
    propagation.bind(tables, at(tables, "/A/B"), at(tables, "/Y"))
    assert [child.device for child in tables.children(seen(tables, "/Y").id)] == []


def test_part_of_a_tree_is_bound() -> None:
    tables = world("host / 8:1/\nhost /a/x 8:2/\nhost /ab/x 8:3/")
    propagation.bind(tables, at(tables, "/a"), at(tables, "/c"), recursive=True)
    assert seen(tables, "/c/x").device == "8:2"
    assert len(tables.mounts) == 5


def test_the_numbers_of_mounts_of_the_faq() -> None:
    """Question 3: binding a shared tree into itself, again and again."""
    tables = world("host / 8:1/\nhost /root 8:1/root shared:1")
    counts = []
    for number in range(1, 4):
        root, place = at(tables, "/root"), at(tables, f"/root/tmp/m{number}")
        propagation.bind(tables, root, place, recursive=True)
        counts.append(len(tables.mounts) - 1)
    # The third is 24 in the text, which leaves out what propagates; it is 42 in the kernel, too.
    assert counts == [2, 6, 42]


def test_quiz_a() -> None:
    tables = world("host / 8:1/\nhost /mnt 8:1/mnt shared:1")
    propagation.bind(tables, at(tables, "/mnt"), at(tables, "/tmp"))
    propagation.move(tables, at(tables, "/tmp"), at(tables, "/mnt/1"))
    assert_like(
        tables,
        """
        host / 8:1/
        host /mnt 8:1/mnt shared:1
        host /mnt/1 8:1/mnt shared:1
        host /mnt/1/1 8:1/mnt shared:1
        """,
    )


def test_quiz_c() -> None:
    tables = world("host / 8:1/\nhost /mnt 8:1/mnt shared:1")
    for source, target in (("/mnt/1", "/tmp"), ("/mnt/1/2", "/tmp1")):
        propagation.bind(tables, at(tables, source), at(tables, target))
        propagation.change(tables, at(tables, "/mnt"), "slave")
        if target == "/tmp":
            propagation.change(tables, at(tables, "/mnt"), "shared")
    propagation.bind(tables, at(tables, "/bin"), at(tables, "/tmp/test"))
    assert seen(tables, "/tmp/test").root == "/bin"
    assert seen(tables, "/tmp1/test").root == "/mnt/1/2"  # out of its sight
    assert seen(tables, "/mnt/1/test").root == "/bin"
