# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`leaks` and `why` say the same of each mount: what it is, since when, by whom, by which group."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agreement import disagreements, untold
from tests.kernel.analysis.situations import BEFORE, DISK, hold
from tests.kernel.recordings import Record
from tests.short import some

TREE = "mkdir srv/a; mount -t tmpfs a srv/a; mkdir srv/a/b; mount -t tmpfs b srv/a/b; "
SITUATIONS = {
    # Before; recorded; the kinds of the leaks, those of mounts that are gone last.
    "held tree": (TREE, hold("private") + "umount -R srv/a", ["held"]),
    "held and bound": (
        DISK,
        hold("private", "mount --bind srv/x own") + "umount srv/x",
        ["held"],
    ),
    "held by a removal": (
        DISK,
        hold("private", "mount --bind srv/x own; umount srv/x; rmdir srv/x"),
        ["held"],
    ),
    "held by a namespace of a namespace": (
        DISK,
        hold(
            "private",
            """unshare -m --propagation private sh -c "echo >inner; exec sleep 1000" &
            until [ -s inner ]; do sleep .02; done""",
        )
        + "umount srv/x",
        ["held", "held"],
    ),
    "held by a namespace of one that ended": (
        DISK,
        """unshare -m --propagation private sh -ec '
            unshare -m --propagation private sh -c "echo \\$\\$ >pid; exec sleep 1000" &
            until [ -s pid ]; do sleep .02; done'
        umount srv/x""",
        ["held"],
    ),
    "held for a while": (
        DISK,
        hold("private") + "umount srv/x; nsenter -t $(cat pid) -m umount $PWD/srv/x",
        ["race"],
    ),
    "left by starts": (
        "mkdir srv/1 srv/2",
        "for n in 1 2; do unshare -m --propagation unchanged mount -t tmpfs left srv/$n; done",
        ["residue"],
    ),
    "left and bound": (
        "",
        hold("slave")
        + "mount -t tmpfs disk srv/x; nsenter -t $(cat pid) -m mount --bind $PWD/srv/x $PWD/own; "
        "umount srv/x",
        ["residue"],
    ),
    "left in its own namespace": (
        "mkdir srv/b; mount --bind srv srv/b; mount --make-shared srv",
        "mount -t tmpfs disk srv/x; mount --make-private srv; umount srv/x",
        ["residue"],
    ),
    "a host's tree bound": (
        TREE + "mkdir srv/c",
        "unshare -m --propagation unchanged mount --rbind srv/a srv/c",
        ["residue"],
    ),
    "one of several is left": (
        "mkdir srv/y",
        hold("unchanged", "mount -t tmpfs one srv/x; mount -t tmpfs two srv/y")
        + 'nsenter -t $(cat pid) -m sh -c "cd $PWD; mount --make-private srv; umount srv/y"',
        ["residue"],
    ),
    "received": ("", hold("slave") + "mount -t tmpfs late srv/x", ["other"]),
    "shared since": (
        "mount --make-private srv; mkdir srv/top; mount -t tmpfs top srv/top; mkdir srv/top/x",
        "mount --make-shared srv/top" + hold("unchanged") + "mount -t tmpfs x srv/top/x",
        ["other"],
    ),
    "carried as one": (
        TREE + "mount --make-rprivate srv/a; mkdir srv/dst",
        hold("slave") + "mount --rbind srv/a srv/dst",
        ["other"],
    ),
}


@pytest.mark.parametrize("name", some(list(SITUATIONS), 3))
def test_leaks_and_why_agree_in_every_field(record: Record, name: str) -> None:
    before, script, kinds = SITUATIONS[name]
    recorded = record(script, before=BEFORE + before + "\nmkdir -p own")
    leaks = recorded.run.leaks
    own = leaks[leaks["dst_ns_id"].isin(recorded.namespaces)]
    # The end of a namespace is seen late: it seems to have held for a while what it had.
    is_sure = own["freed_seq"].notna() | (own["kind"] != "race")
    assert own.loc[is_sure, "kind"].to_list() == kinds
    assert disagreements(recorded.run, own) == []
    assert list(untold(recorded.run)) == []


def test_what_is_wanted_is_told_as_such_and_nothing_is_advised(
    record: Record, mnttrace, tmp_path: Path
) -> None:
    recorded = record(hold("slave") + "mount -t tmpfs late srv/x", before=BEFORE)
    [row] = recorded.run.leaks.to_dict("records")
    assert row["wanted"]
    for told in (mnttrace("leaks", "run.mnttrace"), mnttrace("why", "run.mnttrace", "late")):
        assert "slaves receive what is mounted there: nothing is to be done" in told.stdout
        assert "What to do now" not in told.stdout
