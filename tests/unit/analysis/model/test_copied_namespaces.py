# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model of namespaces: 5g of sharedsubtree.rst, their ends, mountpoints that are removed."""

import pytest

from mnttrace.analysis.model import propagation
from tests.unit.analysis.model.worlds import TYPES, assert_like, at, refusal, seen, world


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("user", [False, True])
def test_a_copied_namespace(kind: str, user: bool) -> None:
    tables = world(f"host / 8:1/\nhost /a 8:2/ {TYPES[kind]}\nhost /a/b 8:3/")
    before = seen(tables, "/a")
    effects = propagation.copy_namespace(tables, "host", "new", owner="user" if user else None)
    copy = seen(tables, "/a", "new")
    assert [(effect.action, effect.via, effect.copy_of) for effect in effects] == [
        ("attach", "namespace-copy", number) for number in (1, 2, 3)
    ]
    if user and before.group is not None:
        assert (copy.group, copy.master) == (None, before.group)
    else:
        assert (copy.group, copy.master) == (before.group, before.master)
    assert not copy.unbindable
    propagation.copy_namespace(tables, "host", "other", keeps_unbindable=True)
    assert seen(tables, "/a", "other").unbindable == before.unbindable
    assert copy.locked == user
    assert tables.path(copy.id) == "/a"


def test_what_is_copied_to_a_namespace_of_another_user_is_locked_together() -> None:
    tables = world(
        """
        host / 8:1/ shared:1
        host /a 8:2/
        host /a/b 8:3/
        user / 8:1/ master:1
        """,
        owners={"user": "another"},
    )
    propagation.bind(tables, at(tables, "/a"), at(tables, "/x"), recursive=True)
    assert not seen(tables, "/x", "user").locked
    assert seen(tables, "/x/b", "user").locked
    assert not seen(tables, "/x/b").locked
    x, below, y = (at(tables, path, "user") for path in ("/x", "/x/b", "/y"))
    assert refusal(lambda: propagation.move(tables, below, y)) == "EINVAL"
    # Alone it would show what /x/b hides; and what is bound with it is locked to it again.
    assert refusal(lambda: propagation.bind(tables, x, y)) == "EINVAL"
    propagation.bind(tables, x, y, recursive=True)
    assert seen(tables, "/y/b", "user").locked


def test_a_namespace_that_ends() -> None:
    tables = world(
        """
        first / 8:1/ shared:1
        host / 8:1/ shared:2 master:1
        host /a 8:2/
        last / 8:1/ master:2
        """
    )
    effects = propagation.end_namespace(tables, "host")
    assert_like(tables, "first / 8:1/ shared:1\nlast / 8:1/ master:1")
    assert [(effect.action, effect.mount.ns, effect.via) for effect in effects] == [
        ("detach", "host", "namespace-death"),
        ("detach", "host", "namespace-death"),
        ("change", "last", "slave"),
    ]
    with pytest.raises(KeyError):
        tables.resolve("host", "/")


def test_a_mountpoint_that_is_removed_elsewhere() -> None:
    tables = world(
        """
        host / 8:1/ shared:1
        other / 8:1/ shared:1
        other /a 8:2/
        other /a/b 8:3/
        third / 8:1/a
        third / 8:4/
        fourth / 8:1/a
        """
    )
    spot = tables.resolve("other", "/a", follow=False)
    assert refusal(lambda: propagation.remove(tables, spot)) == "EBUSY"
    effects = propagation.remove(tables, tables.resolve("host", "/a", follow=False))
    assert [(effect.action, effect.mount.device, effect.via) for effect in effects] == [
        ("detach", "8:2", "mountpoint-removed"),
        ("detach", "8:3", "mountpoint-removed"),
        ("detach", "8:4", "mountpoint-removed"),
        ("change", "8:1", "mountpoint-removed"),
        ("change", "8:1", "mountpoint-removed"),
    ]
    assert seen(tables, "/", "fourth").root == "/a//deleted"
    assert refusal(lambda: propagation.mount(tables, at(tables, "/", "fourth"), "8:5")) == "ENOENT"
