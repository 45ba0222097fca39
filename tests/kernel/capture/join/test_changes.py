# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mounts changed, from what to what; and mounts that went without any mount syscall."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests import CHECKOUT

CALLS = CHECKOUT / "tests/kernel/calls.py"
TREE = """
mkdir tree; mount -t tmpfs one tree; mkdir tree/in; mount -t tmpfs two tree/in
cat /proc/self/mountinfo >before
"""
SETATTR = """
call("mount_setattr", AT_FDCWD, "tree", 0x8000, mount_attr(2 | 4, 0, 1 << 19), 32)
call("mount_setattr", AT_FDCWD, "tree/in", 0, mount_attr(1, 2, 0), 32)
"""


def test_attributes_and_propagation_as_both_mount_tables_have_them(record) -> None:
    recorded = record(
        f"python3 {CALLS} <<'END'\n{SETATTR}\nEND\nmount -o remount,bind,ro,noexec tree",
        before=TREE,
        after="cat /proc/self/mountinfo >after",
    )
    effects = recorded.rows("effects", action="change")
    operations = {row["seq"]: row["syscall"] for row in recorded.rows("operations")}
    told = [(row["source"], operations[row["seq"]], row["via"]) for row in effects]
    assert told == [
        ("one", "mount_setattr", "direct"),
        ("two", "mount_setattr", "direct"),
        ("two", "mount_setattr", "direct"),
        ("one", "mount", "direct"),
    ]
    for source in ("one", "two"):
        mine = [row for row in effects if row["source"] == source]
        old, new = (
            next(line for line in recorded.table(name) if line.source == source)
            for name in ("before", "after")
        )
        assert mine[0]["before"] == f"{old.optional_fields} {old.options}"
        assert mine[1]["before"] == mine[0]["after"]
        # A slave without a master is private, which has no optional field.
        assert mine[-1]["after"] == f"{new.optional_fields or new.propagation} {new.options}"


def test_a_tree_that_is_attached_beneath_another(record) -> None:
    """The mounts of that are listed with the new ones, and are on one of them then."""
    recorded = record(
        f"""python3 {CALLS} <<'END'
fd = call("open_tree", AT_FDCWD, "tree", 1 | 0x8000)  # OPEN_TREE_CLONE, AT_RECURSIVE
assert call("move_mount", fd, "", AT_FDCWD, "shared/at", 4 | 0x200) == 0  # F_EMPTY_PATH, BENEATH
END""",
        before=f"""{TREE}
        mkdir shared; mount -t tmpfs below shared; mkdir shared/at
        mount --make-shared shared; mkdir peer; mount --bind shared peer
        mount -t tmpfs above shared/at; mkdir shared/at/in; mount -t tmpfs above shared/at/in""",
        after="cat /proc/self/mountinfo >after",
    )
    rows = recorded.rows("effects")
    [call] = recorded.rows("operations", syscall="move_mount")
    told = Counter((row["action"], row["via"], row["source"]) for row in rows)
    assert told == {
        ("attach", "direct", "one"): 1,
        ("attach", "direct", "two"): 1,
        ("attach", "peer", "one"): 1,
        ("attach", "peer", "two"): 1,
        ("move", "beneath", "above"): 2,
    }
    after = {line.mount_id: line for line in recorded.table("after")}
    assert {row["seq"] for row in rows} == {call["seq"]}
    for row in rows:
        line = after[row["mount_id"]]
        assert (row["mountpoint"], row["parent_id"]) == (line.mountpoint, line.parent_id)


def test_what_a_birth_in_another_user_namespace_does(record, tmp_path: Path) -> None:
    recorded = record(
        """unshare --user --map-root-user --mount --propagation unchanged sh -c '
            ! umount tree/in; cat /proc/self/mountinfo >inside'""",
        before=TREE,
    )
    [refused] = recorded.rows("operations", syscall="umount2")
    assert refused["error"] == "EINVAL"
    births = recorded.rows("effects", via="namespace-copy")
    inside = {line.mount_id: line for line in recorded.table("inside")}
    assert {row["mount_id"] for row in births} == inside.keys()
    assert all(row["locked"] for row in births)
    for row in births:
        line = inside[row["mount_id"]]
        assert row["after"] == f"{line.optional_fields} {line.options}"
        assert row["before"].startswith("shared:")
        assert row["after"].startswith("master:")


@pytest.mark.parametrize(
    ("make", "go", "call"),
    [
        ("mkdir x", "rmdir x", {"rmdir", "unlinkat"}),
        ("touch x", "rm x", {"unlink", "unlinkat"}),
        ("touch x y", "mv y x", {"rename", "renameat", "renameat2"}),
    ],
)
def test_mounts_whose_mount_point_went_elsewhere_are_told_with_who_did_that(
    record, make: str, go: str, call: set[str]
) -> None:
    source = "etc" if "mkdir" in make else "hosts"
    recorded = record(
        f"cd there; {go}",
        before=f"""
        mkdir there etc; touch hosts; (cd there; {make}); mkfifo end
        unshare -m --propagation private sh -c '
            mount --bind {source} there/x; touch ready; read -r word <end' &
        until [ -e ready ]; do sleep 0.02; done
        """,
        after="echo go >end; wait",
    )
    gone = recorded.frame("effects").query("via == 'mountpoint-removed'")
    assert len(gone) == 1
    [row] = gone.to_dict("records")
    [operation] = recorded.rows("operations", seq=row["seq"])
    assert operation["syscall"] in call
    assert operation["comm"] == go.split(maxsplit=1)[0]
    assert (row["action"], row["evidence"]) == ("detach", "kernel")
    assert row["mountpoint"].endswith("/there/x")
    assert row["ns_id"] != recorded.home


