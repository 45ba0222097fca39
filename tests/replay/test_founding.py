# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The systems that the project was founded on, in small: `founding` and `container`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.replay.scenarios import EXACT, SYSCALLS
from tests.replay.told import name, paths, told

every = pytest.mark.parametrize("path", paths("founding"), ids=name)
founding = pytest.mark.parametrize(
    "path", [path for path in paths("founding") if told(path).backend in EXACT], ids=name
)
tables_alone = pytest.mark.parametrize(
    "path", [path for path in paths("founding") if told(path).backend not in EXACT], ids=name
)
with_calls = pytest.mark.parametrize(
    "path", [path for path in paths("founding") if told(path).backend != "none"], ids=name
)
container = pytest.mark.parametrize("path", paths("container"), ids=name)


@with_calls
def test_a_mount_in_a_private_namespace_stays_inside(path: Path) -> None:
    run = told(path)
    attach, detach = run.of("stays-1")
    evidence = "model" if run.backend == SYSCALLS else "kernel"
    assert attach["ns_id"] == detach["ns_id"]
    assert attach["ns_id"] not in (run.namespace("outside"), run.namespace("slave"))
    for row, action, syscall in ((attach, "attach", "mount"), (detach, "detach", "umount2")):
        assert (row["action"], row["via"], row["evidence"]) == (action, "direct", evidence)
        assert row["mountpoint"] == "/srv/stays"
        assert run.call(row)["syscall"] == syscall
        assert run.call(row)["path"] == "/srv/stays"
    assert run.call(attach)["source"] == "stays-1"


@founding
def test_a_umount_in_a_private_namespace_leaves_the_others_alone(path: Path) -> None:
    run = told(path)
    [umount] = run.calls(path="/srv/leaves")
    [gone] = [row for row in run.of("leaves-1") if row["seq"] == umount["seq"]]
    assert (gone["action"], gone["via"], gone["ns_id"]) == ("detach", "direct", umount["ns_id"])
    left = {row["ns_id"] for row in run.of("leaves-1", action="detach")}
    assert not left & {run.namespace("outside"), run.namespace("slave")}
    # Copied by each birth, and gone with each namespace; but the last one's root is another.
    assert Counter(row["via"] for row in run.of("leaves-1", action="attach")) == {
        "namespace-copy": 4
    }
    assert Counter(row["via"] for row in run.of("leaves-1", action="detach")) == {
        "direct": 2,
        "namespace-death": 2,
    }


@with_calls
def test_a_mount_under_a_shared_bind_reaches_the_outside(path: Path) -> None:
    run = told(path)
    evidence = "model" if run.backend == SYSCALLS else "kernel"
    outside, slave = run.namespace("outside"), run.namespace("slave")
    [call] = run.calls(source="reaches-1")
    inside = call["ns_id"]
    attached = run.of("reaches-1", seq=call["seq"])
    assert Counter((row["ns_id"], row["via"]) for row in attached) == {
        (inside, "direct"): 1,
        (inside, "peer"): 1,
        (outside, "peer"): 2,
        (slave, "slave"): 2,
    }
    [direct] = [row for row in attached if row["via"] == "direct"]
    assert direct["mountpoint"] == "/srv/twin/sub"
    for row in attached:
        assert (row["action"], row["evidence"]) == ("attach", evidence)
        if row["via"] != "direct":
            assert row["copy_of_unique"] == direct["mnt_id_unique"]
            assert row["copy_of_ns_id"] == inside
            assert (row["copy_of_path"], row["via_path"]) == ("/srv/twin/sub", "/srv/twin")
            assert row["via_unique"] == direct["parent_unique"]
    # What leaks is still there when its namespace has gone.
    gone = run.of("reaches-1", action="detach", ns_id=inside)
    assert [row["via"] for row in gone] == ["namespace-death"] * 2
    for there in (outside, slave):
        left = run.of("reaches-1", ns_id=there)
        assert {row["mountpoint"] for row in left} == {"/srv/pool/sub", "/srv/twin/sub"}
        assert {row["action"] for row in left} == {"attach"}


@with_calls
def test_a_mount_and_its_umount_reach_the_same_mounts(path: Path) -> None:
    run = told(path)
    outside, slave = run.namespace("outside"), run.namespace("slave")
    reached = {(outside, "direct"): 1, (outside, "peer"): 1, (slave, "slave"): 2}
    for action, syscall in (("attach", "mount"), ("detach", "umount2")):
        assert run.reach("given-1", action) == reached
        [call] = {row["seq"] for row in run.of("given-1", action=action)}
        assert run.operations[call]["syscall"] == syscall
    both = [run.of("given-1", action=action) for action in ("attach", "detach")]
    came, went = ({row["mnt_id_unique"]: row["mountpoint"] for row in rows} for rows in both)
    assert came == went
    [direct] = run.of("given-1", action="detach", via="direct")
    assert direct["mountpoint"] == "/srv/pool/given"
    assert {row["copy_of_unique"] for row in run.of("given-1", action="detach")} == {
        None,
        direct["mnt_id_unique"],
    }


