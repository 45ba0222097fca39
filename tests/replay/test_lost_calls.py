# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Small worlds in which a call is lost: what it did is not given to another one."""

from __future__ import annotations

from mnttrace.linux.flags import MOUNT, MOVE_MOUNT
from mnttrace.linux.options import MNT_SHOWN
from tests.replay.build import (
    ME,
    NS,
    OTHER,
    THIRD,
    YOU,
    Core,
    M,
    after,
    attached,
    call,
    dentry,
    detached,
    everything,
    made,
)

ROOT, FAR_ROOT = M(1001, group=1), M(2001, ns=OTHER, group=1)
A, FAR_A = M(1002, ROOT, "/a", group=2), M(2002, FAR_ROOT, "/a", ns=OTHER, group=2)
# One after another on /a/x, each with a copy in the other namespace.
FIRST, FAR_FIRST = M(1011, A, "/a/x"), M(2011, FAR_A, "/a/x", ns=OTHER, minor=11)
SECOND, FAR_SECOND = M(1012, A, "/a/x"), M(2012, FAR_A, "/a/x", ns=OTHER, minor=12)
BENEATH = MOVE_MOUNT["MOVE_MOUNT_BENEATH"]
READ_ONLY = MNT_SHOWN & 0x40  # MNT_READONLY
NAMES = {dentry(A, "/x"): "/x", dentry(ROOT, "/b"): "/b"}


def started() -> Core:
    core = Core()
    core.take(everything([ROOT, A, FIRST], [FAR_ROOT, FAR_A, FAR_FIRST]))
    return core


def detaches(core: Core) -> list[tuple[object, ...]]:
    found = core.effects("action", "seq", "via", "mnt_id_unique")
    return [row[1:] for row in found if row[0] == "detach"]


def test_a_thread_that_attached_a_mount_in_between_was_in_another_umount_before() -> None:
    core = started()
    b = M(1013, ROOT, "/b")
    core.take(
        detached(ME, FIRST, FAR_FIRST),
        attached(ME, b),
        detached(ME, A),
        call("mount", made(b), path="/b", seq=8, names=NAMES),
        call("umount2", path="/a", last_detached=1002, seq=9, flags_value=2),
    )
    assert detaches(core) == [
        (None, "", 1011),
        (None, "", 2011),
        (9, "direct", 1002),
    ]


def test_two_mounts_at_one_place_did_not_go_with_one_umount() -> None:
    core = started()
    core.take(
        # Another thread mounts there in between.
        attached(YOU, SECOND, FAR_SECOND),
        detached(ME, FIRST, FAR_FIRST, SECOND, FAR_SECOND),
        call("mount", made(SECOND, FAR_SECOND), path="/a/x", seq=8, tid=YOU),
        call("umount2", path="/a/x", last_detached=2012, seq=9),
    )
    assert detaches(core) == [
        (None, "", 1011),
        (None, "", 2011),
        (9, "direct", 1012),
        (9, "peer", 2012),
    ]


def test_of_two_mounts_that_a_list_lacks_at_one_place_the_last_one_is_the_umounts() -> None:
    core = Core(uses_fanotify=False)
    core.take(everything([ROOT, A, FIRST], is_watched=False))
    core.take(
        call("mount", made(SECOND), path="/a/x", seq=8, names=NAMES),
        call("umount2", after(ROOT, A), path="/a/x", seq=9),
    )
    assert detaches(core) == [(9, "direct", 1012)]


def test_others_that_a_list_lacks_are_the_umounts_all_the_same() -> None:
    core = Core(uses_fanotify=False)
    below = M(1010, A, "/a/b")
    core.take(everything([ROOT, A, below, FIRST], is_watched=False))
    core.take(
        call("mount", made(SECOND), path="/a/x", seq=8, names=NAMES),
        call("umount2", after(ROOT), path="/a", seq=9, flags_value=2),
    )
    assert [mount for _, _, mount in detaches(core)] == [1002, 1010, 1012]


