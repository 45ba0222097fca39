# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model of umounts and of what copies go with them: 5f of sharedsubtree.rst."""

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Spot
from tests.unit.analysis.model.worlds import assert_like, at, refusal, world


def test_a_umount_takes_along_the_mounts_that_were_last_mounted_there() -> None:
    """The example of 5f: C1, C2, C3 on A1, A2, A3 on B1, B2, B3."""
    lines = [
        f"n{number} / 8:1/ shared:1\nn{number} /b 8:2/ shared:2\nn{number} /b 8:3/ shared:3"
        for number in (1, 2, 3)
    ]
    tables = world("\n".join(lines))
    effects = propagation.umount(tables, at(tables, "/b", "n1"))
    assert_like(tables, "\n".join(line.rpartition("\n")[0] for line in lines))
    assert [(effect.action, effect.mount.device, effect.via) for effect in effects] == [
        ("detach", "8:3", "direct"),
        ("detach", "8:3", "peer"),
        ("detach", "8:3", "peer"),
    ]
    assert [effect.copy_of for effect in effects] == [None, effects[0].mount.id, 3]


def test_a_copy_that_something_is_mounted_on_stays() -> None:
    tables = world(
        """
        n1 / 8:1/ shared:1
        n1 /a 8:2/
        n2 / 8:1/ shared:1
        n2 /a 8:2/
        n2 /a/x 8:3/
        n3 / 8:1/ master:1
        n3 /a 8:2/
        """
    )
    effects = propagation.umount(tables, at(tables, "/a", "n1"))
    assert [(effect.mount.ns, effect.via) for effect in effects] == [
        ("n1", "direct"),
        ("n3", "slave"),
    ]
    assert refusal(lambda: propagation.umount(tables, at(tables, "/a", "n2"))) == "EBUSY"


def test_a_mount_that_covers_a_copy_comes_to_lie_on_what_that_was_on() -> None:
    tables = world(
        """
        n1 / 8:1/ shared:1
        n1 /a 8:2/ shared:2
        n2 / 8:1/ master:1
        n2 /a 8:2/ master:2
        n2 /a 8:3/
        """
    )
    effects = propagation.umount(tables, at(tables, "/a", "n1"))
    assert_like(tables, "n1 / 8:1/ shared:1\nn2 / 8:1/ master:1\nn2 /a 8:3/")
    assert [(effect.action, effect.via) for effect in effects] == [
        ("detach", "direct"),
        ("detach", "slave"),
        ("move", "slave"),
    ]


def test_a_lazy_umount_takes_all_that_is_mounted_there_and_their_copies() -> None:
    tables = world(
        """
        n1 / 8:1/ shared:1
        n1 /a 8:2/ shared:2
        n1 /a/b 8:3/ shared:3
        n2 / 8:1/ shared:1
        n2 /a 8:2/ shared:2
        n2 /a/b 8:3/ shared:3
        n3 / 8:1/
        n3 /a 8:2/ master:2
        n3 /a/b 8:3/ master:3
        """
    )
    assert refusal(lambda: propagation.umount(tables, at(tables, "/a", "n1"))) == "EBUSY"
    propagation.umount(tables, at(tables, "/a", "n1"), lazy=True)
    # What had been copied to the third namespace is on a slave; the slave itself is not on one.
    assert_like(tables, "n1 / 8:1/ shared:1\nn2 / 8:1/ shared:1\nn3 / 8:1/\nn3 /a 8:2/")


def test_a_copy_that_bears_a_covered_one_stays() -> None:
    # What covers the copy of /a/b comes to lie on the copy of /a, which has to stay for that.
    tables = world(
        """
        n1 / 8:1/ shared:1
        n1 /a 8:2/ shared:2
        n1 /a/b 8:3/ shared:3
        n2 / 8:1/ master:1
        n2 /a 8:2/ master:2
        n2 /a/b 8:3/ master:3
        n2 /a/b 8:4/
        """
    )
    propagation.umount(tables, at(tables, "/a", "n1"), lazy=True)
    assert_like(tables, "n1 / 8:1/ shared:1\nn2 / 8:1/ master:1\nn2 /a 8:2/\nn2 /a/b 8:4/")


def test_a_umount_goes_down_through_slaves_of_slaves() -> None:
    tables = world(
        """
        n1 / 8:1/ shared:1
        n1 /a 8:2/
        n2 / 8:1/ shared:2 master:1
        n3 / 8:1/ shared:2 master:1
        n4 / 8:1/ master:2
        n4 /a 8:2/
        """
    )
    propagation.umount(tables, at(tables, "/a", "n1"))
    assert [mount.device for mount in tables.in_namespace("n4")] == ["8:1"]


def test_a_copy_of_what_is_unmounted_is_unlocked_though_it_stays() -> None:
    tables = world(
        """
        n1 / 8:1/ shared:1
        n1 /a 8:2/
        n2 / 8:1/ master:1
        n2 /a 8:2/ locked
        n2 /a/b 8:3/
        """
    )
    effects = propagation.umount(tables, at(tables, "/a", "n1"))
    assert len(effects) == 1
    propagation.umount(tables, at(tables, "/a", "n2"), lazy=True)
    assert_like(tables, "n1 / 8:1/ shared:1\nn2 / 8:1/ master:1")


def test_a_locked_copy_goes_only_with_what_it_is_locked_to() -> None:
    table = """
        n1 / 8:1/ shared:1
        n1 /a 8:2/ shared:2
        n1 /a/b 8:3/ shared:3
        n2 / 8:1/ master:1
        n2 /a 8:2/ master:2
        n2 /a/b 8:3/ master:3 locked
        """
    tables = world(table)
    propagation.umount(tables, at(tables, "/a", "n1"), lazy=True)
    assert_like(tables, "n1 / 8:1/ shared:1\nn2 / 8:1/ master:1")
    tables = world(table + "n2 /a/c 8:4/")
    propagation.umount(tables, at(tables, "/a", "n1"), lazy=True)
    assert [mount.device for mount in tables.in_namespace("n2")] == ["8:1", "8:2", "8:3", "8:4"]


def test_users_of_a_mount_or_of_a_copy_that_would_go() -> None:
    table = "n1 / 8:1/ shared:1\nn1 /a 8:2/\nn2 / 8:1/ shared:1\nn2 /a 8:2/"
    tables = world(table)
    for busy in (2, 4):
        spot = at(tables, "/a", "n1")
        error = refusal(lambda spot=spot, busy=busy: propagation.umount(tables, spot, busy={busy}))
        assert error == "EBUSY"
    propagation.mount(tables, Spot(4, "/x"), "8:3")
    propagation.umount(tables, at(tables, "/a", "n1"), busy={4})


def test_what_is_not_unmounted() -> None:
    tables = world("host / 8:1/\nhost /a 8:2/ locked")
    assert refusal(lambda: propagation.umount(tables, at(tables, "/a"))) == "EINVAL"
    assert refusal(lambda: propagation.umount(tables, at(tables, "/b"))) == "EINVAL"
    assert propagation.umount(tables, at(tables, "/")) == []