@with_calls
def test_a_recursive_bind_says_where_it_is_and_what_it_was_bound_from(path: Path) -> None:
    run = told(path)
    outside, slave = run.namespace("outside"), run.namespace("slave")
    [bind] = run.calls(source_path="/srv/tree", ns_id=outside)
    for source, original, copy in (
        ("tree-1", "/srv/tree", "/srv/copy"),
        ("tree-2", "/srv/tree/below", "/srv/copy/below"),
    ):
        direct, receiver = [row for row in run.of(source) if row["seq"] == bind["seq"]]
        assert (direct["action"], direct["via"], direct["ns_id"]) == ("attach", "direct", outside)
        assert direct["mountpoint"] == copy
        assert direct["copy_of_path"] == (None if run.backend == SYSCALLS else original)
        assert (receiver["via"], receiver["ns_id"]) == ("slave", slave)
        assert receiver["copy_of_unique"] == direct["mnt_id_unique"]
        assert receiver["mountpoint"] == copy


@with_calls
def test_a_slave_is_made_of_each_mount_of_the_bind(path: Path) -> None:
    run = told(path)
    [call] = run.calls(path="/srv/copy", propagation="slave")
    changed = [row for row in run.effects if row["seq"] == call["seq"]]
    assert {row["mountpoint"] for row in changed} == {"/srv/copy", "/srv/copy/below"}
    for row in changed:
        assert (row["action"], row["via"], row["ns_id"]) == ("change", "direct", call["ns_id"])
        assert (row["propagation"], row["shared"]) == ("slave", None)
        group = row["before"].split()[0].removeprefix("shared:")
        assert row["master"] == int(group)


@with_calls
def test_a_remount_changes_one_mount_or_all_of_the_file_system(path: Path) -> None:
    run = told(path)
    outside, slave = run.namespace("outside"), run.namespace("slave")
    one, all_ = run.calls(path="/srv/options")
    [changed] = [row for row in run.effects if row["seq"] == one["seq"]]
    assert (changed["action"], changed["via"], changed["ns_id"]) == ("change", "direct", outside)
    assert changed["before"].split()[1].startswith("rw")
    assert changed["after"].split()[1].startswith("ro")
    changes = [row for row in run.effects if row["seq"] == all_["seq"]]
    assert {(row["source"], row["action"]) for row in changes} == {("options-1", "change")}
    shown = [row for row in run.of("options-1", action="change") if row["via"] == "super-block"]
    if run.backend in EXACT:
        assert {(row["seq"], row["ns_id"]) for row in shown} == {
            (all_["seq"], outside),
            (all_["seq"], slave),
        }
    else:
        assert [row["ns_id"] for row in changes] == [outside]
        assert [(row["seq"], row["ns_id"]) for row in shown] == [(None, slave)]


@with_calls
def test_a_mount_that_fails_has_no_effects(path: Path) -> None:
    run = told(path)
    [failed] = run.calls(source="nowhere-1")
    assert (failed["error"], failed["path"]) == ("ENOENT", "/srv/nowhere")
    assert run.of("nowhere-1") == []


@founding
def test_a_root_is_prepared_in_order(path: Path) -> None:
    run = told(path)
    [pivot] = run.calls(syscall="pivot_root")
    calls = run.calls(ns_id=pivot["ns_id"])
    assert [(call["syscall"], call["propagation"], call["path"]) for call in calls] == [
        ("mount", "slave", "/"),
        ("mount", "private", "/srv/bundle"),
        ("mount", "", "/srv/bundle/rootfs"),
        ("pivot_root", "", "/srv/bundle/rootfs"),
        ("umount2", "", "/old"),
    ]
    slave, private, bind, moves, umount = (
        [row for row in run.effects if row["seq"] == call["seq"]] for call in calls
    )
    assert {(row["action"], row["propagation"]) for row in slave} == {("change", "slave")}
    assert all(row["before"].startswith("shared:") for row in slave)
    [changed] = private
    assert (changed["source"], changed["propagation"]) == ("bundle-1", "private")
    assert {(row["source"], row["mountpoint"], row["via"]) for row in bind} == {
        ("bundle-1", "/srv/bundle/rootfs", "direct"),
        ("root-1", "/srv/bundle/rootfs/proc", "direct"),
    }
    moved = {row["mountpoint"]: row for row in moves}
    assert {(row["action"], row["via"]) for row in moves} == {("move", "direct")}
    assert moved.keys() == {"/", "/old"}
    assert moved["/"]["before"].startswith("/srv/bundle/rootfs on ")
    assert moved["/"]["source"] == "bundle-1"
    assert moved["/old"]["before"].startswith("/ on ")
    assert moved["/old"]["parent_unique"] == moved["/"]["mnt_id_unique"]
    # All that the namespace was born with: the old root goes first, before Linux 6.8 last.
    born = [row for row in run.effects if row["via"] == "namespace-copy"]
    born = [row for row in born if row["ns_id"] == pivot["ns_id"]]
    assert {(row["action"], row["via"]) for row in umount} == {("detach", "direct")}
    order = [row["mnt_id_unique"] for row in umount]
    assert moved["/old"]["mnt_id_unique"] in (order[0], order[-1])
    assert {row["mnt_id_unique"] for row in born} == {row["mnt_id_unique"] for row in umount}
    assert all(row["mountpoint"].startswith("/old") for row in umount)
    # Nothing of it is seen elsewhere.
    assert {row["ns_id"] for row in (*slave, *bind, *moves, *umount)} == {pivot["ns_id"]}


