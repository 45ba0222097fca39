# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the model moves, and what it refuses to: mounts, and root directories."""

import pytest

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Effect, Spot
from tests.unit.analysis.model.worlds import assert_like, at, refusal, told, world


def test_what_cannot_be_moved() -> None:
    tables = world(
        """
        host / 8:1/ shared:1
        host /a 8:2/
        host /a/b 8:3/
        host /a/c 8:4/ locked
        other / 8:1/
        """
    )

    def move(source: str, target: str, ns: str = "host") -> str:
        spots = at(tables, source), at(tables, target, ns)
        return refusal(lambda: propagation.move(tables, *spots))

    assert move("/a", "/x") == "EINVAL"  # on a shared mount
    assert move("/a/x", "/a/y") == "EINVAL"  # not the root of a mount
    assert move("/a/c", "/a/y") == "EINVAL"  # locked
    assert move("/a/b", "/a/b/c") == "ELOOP"
    assert move("/a/b", "/", "other") == "EINVAL"
    propagation.change(tables, at(tables, "/"), "private")
    assert move("/a", "/a/b/c") == "ELOOP"
    propagation.change(tables, at(tables, "/"), "shared")
    propagation.change(tables, at(tables, "/a/b"), "unbindable")
    assert move("/a/b", "/x") == "EINVAL"


def test_a_tree_that_is_moved_to_a_shared_mount_becomes_shared() -> None:
    tables = world(
        """
        host / 8:1/
        host /a 8:2/
        host /a/b 8:3/ master:9
        host /s 8:4/ shared:1
        peer / 8:4/ shared:1
        """
    )
    effects = propagation.move(tables, at(tables, "/a"), at(tables, "/s/x"))
    assert_like(
        tables,
        """
        host / 8:1/
        host /s 8:4/ shared:1
        host /s/x 8:2/ shared:2
        host /s/x/b 8:3/ shared:3 master:4
        peer / 8:4/ shared:1
        peer /x 8:2/ shared:2
        peer /x/b 8:3/ shared:3 master:4
        """,
    )
    assert [(effect.action, effect.via) for effect in effects] == [
        ("move", "direct"),
        ("change", "direct"),
        ("attach", "peer"),
        ("attach", "peer"),
    ]


def test_a_move_beneath_a_mount() -> None:
    tables = world("host / 8:1/\nhost /a 8:2/\nhost /a/b 8:3/\nhost /c 8:4/")
    effects = propagation.move(tables, at(tables, "/c"), at(tables, "/a/b"), beneath=True)
    assert_like(tables, "host / 8:1/\nhost /a 8:2/\nhost /a/b 8:4/\nhost /a/b 8:3/")
    assert told(effects, tables) == ["move host /a/b direct"] * 2


def test_a_move_beneath_a_mount_that_a_copy_would_cover() -> None:
    tables = world("host / 8:1/ shared:1\nhost /a 8:1/a shared:1\nhost /p 8:2/\nhost /p/c 8:3/")
    spots = at(tables, "/p/c"), at(tables, "/a")
    assert refusal(lambda: propagation.move(tables, *spots, beneath=True)) == "EINVAL"


def test_what_cannot_be_moved_beneath_a_mount() -> None:
    tables = world(
        """
        host / 8:1/
        host /a 8:2/
        host /a/b 8:3/
        host /a/b/c 8:4/
        host /a/d 8:5/ locked
        host /s 8:6/ shared:1
        host /s/x 8:7/
        host /a/e 8:6/x shared:1
        """
    )

    def beneath(source: Spot, target: str) -> str:
        spots = source, at(tables, target)
        return refusal(lambda: propagation.move(tables, *spots, beneath=True))

    assert beneath(at(tables, "/a/b"), "/") == "EINVAL"  # the root directory
    assert beneath(at(tables, "/a/b"), "/a/x") == "EINVAL"  # not the root of a mount
    assert beneath(at(tables, "/a/b"), "/a/d") == "EINVAL"  # locked
    assert beneath(at(tables, "/a/b/c"), "/a/b") == "EINVAL"  # on the mount there
    assert beneath(at(tables, "/a/e"), "/s/x") == "EINVAL"  # a copy would cover it
    propagation.mount(tables, Spot(3, "/"), "8:8")
    assert beneath(Spot(3, "/"), "/s/x") == "EINVAL"  # it is covered


