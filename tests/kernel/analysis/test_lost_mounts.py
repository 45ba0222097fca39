# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a umount or a removal elsewhere takes from a namespace is told as lost, by `leaks` as by
`why`; and what went as it should is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.kernel.analysis.situations import BEFORE, DISK, hold
from tests.kernel.recordings import Record, Recorded
from tests.short import some

TREE = "mkdir srv/a srv/copy; mount -t tmpfs a srv/a; mkdir srv/a/b; mount -t tmpfs b srv/a/b; "
INSIDE = 'nsenter -t $(cat pid) -m sh -ec "cd $PWD; {}"\n'


class Case(NamedTuple):
    """A situation.

    Attributes:
        before: what is there before the recording begins, on a shared tmpfs at srv.
        script: what is recorded.
        lost: for each finding the path of the topmost lost mount below the test's folder, whether
            the namespace is the recorder's, how many mounts went, by which kind of effect, and
            whether nothing is there at the end.
    """

    before: str
    script: str
    lost: list[tuple[str, bool, int, str, bool]]


CASES = {
    "with a bind's lazy umount": Case(
        TREE,
        "mount --rbind srv/a srv/copy; umount -l srv/copy",
        [("srv/a/b", True, 1, "peer", True)],
    ),
    "with a bind's recursive umount": Case(
        TREE + "mkdir srv/a/b/c; mount -t tmpfs c srv/a/b/c",
        "mount --rbind srv/a srv/copy; umount -R srv/copy",
        # Each umount is one act.
        [("srv/a/b/c", True, 1, "peer", True), ("srv/a/b", True, 1, "peer", True)],
    ),
    "a tree at once": Case(
        TREE + "mkdir srv/a/b/c; mount -t tmpfs c srv/a/b/c",
        "mount --rbind srv/a srv/copy; umount -l srv/copy/b",
        [("srv/a/b", True, 2, "peer", True)],
    ),
    "by a namespace that shares it": Case(
        DISK,
        "unshare -m --propagation unchanged umount srv/x",
        [("srv/x", True, 1, "peer", True)],
    ),
    "from the host and a slave": Case(
        DISK,
        hold("slave") + "unshare -m --propagation unchanged umount srv/x",
        [("srv/x", True, 1, "peer", True), ("srv/x", False, 1, "slave", True)],
    ),
    "with a removed mount point": Case(
        "mkdir srv/own",
        hold("private", "mount -t tmpfs own srv/own") + "rmdir srv/own",
        [("srv/own", False, 1, "mountpoint-removed", True)],
    ),
    "mounted again": Case(
        DISK,
        "unshare -m --propagation unchanged umount srv/x; mount -t tmpfs again srv/x",
        [("srv/x", True, 1, "peer", False)],
    ),
    "what its own namespace unmounts": Case(DISK, hold("slave") + "umount srv/x", []),
    "what was held, by the removal": Case(DISK, hold("private") + "umount srv/x; rmdir srv/x", []),
    "what a program left before it started again": Case(
        "",
        "unshare -m --propagation unchanged mount -t tmpfs left srv/x\n"
        "unshare -m --propagation unchanged umount srv/x",
        [],
    ),
    "a copy that goes with its bind": Case(
        TREE, "mount --rbind srv/a srv/copy; mount --make-rslave srv/copy; umount -R srv/copy", []
    ),
}


def told(recorded: Recorded, folder: Path) -> list[tuple[str, bool, int, str, bool]]:
    return [
        (
            str(Path(row["mountpoint"]).relative_to(folder)),
            row["ns_id"] == recorded.home,
            row["mounts"],
            row["via"],
            row["missing"],
        )
        for row in recorded.run.lost_mounts.to_dict("records")
        if row["ns_id"] in recorded.namespaces
    ]


@pytest.mark.parametrize("name", some(list(CASES), 3))
def test_lost_is_what_its_namespace_did_not_unmount(
    record: Record, mnttrace, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    recorded = record(case.script, before=BEFORE + case.before)
    assert sorted(told(recorded, tmp_path)) == sorted(case.lost)
    for row in recorded.run.lost_mounts.to_dict("records"):
        answer = recorded.run.why(row["mountpoint"])
        [holder] = [
            one for one in answer.holders if one.mount["mnt_id_unique"] == row["mnt_id_unique"]
        ]
        assert holder.lost is not None
        assert (holder.lost["seq"], holder.lost["via"]) == (row["seq"], row["via"])
        assert holder.gone is not None
        cause = holder.gone[1]
        assert cause is not None
        assert (cause["comm"], cause["pid"]) == (row["comm"], row["pid"])
        assert row["comm"] in ("umount", "rmdir")
    status = mnttrace("leaks", "run.mnttrace", "--fail-on", "lost").returncode
    assert status == (3 if case.lost else 0)


def test_a_loss_is_listed_with_its_cause_and_what_keeps_it_from_happening(
    record: Record, mnttrace, tmp_path: Path
) -> None:
    before, bind = BEFORE + TREE, "mount --rbind srv/a srv/copy\n"
    recorded = record(bind + "umount -l srv/copy", before=before)
    printed = mnttrace("leaks", "run.mnttrace").stdout
    [umount] = recorded.rows("operations", syscall="umount2")
    assert f"lost: tmpfs at {tmp_path}/srv/a/b\n" in printed
    assert f"taken by   umount[{umount['pid']}], operation {umount['seq']}:" in printed
    assert f"went with  {tmp_path}/srv/copy/b in host, through peer group" in printed
    [row] = json.loads(mnttrace("leaks", "run.mnttrace", "--json").stdout)
    assert row["kind"] == "lost"
    asked = mnttrace("query", "run.mnttrace", "select mountpoint, seq from lost_mounts").stdout
    assert f"{tmp_path}/srv/a/b" in asked
    # As it is told, it is done: nothing is lost then.
    slave = f"mount --make-rslave {tmp_path}/srv/copy"
    assert slave in printed
    (tmp_path / "run.mnttrace").rename(tmp_path / "before")
    again = record(bind + f"{slave}\numount -l srv/copy", before="rmdir srv\n" + before)
    assert again.run.lost_mounts.empty