@with_calls
def test_births_say_of_which_namespace_they_are_copies(path: Path) -> None:
    run = told(path)
    born = [row for row in run.table("namespaces") if row["seq"]]
    assert {run.operations[row["seq"]]["syscall"] for row in born} == {"unshare"}
    assert len({row["ns_id"] for row in born}) == 4
    assert {row["parent_ns_id"] for row in born} == {run.namespace("outside")}
    for row in born:
        assert run.operations[row["seq"]]["ns_target_id"] == row["ns_id"]
    copies = [row for row in run.effects if row["via"] == "namespace-copy"]
    assert {row["ns_id"] for row in copies} == {row["ns_id"] for row in born}
    for row in copies:
        assert run.call(row)["ns_target_id"] == row["ns_id"]
        assert row["copy_of_ns_id"] == run.namespace("outside")
        assert row["copy_of_path"] == row["mountpoint"]
        # A mount table is only read when a call in the namespace may have changed that.
        if run.backend in EXACT:
            assert row["before"] == row["after"]
        else:
            assert row["before"].startswith(("shared:", "master:"))


@every
def test_each_mount_is_where_it_came_to(path: Path) -> None:
    run = told(path)
    outside, slave = run.namespace("outside"), run.namespace("slave")
    both = [outside, slave]
    for source, places, left in (
        ("stays-1", [], []),
        ("leaves-1", [], []),
        ("reaches-1", ["/srv/pool/sub", "/srv/twin/sub"], both),
        ("given-1", ["/srv/pool/given", "/srv/twin/given"], []),
        ("tree-2", ["/srv/copy/below"], both),
        ("nowhere-1", [], []),
    ):
        for there in both:
            came = run.of(source, action="attach", ns_id=there)
            went = run.of(source, action="detach", ns_id=there)
            if source != "tree-2":  # of the slave's it is told where it was at first
                assert sorted(row["mountpoint"] for row in came) == places
            assert (len(came) - len(went) > 0) == (there in left)


@tables_alone
def test_tables_alone_claim_nothing_that_they_do_not_show(path: Path) -> None:
    run = told(path)
    for row in run.effects:
        assert row["evidence"] == ("snapshot" if row["seq"] is None else "model")
        if row["seq"] is None:
            assert row["via"] in ("", "super-block", "namespace-death")
            assert (row["pid"], row["tid"]) == (None, None)
    if run.backend != SYSCALLS:
        assert run.operations == {}


@container
def test_a_container_lets_a_mount_out_through_a_shared_volume(path: Path) -> None:
    run = told(path)
    [row] = [row for row in run.table("namespaces") if row["kind"] == "container"]
    assert row["runtime"] == "runc"
    assert row["id"].startswith("mnttrace-demo-")
    outside, slave = run.namespace("outside"), run.namespace("slave")
    [call] = run.calls(source="scratch")
    assert (call["comm"], call["ns_id"]) == ("mount", row["ns_id"])
    service = row["parent_ns_id"]
    assert service not in (outside, slave)
    assert run.reach("scratch", "attach") == {
        (row["ns_id"], "direct"): 1,
        (service, "peer"): 1,
        (outside, "peer"): 1,
        (slave, "slave"): 1,
    }
    assert {row["seq"] for row in run.of("scratch", action="attach")} == {call["seq"]}
    [direct] = run.of("scratch", via="direct")
    assert direct["mountpoint"] == "/volume/scratch"
    for there in (outside, slave):
        [leak] = run.of("scratch", ns_id=there)  # and it stays
        assert leak["mountpoint"] == "/srv/c/volume/scratch"
        assert leak["copy_of_unique"] == direct["mnt_id_unique"]
    gone = {(row["ns_id"], row["via"]) for row in run.of("scratch", action="detach")}
    assert gone == {(row["ns_id"], "namespace-death"), (service, "namespace-death")}