# Keeps mounts of its namespace busy.
HOLD = """
import os, signal
held = [os.open(f"there/{i}", os.O_RDONLY) for i in range(1, 201)]
open("held", "w").close()
signal.pause()
"""


def test_mounts_that_go_while_the_recorder_reads_what_went_before_are_told_with_who_did_that(
    record,
) -> None:
    """Each goes with what is mounted on it, from two namespaces, in one of which it is busy; in the
    midst of such a call the recorder reads the events of it or not, as it happens."""
    recorded = record(
        "for i in $(seq 200); do rmdir there/$i; rm there/f$i; done",
        before=f"""
        cat >hold.py <<'END'\n{HOLD}\nEND
        mkdir there etc etc/in; touch hosts; mkfifo end
        for i in $(seq 200); do mkdir there/$i; touch there/f$i; done
        unshare -m --propagation private sh -ec '
            for i in $(seq 200); do
                mount --bind etc there/$i; mount -t tmpfs on there/$i/in
                mount --bind hosts there/f$i
            done
            python3 hold.py &
            until [ -e held ]; do sleep 0.02; done
            unshare -m --propagation private sh -c "touch ready; read -r word <end"
            kill $!' &
        until [ -e ready ]; do sleep 0.02; done
        """,
        after="echo go >end; wait",
    )
    gone = recorded.frame("effects").query("via == 'mountpoint-removed'").to_dict("records")
    calls = {row["seq"]: row["syscall"] for row in recorded.rows("operations")}
    told = Counter((calls.get(row["seq"]), row["mountpoint"].count("/in")) for row in gone)
    assert told == {("rmdir", 0): 400, ("rmdir", 1): 400, ("unlinkat", 0): 400}


def test_umounts_while_the_recorder_reads_what_they_detach(record) -> None:
    """The second of each two takes what the first left where that propagates to."""
    recorded = record(
        f"""python3 {CALLS} <<'END'
for i in range(300):
    assert call("umount2", f"one/{{i}}", 0) == call("umount2", f"two/{{i}}", 2) == 0  # MNT_DETACH
END""",
        before="""mkdir one two; mount -t tmpfs tree one; mount --make-shared one
        for i in $(seq 0 299); do mkdir one/$i; done
        mount --bind one two
        for i in $(seq 0 299); do
            mount -t tmpfs on one/$i; mount --make-private two/$i
            mkdir two/$i/in; mount -t tmpfs in two/$i/in
        done""",
    )
    calls = {row["seq"]: row["path"] for row in recorded.rows("operations", syscall="umount2")}
    told = Counter(
        (calls[row["seq"]].split("/")[-2], row["via"], row["mountpoint"].count("/in"))
        for row in recorded.rows("effects", action="detach")
    )
    assert told == {("one", "direct", 0): 300, ("two", "direct", 0): 300, ("two", "direct", 1): 300}


@pytest.mark.parametrize(
    ("first", "change"),
    [
        ("", 'call("mount", None, "/proc/self/fd/3", None, REMOUNT, None)'),
        ("os.fchdir(3)", 'call("mount", None, ".", None, REMOUNT, None)'),
        ('os.chroot("tree")', 'call("mount", None, "/", None, REMOUNT, None)'),
        ("", 'call("mount_setattr", 3, "", 0x1000, mount_attr(1), 32)'),
    ],
)
def test_what_is_changed_where_no_path_is_looked_up(record, first: str, change: str) -> None:
    recorded = record(
        f"""exec 3<tree; python3 {CALLS} <<'END'
REMOUNT = 32 | 0x1000 | 1  # MS_REMOUNT | MS_BIND | MS_RDONLY
{first}
assert {change} == 0
END""",
        before=f"{TREE}mount --make-private tree",
        after="cat /proc/self/mountinfo >after",
    )
    effects = recorded.rows("effects", action="change", source="one")
    [new] = [line for line in recorded.table("after") if line.source == "one"]
    assert [(row["via"], row["evidence"]) for row in effects] == [("direct", "kernel")]
    assert effects[0]["after"] == f"private {new.options}"
    assert new.options.startswith("ro,")


def test_what_is_at_proc_need_not_be_procfs(record) -> None:
    recorded = record(
        f"""exec 9<tree; unshare -m --propagation private python3 {CALLS} <<'END'
call("mount", "fake", "/proc", "tmpfs", 0, None)
os.makedirs("/proc/self/fd/9")
assert call("mount", os.path.abspath("other"), "/proc/self/fd/9", None, 0x1000, None) == 0
assert call("mount", None, "/proc/self/fd/9", None, 32 | 0x1000 | 1, None) == 0
END""",
        before=f"{TREE}mkdir other; mount -t tmpfs other other",
    )
    read_only = [
        row["source"]
        for row in recorded.rows("effects", action="change")
        if row["source"] in ("one", "other") and row["after"].split()[-1].startswith("ro")
    ]
    assert read_only == ["other"]
