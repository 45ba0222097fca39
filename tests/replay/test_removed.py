# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that go with their mount point or their namespace, lazily, or not at all: `removed`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.replay.scenarios import EXACT, HOOKS
from tests.replay.told import name, paths, told

every = pytest.mark.parametrize("path", paths("removed"), ids=name)
exact = pytest.mark.parametrize(
    "path", [path for path in paths("removed") if told(path).backend in EXACT], ids=name
)
with_calls = pytest.mark.parametrize(
    "path", [path for path in paths("removed") if told(path).backend != "none"], ids=name
)


@every
def test_a_mount_goes_with_its_mount_point(path: Path) -> None:
    run = told(path)
    [gone] = run.of("removed-1")
    assert (gone["action"], gone["mountpoint"]) == ("detach", "/srv/removed")
    assert gone["ns_id"] == run.namespace("inside")
    if run.backend in EXACT:
        assert (gone["via"], gone["evidence"]) == ("mountpoint-removed", "kernel")
        call = run.call(gone)
        is_arm = run.log.header.meta["machine"] == "aarch64"  # which has no rmdir(2)
        assert (call["syscall"], call["comm"]) == ("unlinkat" if is_arm else "rmdir", "rmdir")
        assert call["ns_id"] == run.namespace("outside")
    else:
        # rmdir(2) is only traced where it detaches something.
        assert (gone["via"], gone["evidence"], gone["seq"]) == ("", "snapshot", None)


@with_calls
def test_mounts_go_with_their_namespace(path: Path) -> None:
    run = told(path)
    came, went = (row for row in run.of("dies-1") if row["via"] != "namespace-copy")
    assert (came["action"], came["via"]) == ("attach", "direct")
    assert run.call(came)["source"] == "dies-1"
    assert (went["action"], went["via"], went["seq"]) == ("detach", "namespace-death", None)
    born = came["ns_id"]
    assert went["ns_id"] == born
    [row] = [row for row in run.table("namespaces") if row["ns_id"] == born and row["seq"]][-1:]
    assert row["parent_ns_id"] == run.namespace("outside")
    inside = [row for row in run.effects if row["ns_id"] == born and row["action"] != "change"]
    counts = Counter((row["action"], row["via"]) for row in inside)
    copies = counts["attach", "namespace-copy"]
    assert counts == {
        ("attach", "namespace-copy"): copies,
        ("attach", "direct"): 1,
        ("detach", "namespace-death"): copies + 1,
    }
    assert {row["mnt_id_unique"] for row in inside if row["action"] == "attach"} == {
        row["mnt_id_unique"] for row in inside if row["action"] == "detach"
    }
    if run.backend in EXACT:
        assert {row["evidence"] for row in inside} <= {"kernel", "snapshot"}
        # Who ended it is known if it was watched by then.
        unshare = run.calls(ns_target_id=born, syscall="unshare")[0]
        ended_by = {row["pid"] for row in inside if row["via"] == "namespace-death"}
        assert ended_by <= {unshare["pid"], None}


@exact
def test_a_namespace_ends_with_the_call_by_which_the_last_one_leaves_it(path: Path) -> None:
    run = told(path)
    [mount] = run.calls(source="leaves-1")
    left = mount["ns_id"]
    [leaving] = run.calls(syscall="unshare", ns_id=left)
    came, went = run.of("leaves-1", ns_id=left)
    assert (came["seq"], came["via"]) == (mount["seq"], "direct")
    assert (went["action"], went["via"]) == ("detach", "namespace-death")
    copied, *_ = run.of("leaves-1", ns_id=leaving["ns_target_id"])
    assert (copied["seq"], copied["via"]) == (leaving["seq"], "namespace-copy")
    assert copied["copy_of_unique"] == came["mnt_id_unique"]
    ended = [row for row in run.effects if row["ns_id"] == left and row["action"] == "detach"]
    assert {row["via"] for row in ended} == {"namespace-death"}
    if run.backend == HOOKS:
        assert {(row["seq"], row["evidence"]) for row in ended} == {(leaving["seq"], "kernel")}
    else:
        assert {row["seq"] for row in ended} <= {leaving["seq"], None}


@exact
def test_a_slave_loses_its_master_with_the_group(path: Path) -> None:
    run = told(path)
    outside, slave = run.namespace("outside"), run.namespace("slave")
    [umount] = run.calls(path="/srv/master")
    rows = [row for row in run.effects if row["seq"] == umount["seq"]]
    gone = {(row["ns_id"], row["via"]) for row in rows if row["action"] == "detach"}
    assert gone == {(outside, "direct"), (slave, "slave")}
    changed = [row for row in rows if row["action"] == "change"]
    assert {(row["ns_id"], row["via"]) for row in changed} == {
        (outside, "slave"),
        (slave, "slave"),
    }
    for row in changed:
        assert row["mountpoint"] == "/srv/follower"
        assert row["before"].startswith("master:")
        assert (row["master"], row["propagation"]) == (None, "private")


@exact
def test_a_lazy_umount_takes_what_is_below_and_all_copies(path: Path) -> None:
    run = told(path)
    [call] = run.calls(path="/srv/lazy")
    assert (call["syscall"], call["flags"]) == ("umount2", "MNT_DETACH")
    gone = [row for row in run.effects if row["seq"] == call["seq"]]
    assert {row["action"] for row in gone} == {"detach"}
    outside, slave = run.namespace("outside"), run.namespace("slave")
    assert Counter((row["source"], row["ns_id"], row["via"]) for row in gone) == {
        ("lazy-1", outside, "direct"): 1,
        ("lazy-2", outside, "direct"): 1,
        ("lazy-1", slave, "slave"): 1,
        ("lazy-2", slave, "slave"): 1,
    }
    direct = {row["source"]: row for row in gone if row["via"] == "direct"}
    assert direct["lazy-2"]["parent_unique"] == direct["lazy-1"]["mnt_id_unique"]
    assert direct["lazy-2"]["mountpoint"] == "/srv/lazy/below"
    for row in gone:
        if row["via"] == "slave":
            assert row["copy_of_unique"] == direct[row["source"]]["mnt_id_unique"]


@every
def test_all_mounts_that_went_lazily_are_told_of(path: Path) -> None:
    run = told(path)
    for there in (run.namespace("outside"), run.namespace("slave")):
        for source in ("lazy-1", "lazy-2"):
            assert [row["action"] for row in run.of(source, ns_id=there)] == ["detach"]


@with_calls
def test_a_busy_mount_stays_and_who_uses_it_is_told(path: Path) -> None:
    run = told(path)
    [call] = run.calls(path="/srv/busy")
    assert (call["error"], call["result"]) == ("EBUSY", -16)
    assert [row for row in run.effects if row["seq"] == call["seq"]] == []
    assert run.of("busy-1", ns_id=run.namespace("outside")) == []
    users = run.table("users")
    assert {row["seq"] for row in users} == {call["seq"]}
    assert [(row["comm"], row["how"], row["path"]) for row in users] == [
        ("sh", "cwd", "/srv/busy"),
    ]
    assert users[0]["ns_id"] == run.namespace("outside")
