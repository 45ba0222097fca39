# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What calls attached and moved, by the lists of what they made."""

from __future__ import annotations

from mnttrace.linux.flags import MOVE_MOUNT
from tests.replay.build import Core, M, call, everything, made, names

ROOT = M(1001)
BENEATH = MOVE_MOUNT["MOVE_MOUNT_BENEATH"]


def test_what_a_mount_was_slipped_beneath_is_not_of_that_call() -> None:
    core = Core()
    core.take(everything([ROOT]))
    # The call that attached a tree at /k is lost; then something comes beneath it.
    beneath = M(1005, ROOT, "/k")
    covered = M(1003, beneath, "/k")
    inside = M(1004, covered, "/k/in")
    core.take(
        call("move_mount", made(inside, covered, beneath), path="/k", seq=9, flags_value=BENEATH)
    )
    assert core.effects() == [(9, "attach", "direct", "kernel", 1005)]


def test_what_is_mounted_in_a_tree_came_with_it() -> None:
    core = Core()
    core.take(everything([ROOT]))
    top = M(1005, ROOT, "/k")
    inside = M(1006, top, "/k/in")
    core.take(call("move_mount", made(top, inside), names=names(top, inside), path="/k", seq=9))
    assert core.effects("seq", "mnt_id_unique", "mountpoint") == [
        (9, 1005, "/k"),
        (9, 1006, "/k/in"),
    ]


def test_a_mount_that_a_copy_covers_moves() -> None:
    below = M(1002, ROOT, "/k")
    core = Core()
    core.take(everything([ROOT, below]))
    beneath = M(1005, ROOT, "/k")
    covered = M(1002, beneath, "/k")
    core.take(
        call(
            "move_mount",
            made(beneath, covered),
            names=names(beneath, covered),
            path="/k",
            flags_value=BENEATH,
        )
    )
    assert core.effects("action", "via", "mnt_id_unique", "before", "after") == [
        ("attach", "direct", 1005, None, None),
        ("move", "beneath", 1002, "/k on 1", "/k on 5"),
    ]
