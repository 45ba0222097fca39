# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that went: by umount, with their mount point, with their namespace, or nobody knows."""

from __future__ import annotations

from tests.replay.build import ME, OTHER, Core, M, call, detached, everything, made

ROOT, FAR_ROOT = M(1001, group=1), M(2001, ns=OTHER, group=1)
A, FAR_A = M(1002, ROOT, "/a", group=2), M(2002, FAR_ROOT, "/a", ns=OTHER, group=2)
# One after another on /a/x, each with a copy in the other namespace.
FIRST, FAR_FIRST = M(1011, A, "/a/x"), M(2011, FAR_A, "/a/x", ns=OTHER, minor=11)
SECOND, FAR_SECOND = M(1012, A, "/a/x"), M(2012, FAR_A, "/a/x", ns=OTHER, minor=12)


def started(*mounts: M) -> Core:
    core = Core()
    both = [ROOT, A, *mounts], [FAR_ROOT, FAR_A, *(FAR[mount] for mount in mounts if mount in FAR)]
    core.take(everything(*both))
    return core


FAR = {FIRST: FAR_FIRST, SECOND: FAR_SECOND}


def test_a_umount_takes_its_mount_and_the_copies_of_that() -> None:
    core = started(FIRST)
    core.take(
        detached(ME, FIRST, FAR_FIRST), call("umount2", path="/a/x", last_detached=2011, seq=7)
    )
    assert core.effects() == [
        (7, "detach", "direct", "kernel", 1011),
        (7, "detach", "peer", "kernel", 2011),
    ]


def test_what_a_umount_took_that_was_not_reported_is_not_given_to_the_next_one() -> None:
    core = started(FIRST)
    # The first umount(2) is lost, and the mount between them is not.
    core.take(
        detached(ME, FIRST, FAR_FIRST, SECOND, FAR_SECOND),
        call("mount", made(SECOND), path="/a/x", seq=8),
        call("umount2", path="/a/x", last_detached=2012, seq=9),
    )
    assert [
        row for row in core.effects("seq", "action", "mnt_id_unique") if row[1] == "detach"
    ] == [
        (None, "detach", 1011),
        (None, "detach", 2011),
        (9, "detach", 1012),
    ]


def test_a_lazy_umount_took_nothing_of_what_went_before_it() -> None:
    core = started(FIRST)
    core.take(
        detached(ME, FIRST, A), call("umount2", path="/a", last_detached=1002, seq=9, flags_value=2)
    )
    assert core.effects("seq", "via", "mnt_id_unique") == [
        (None, "mountpoint-removed", 1011),
        (9, "direct", 1002),
    ]