def test_a_lazy_umount_takes_what_is_below_in_any_order() -> None:
    core = started()
    inside = M(1013, FIRST, "/a/x/y")
    core.take(attached(ME, inside), call("mount", made(inside), path="/a/x/y", seq=8, names=NAMES))
    core.take(
        detached(ME, inside, FIRST, A),
        call("umount2", path="/a", last_detached=1002, seq=9, flags_value=2),
    )
    assert sorted(detaches(core), key=str) == [
        (9, "direct", 1002),
        (9, "direct", 1011),
        (9, "direct", 1013),
    ]


def test_what_was_mounted_on_in_the_callers_namespace_was_not_removed() -> None:
    core = started()
    third = M(3001, ns=THIRD)
    core.take(everything([third], reason="operation", alive=[NS, OTHER, THIRD]))
    core.take(detached(ME, FIRST, FAR_FIRST), call("rmdir", last_detached=2011, seq=9))
    core.take(detached(YOU, A), call("rmdir", last_detached=1002, seq=10, tid=YOU, ns=THIRD))
    assert detaches(core) == [
        (None, "", 1011),
        (None, "", 2011),
        (10, "mountpoint-removed", 1002),
    ]


def test_the_root_of_a_namespace_goes_first() -> None:
    core = started()
    core.take(
        detached(ME, FAR_FIRST, FAR_ROOT, FAR_A),
        call("setns", seq=9, ns=OTHER, ns_after=NS),
    )
    assert detaches(core) == [
        (None, "", 2011),
        (9, "namespace-death", 2002),
    ]


def test_what_a_mount_was_slipped_beneath_is_not_of_that_call() -> None:
    core = Core()
    core.take(everything([ROOT]))
    # The call that attached a tree at /k is lost; then something comes beneath it.
    beneath = M(1005, ROOT, "/k")
    covered = M(1003, beneath, "/k")
    inside = M(1004, covered, "/k/in")
    core.take(
        attached(ME, covered, inside, beneath),
        call("move_mount", made(inside, covered, beneath), path="/k", seq=9, flags_value=BENEATH),
    )
    assert core.effects() == [(9, "attach", "direct", "kernel", 1005)]


def test_a_mount_that_nothing_reported_is_the_calls_if_it_is_at_its_path() -> None:
    core = started()
    b, x = M(1013, ROOT, "/b"), M(1014, A, "/a/x")
    core.take(
        attached(ME, b),  # that YOU attached x is lost
        call("mount", made(b, x), path="/b", seq=8, names=NAMES),
        call("mount", made(b, x), path="/a/x", seq=9, tid=YOU, names=NAMES),
    )
    assert core.effects("seq", "mnt_id_unique", "evidence") == [
        (8, 1013, "kernel"),
        (9, 1014, "kernel"),
    ]


def test_a_umount_moves_and_changes_nothing() -> None:
    core = started()
    elsewhere = M(1002, ROOT, "/b", group=3)
    core.take(detached(ME, FIRST), call("umount2", after(ROOT, elsewhere), path="/a/x", seq=9))
    core.take(everything([ROOT, elsewhere], [FAR_ROOT, FAR_A, FAR_FIRST], reason="end"))
    found = core.effects("seq", "action", "mnt_id_unique", "evidence")
    assert (None, "move", 1002, "snapshot") in found
    assert not [row for row in found if row[0] == 9 and row[1] != "detach"]


def test_a_remount_does_not_change_the_propagation() -> None:
    core = started()
    private = M(1002, ROOT, "/a", group=0, flags=READ_ONLY)
    remount = MOUNT["MS_REMOUNT"] | MOUNT["MS_BIND"] | MOUNT["MS_RDONLY"]
    core.take(call("mount", after(ROOT, private, FIRST), path="/a", seq=9, flags_value=remount))
    assert core.effects("seq", "action", "mnt_id_unique", "evidence") == [
        (None, "change", 1002, "snapshot")
    ]


def test_a_call_before_the_first_list_did_not_take_what_is_in_it() -> None:
    core = Core(uses_fanotify=False)
    begun, *lists, ended = everything([ROOT, A, FIRST], is_watched=False)
    core.take(begun, call("umount2", after(ROOT, A), path="/a/x", seq=9), *lists, ended)
    core.take(everything([ROOT, A, FIRST], reason="end", is_watched=False))
    assert core.effects() == []