def test_set_group() -> None:
    tables = world("host / 8:1/ shared:1 master:9\nhost /a 8:1/a\nhost /b 8:2/")
    propagation.set_group(tables, at(tables, "/"), at(tables, "/a"))
    assert_like(
        tables, "host / 8:1/ shared:1 master:9\nhost /a 8:1/a shared:1 master:9\nhost /b 8:2/"
    )
    for source, target in (("/", "/b"), ("/b", "/a"), ("/", "/a")):
        spots = at(tables, source), at(tables, target)
        assert refusal(lambda spots=spots: propagation.set_group(tables, *spots)) == "EINVAL"


def test_pivot_root() -> None:
    tables = world("host / 8:1/\nhost /new 8:2/\nhost /new/x 8:3/")
    effects = propagation.pivot_root(tables, at(tables, "/new"), at(tables, "/new/old"))
    assert_like(tables, "host / 8:2/\nhost /old 8:1/\nhost /x 8:3/")
    assert sorted(told(effects, tables)) == ["move host / direct", "move host /old direct"]
    propagation.umount(tables, at(tables, "/old"), lazy=True)
    assert_like(tables, "host / 8:2/\nhost /x 8:3/")


def test_pivot_root_in_a_namespace_of_another_user_leaves_the_lock_at_the_root() -> None:
    tables = world("host / 8:1/ locked\nhost /new 8:2/")
    propagation.pivot_root(tables, at(tables, "/new"), at(tables, "/new/old"))
    assert_like(tables, "host / 8:2/ locked\nhost /old 8:1/")


@pytest.mark.parametrize(
    ("table", "new", "old", "error"),
    [
        ("host / 8:1/ shared:1\nhost /new 8:2/", "/new", "/new/old", "EINVAL"),
        ("host / 8:1/\nhost /new 8:2/ shared:1", "/new", "/new/old", "EINVAL"),
        ("host / 8:1/\nhost /new 8:2/ locked", "/new", "/new/old", "EINVAL"),
        ("host / 8:1/\nhost /new 8:2/x//deleted", "/new", "/old", "ENOENT"),
        ("host / 8:1/\nhost /new 8:2/", "/new", "/old", "EBUSY"),
        ("host / 8:1/\nhost /new 8:2/", "/", "/new", "EBUSY"),
        ("host / 8:1/\nhost /new 8:2/", "/new/x", "/new/old", "EINVAL"),
        ("host / 8:1/\nhost /new 8:2/\nhost /old 8:3/", "/new", "/old", "EINVAL"),
    ],
)
def test_what_is_no_new_root(table: str, new: str, old: str, error: str) -> None:
    tables = world(table)
    spots = at(tables, new), at(tables, old)
    assert refusal(lambda: propagation.pivot_root(tables, *spots)) == error
    assert_like(tables, table)


def test_what_is_no_new_root_in_a_chroot() -> None:
    tables = world("host / 8:1/\nhost /jail 8:2/\nhost /jail/new 8:3/\nhost /other 8:4/")
    jail = at(tables, "/jail")

    def pivot(new: str, root: Spot) -> list[Effect]:
        return propagation.pivot_root(tables, at(tables, new), at(tables, f"{new}/old"), root=root)

    assert refusal(lambda: pivot("/other", jail)) == "EINVAL"  # not under the root directory
    assert refusal(lambda: pivot("/jail/new", Spot(jail.mount, "/x"))) == "EINVAL"  # no mount
    pivot("/jail/new", jail)
    assert_like(tables, "host / 8:1/\nhost /jail 8:3/\nhost /jail/old 8:2/\nhost /other 8:4/")


def test_a_bind_from_another_namespace() -> None:
    tables = world("host / 8:1/\nother / 8:1/")
    spots = at(tables, "/a", "other"), at(tables, "/b")
    assert refusal(lambda: propagation.bind(tables, *spots)) == "EINVAL"
