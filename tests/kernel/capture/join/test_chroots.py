# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations and effects of processes in a chroot, from the root of the namespace."""

from __future__ import annotations

from pathlib import Path

from tests import CHECKOUT

CALLS = CHECKOUT / "tests/kernel/calls.py"


def test_the_commands_of_a_machine_in_a_chroot(record, tmp_path: Path) -> None:
    recorded = record(
        f"""
        chroot root mount -t tmpfs first {tmp_path}/place
        chroot root mount --bind {tmp_path}/place {tmp_path}/other
        chroot root mount --make-unbindable {tmp_path}/other
        chroot root mount -o remount,ro,bind {tmp_path}/other
        chroot root umount {tmp_path}/other
        chroot root umount -l {tmp_path}/place
        """,
        before="""
        mkdir root place other
        mount --rbind / root; mount --make-rprivate root
        """,
    )
    root = f"{tmp_path}/root"
    place, other = f"{root}{tmp_path}/place", f"{root}{tmp_path}/other"
    calls = [
        row for row in recorded.rows("operations", error="") if row["comm"] in ("mount", "umount")
    ]
    assert {row["root_path"] for row in calls} == {root}
    assert [row["path"] for row in calls] == [place, other, other, other, other, place]
    assert calls[1]["source_path"] == place
    effects = recorded.rows("effects")
    told = [(row["seq"], row["action"], row["mountpoint"]) for row in effects if row["seq"]]
    numbers = [row["seq"] for row in calls]
    assert [one for one in told if one[0] in numbers] == [
        (numbers[0], "attach", place),
        (numbers[1], "attach", other),
        (numbers[2], "change", other),
        (numbers[3], "change", other),
        (numbers[4], "detach", other),
        (numbers[5], "detach", place),
    ]
    assert {row["evidence"] for row in effects} == {"kernel"}


def test_pivot_root_in_a_chroot(record, tmp_path: Path) -> None:
    code = """
import os
os.chroot("jail")
os.chdir("/new")
assert call("pivot_root", ".", "old") == 0
assert call("mount", "x", "/place", "tmpfs", 0, None) == 0
assert call("umount2", "/old", 2) == 0
"""
    recorded = record(
        f"python3 {CALLS} <<'END'{code}END\n",
        before="""
        mkdir jail; mount -t tmpfs jail jail; mount --make-private jail
        mkdir jail/new; mount -t tmpfs new jail/new; mount --make-private jail/new
        mkdir jail/new/old jail/new/place
        mount --make-private /
        """,
    )
    jail = f"{tmp_path}/jail"
    calls = [row for row in recorded.rows("operations", comm="python3") if row["target"] != "jail"]
    assert [(row["syscall"], row["path"], row["root_path"]) for row in calls] == [
        ("pivot_root", f"{jail}/new", jail),
        ("mount", f"{jail}/place", jail),
        ("umount2", f"{jail}/old", jail),
    ]
    pivot, mount, umount = calls
    assert pivot["source_path"] == f"{jail}/new/old"
    moved = recorded.rows("effects", seq=pivot["seq"], action="move")
    assert {(row["source"], row["mountpoint"]) for row in moved} == {
        ("new", jail),
        ("jail", f"{jail}/old"),
    }
    [made] = recorded.rows("effects", seq=mount["seq"])
    assert (made["action"], made["mountpoint"]) == ("attach", f"{jail}/place")
    [gone] = recorded.rows("effects", seq=umount["seq"])
    assert (gone["action"], gone["mountpoint"]) == ("detach", f"{jail}/old")
