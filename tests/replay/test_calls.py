# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Each call that mounts, copies, moves and changes mounts; a mount that covers another: `calls`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay.told import AnyRow, Told, name, paths, told

every = pytest.mark.parametrize("path", paths("calls"), ids=name)


def effects(run: Told, call: AnyRow) -> list[tuple[object, ...]]:
    """What a call did: action, via, source, mount point, and whether in its own namespace."""
    return sorted(
        (row["action"], row["via"], row["source"], row["mountpoint"], row["ns_id"] == call["ns_id"])
        for row in run.effects
        if row["seq"] == call["seq"]
    )


@every
def test_a_mount_of_the_new_api_is_of_the_call_that_attaches_it(path: Path) -> None:
    run = told(path)
    [call] = run.calls(syscall="move_mount", path="/srv/shared/made")
    assert effects(run, call) == [
        ("attach", "direct", "made-1", "/srv/shared/made", True),
        ("attach", "slave", "made-1", "/srv/shared/made", False),
    ]
    for syscall in ("fsopen", "fsconfig", "fsmount", "open_tree"):
        for before in run.calls(syscall=syscall):
            assert effects(run, before) == []
    # All that was done with one descriptor belongs together.
    [opened] = {row["fs_context"] for row in run.calls(source="made-1")}
    assert run.operations[opened]["syscall"] == "fsopen"
    assert call["fs_context"] == opened


@every
def test_a_copied_tree_is_of_the_call_that_attaches_it(path: Path) -> None:
    run = told(path)
    [call] = run.calls(syscall="move_mount", path="/srv/shared/copied")
    assert effects(run, call) == [
        ("attach", "direct", "made-1", "/srv/shared/copied", True),
        ("attach", "slave", "made-1", "/srv/shared/copied", False),
    ]
    assert run.operations[call["fs_context"]]["syscall"] == "open_tree"


@every
def test_a_move_says_where_the_mount_was(path: Path) -> None:
    run = told(path)
    [call] = run.calls(syscall="move_mount", path="/srv/own/b")
    assert effects(run, call) == [("move", "direct", "moved-1", "/srv/own/b", True)]
    [row] = [row for row in run.effects if row["seq"] == call["seq"]]
    before, after = row["before"], row["after"]
    assert (before.split(" on ")[0], after.split(" on ")[0]) == ("/srv/own/a", "/srv/own/b")
    assert before.split(" on ")[1] == after.split(" on ")[1]


@every
def test_a_move_to_a_shared_mount_makes_it_shared_and_makes_copies(path: Path) -> None:
    run = told(path)
    [call] = run.calls(syscall="mount", path="/srv/shared/moved")
    assert call["flags"] == "MS_MOVE"
    assert effects(run, call) == [
        ("attach", "slave", "moved-1", "/srv/shared/moved", False),
        ("change", "direct", "moved-1", "/srv/shared/moved", True),
        ("move", "direct", "moved-1", "/srv/shared/moved", True),
    ]
    moved, changed, copy = (
        run.of("moved-1", seq=call["seq"], action=action)[0]
        for action in ("move", "change", "attach")
    )
    assert changed["mnt_id_unique"] == moved["mnt_id_unique"] == copy["copy_of_unique"]
    assert changed["before"].split()[0] == "private"
    assert copy["master"] == changed["shared"]


@every
def test_a_mount_beneath_another_moves_that_onto_itself(path: Path) -> None:
    run = told(path)
    [call] = run.calls(syscall="move_mount", path="/srv/shared/top")
    if call["error"]:  # before Linux 6.5
        assert (call["error"], run.of("under-1")) == ("EINVAL", [])
        return
    assert effects(run, call) == [
        ("attach", "direct", "under-1", "/srv/shared/top", True),
        ("attach", "slave", "under-1", "/srv/shared/top", False),
        ("move", "beneath", "top-1", "/srv/shared/top", False),
        ("move", "beneath", "top-1", "/srv/shared/top", True),
    ]
    below = {row["ns_id"]: row["mnt_id_unique"] for row in run.of("under-1", action="attach")}
    for row in run.of("top-1", action="move"):
        assert row["parent_unique"] == below[row["ns_id"]]


@every
def test_attributes_are_set_of_one_mount_and_propagation_of_a_tree(path: Path) -> None:
    run = told(path)
    calls = run.calls(syscall="mount_setattr")
    if not calls:  # before Linux 5.12
        return
    one, tree = calls
    assert effects(run, one) == [("change", "direct", "made-1", "/srv/shared/copied", True)]
    [changed] = run.of("made-1", seq=one["seq"])
    assert (changed["before"].split()[1], changed["after"].split()[1]) == (
        "rw,relatime",
        "ro,relatime",
    )
    assert effects(run, tree) == [("change", "direct", "own-1", "/srv/own", True)]
    [changed] = run.of("own-1", seq=tree["seq"])
    assert changed["before"].split()[0] == "private"
    assert changed["propagation"] == "shared"


@every
def test_what_covered_a_mount_that_went_stays_and_gets_its_parent(path: Path) -> None:
    run = told(path)
    slave = run.namespace("slave")
    [entered] = run.calls(syscall="setns")
    [cover] = run.calls(source="cover-1")
    assert (entered["ns_target_id"], cover["ns_id"]) == (slave, slave)
    [umount] = run.calls(syscall="umount2")
    assert effects(run, umount) == [
        ("detach", "direct", "made-1", "/srv/shared/made", True),
        ("detach", "slave", "made-1", "/srv/shared/made", False),
        ("move", "beneath", "cover-1", "/srv/shared/made", False),
    ]
    gone = run.of("made-1", seq=umount["seq"], via="slave")[0]
    attached, moved = run.of("cover-1")
    assert attached["parent_unique"] == gone["mnt_id_unique"]
    assert moved["parent_unique"] == gone["parent_unique"]
    assert moved["mnt_id_unique"] == attached["mnt_id_unique"]
