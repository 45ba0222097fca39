# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is told of a mount that did not arrive, was lost or changed, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnttrace.analysis.state.mount_tables import last_tables, peer_groups
from tests.kernel.analysis.situations import BEFORE, DISK, hold
from tests.kernel.recordings import Record, Recorded

Find = Callable[[Recorded], int]


def call(propagation: str) -> Find:
    return lambda recorded: max(
        row["seq"] for row in recorded.rows("operations", syscall="mount", propagation=propagation)
    )


def birth(recorded: Recorded) -> int:
    [row] = recorded.rows("operations", syscall="unshare")
    return int(row["seq"])


MISSING: dict[str, tuple[str, str, str, bool, str, Find]] = {
    # Before; recorded; asked; whether in the holder (else on the host); barrier; since which call.
    "from a slave": (
        "",
        hold("slave", "mount -t tmpfs disk srv/x"),
        "srv/x",
        False,
        "sends-nothing-up",
        call("slave"),
    ),
    "from a slave that is shared": (
        "",
        hold(
            "unchanged",
            "mount --make-slave srv; mount --make-shared srv; mount -t tmpfs disk srv/x",
        ),
        "srv/x",
        False,
        "sends-nothing-up",
        call("slave"),
    ),
    "from a private mount": (
        "mkdir srv/p; mount -t tmpfs p srv/p; mkdir srv/p/late",
        "mount --make-private srv/p" + hold("slave") + "mount -t tmpfs late srv/p/late",
        "srv/p/late",
        True,
        "sends-nothing",
        call("private"),
    ),
    "to a private copy": (
        "",
        hold("private") + "mount -t tmpfs disk srv/x",
        "srv/x",
        True,
        "receives-nothing",
        call("private"),
    ),
}


@pytest.mark.parametrize("name", list(MISSING))
def test_what_did_not_arrive_is_told_with_the_mount_that_cuts_it(
    record: Record, mnttrace, tmp_path: Path, name: str
) -> None:
    before, script, asked, in_holder, barrier, since = MISSING[name]
    recorded = record(script, before=BEFORE + before)
    within = (tmp_path / "pid").read_text().strip() if in_holder else None
    answer = recorded.run.why(f"{tmp_path}/{asked}", within)
    [one] = [absence.missing for absence in answer.missing]
    assert one.stopped.barrier.kind == barrier
    assert one.stopped.mount.path == str(tmp_path / asked.rpartition("/")[0])
    cause = one.stopped.mount.since
    assert cause is not None
    assert cause["seq"] == since(recorded)
    options = ["--in", within or "host"]
    told = mnttrace("why", "run.mnttrace", tmp_path / asked, *options).stdout
    assert f"(operation {cause['seq']})" in told.partition("\nnot in ")[2]


def test_what_arrives_is_not_missing(record: Record, tmp_path: Path) -> None:
    recorded = record(hold("slave") + "mount -t tmpfs disk srv/x", before=BEFORE)
    assert (
        recorded.run.why(f"{tmp_path}/srv/x", (tmp_path / "pid").read_text().strip()).missing == ()
    )


def test_what_went_with_a_bind_is_told_as_lost(record: Record, mnttrace, tmp_path: Path) -> None:
    recorded = record(
        "mount --rbind srv/a srv/copy; umount -l srv/copy",
        before=BEFORE + "mkdir srv/a srv/copy; mount -t tmpfs a srv/a; mkdir srv/a/b\n"
        "mount -t tmpfs b srv/a/b",
    )
    [umount] = recorded.rows("operations", syscall="umount2")
    answer = recorded.run.why(f"{tmp_path}/srv/a/b")
    [lost] = [one for one in answer.holders if one.mount["mountpoint"] == f"{tmp_path}/srv/a/b"]
    assert lost.gone is not None
    effect, cause = lost.gone
    assert effect["via"] == "peer"
    assert cause is not None
    assert cause["seq"] == umount["seq"]
    told = mnttrace("why", "run.mnttrace", tmp_path / "srv/a/b").stdout
    assert f"LOST: it went with {tmp_path}/srv/copy/b" in told


def test_two_file_systems_at_one_path_are_two(record: Record, mnttrace, tmp_path: Path) -> None:
    recorded = record(
        hold("private", "umount srv/x; mount -t tmpfs new srv/x") + "umount srv/x",
        before=BEFORE + "mount -t tmpfs old srv/x",
        after="$MNTTRACE why --live $PWD/srv/x >live",
    )
    holders = recorded.run.why(f"{tmp_path}/srv/x").holders
    told = {(one.mount["source"], one.mount["ns_id"] == recorded.home): one for one in holders}
    assert told.keys() == {("new", False), ("old", True), ("old", False)}
    assert told["new", False].mount["present"]
    assert not told["old", True].mount["present"]
    text = mnttrace("why", "run.mnttrace", tmp_path / "srv/x").stdout
    assert text.startswith("tmpfs new, device ")
    assert "\ntmpfs old, device " in text
    assert (tmp_path / "live").read_text().startswith("tmpfs new, device ")


def test_any_process_of_a_namespace_stands_for_it(record: Record, mnttrace, tmp_path: Path) -> None:
    """Also the one that left another namespace; now, too, where it made no call."""
    recorded = record(
        hold("private", "sleep 1000 & echo $! >pid2;") + "umount srv/x",
        before=BEFORE + DISK,
        after="for pid in $(cat pid pid2); do $MNTTRACE why --live $pid; done >live",
    )
    pid = (tmp_path / "pid").read_text().strip()
    [held] = recorded.run.why(pid).holders
    assert (held.kind, held.mount["source"]) == ("held", "disk")
    live = (tmp_path / "live").read_text()
    assert live.count("what it has mounted and the host has not") == 2
    assert live.count(f"{tmp_path}/srv/x as mount {held.mount['mount_id']}") == 2


def test_a_remount_isolates_nothing(record: Record) -> None:
    recorded = record(hold("private", "mount -o remount,bind,ro srv"), before=BEFORE)
    [private] = recorded.rows("operations", syscall="mount", propagation="private")
    [birth] = recorded.rows("births", became="private")
    assert birth["isolated_by"] == private["seq"]


def test_a_tree_that_was_bound_was_carried_by_the_group_of_what_it_is_on(record: Record) -> None:
    recorded = record(
        hold("slave") + "mount --rbind srv/src srv/dst",
        before=BEFORE + "mkdir srv/src srv/dst; mount -t tmpfs src srv/src; mkdir srv/src/sub\n"
        "mount -t tmpfs sub srv/src/sub; mount --make-rprivate srv/src",
        after="cat /proc/self/mountinfo >host",
    )
    [row] = recorded.run.leaks.to_dict("records")
    assert (row["mounts"], row["present"]) == (2, 2)
    place = f"{recorded.folder}/srv"
    [group] = {line.shared for line in recorded.table("host") if line.mountpoint == place}
    assert (row["via_group"], row["via_path"]) == (group, place)


def test_shared_since_is_one_call_in_leaks_and_why(record: Record) -> None:
    recorded = record(
        "mount --make-shared srv/top" + hold("unchanged") + "mount -t tmpfs x srv/top/x",
        before=BEFORE + "mkdir srv/top; mount --make-private srv; mount -t tmpfs top srv/top\n"
        "mkdir srv/top/x",
    )
    [made] = recorded.rows("operations", syscall="mount", propagation="shared")
    leaks = recorded.run.leaks
    [row] = leaks[leaks["source"] == "x"].to_dict("records")
    assert row["via_seq"] == made["seq"]
    holders = recorded.run.why("x").holders
    [since] = [step.shared_since for one in holders for step in one.steps if step.shared_since]
    assert since["seq"] == made["seq"]


def test_each_change_of_a_mount_is_told_with_its_call(
    record: Record, mnttrace, tmp_path: Path
) -> None:
    recorded = record(
        """
        mount -t tmpfs --make-private disk srv/x; mount --make-shared srv/x
        mount -o remount,bind,ro srv/x; mount --make-private srv/x
        """,
        before=BEFORE,
    )
    [holder] = recorded.run.why(f"{tmp_path}/srv/x").holders
    told = [(row["before"].split()[-1], row["after"].split()[-1]) for row, _ in holder.changes]
    assert told[-2:] == [("rw,relatime", "ro,relatime"), ("ro,relatime", "ro,relatime")]
    calls = [cause["seq"] for _, cause in holder.changes if cause]
    numbers = [row["seq"] for row in recorded.rows("operations", path=f"{tmp_path}/srv/x")]
    assert calls == numbers[-len(calls) :]
    text = mnttrace("why", "run.mnttrace", tmp_path / "srv/x").stdout
    assert f"    private ro,relatime since mount[{cause_pid(holder)}]" in text


def cause_pid(holder: Any) -> int:
    return int(holder.changes[-1][1]["pid"])


def test_groups_that_had_one_number_one_after_the_other_are_two(record: Record) -> None:
    """The number of a group that ends is free for the next one."""
    recorded = record(
        """
        number() { sed -n "s|.* $PWD/srv/x .* shared:\\([0-9]*\\) .*|\\1|p" /proc/self/mountinfo; }
        first=$(number | head -1)
        unshare -m --propagation unchanged sh -c '
            touch ready; until [ -e end ]; do sleep .02; done' &
        until [ -e ready ]; do sleep .02; done
        umount srv/x; umount srv/x; touch end; wait
        for n in $(seq 100); do
            mount -t tmpfs --make-shared q srv/x
            if [ "$(number)" = "$first" ]; then break; fi
            umount srv/x; sleep .05
        done
        mount --bind srv/x srv/x
        """,
        before=BEFORE.replace("--make-shared", "--make-private")
        + "mount -t tmpfs --make-shared k srv/x; mount --bind srv/x srv/x",
    )
    tables = last_tables(recorded.run)
    here = tables[(tables["ns_id"] == recorded.home) & (tables["source"] == "q")]
    far = tables[tables["source"] == "k"]
    [number] = set(here["shared"])
    assert set(far["shared"]) == {number}
    groups = peer_groups(recorded.run, tables)
    same = groups[(groups["group"] == number) & groups["ns_id"].isin(recorded.namespaces)]
    lives = same.groupby("ns_id")["life"].agg(set)
    assert all(len(one) == 1 for one in lives)
    assert len({min(one) for one in lives}) == len(lives)


def test_what_failed_at_a_path_is_told_though_nothing_was_mounted_there(
    record: Record, mnttrace, tmp_path: Path
) -> None:
    recorded = record(
        "mount -t tmpfs -o size=nonsense x plain || true; mount --bind nothing srv/x || true",
        before=BEFORE + "mkdir plain",
    )
    for path in ("plain", "srv/x"):
        [failed] = recorded.rows("operations", syscall="mount", path=f"{tmp_path}/{path}")
        text = mnttrace("why", "run.mnttrace", tmp_path / path).stdout
        assert f"(operation {failed['seq']})" in text.partition("\nfailed: ")[2], path
    assert "nothing was mounted at " in mnttrace("why", "run.mnttrace", tmp_path / "plain").stdout


def test_of_types_one_after_the_other_the_one_that_took_is_the_cause(
    record: Record, tmp_path: Path
) -> None:
    """Private first and slave afterwards: what has no peers stays private."""
    recorded = record(
        hold("unchanged", "mount --make-rprivate srv; mount --make-rslave srv")
        + "umount srv/x; mount -t tmpfs later srv/x",
        before=BEFORE + DISK,
    )
    [private] = [
        row["seq"] for row in recorded.rows("operations", syscall="mount", propagation="private")
    ]
    answer = recorded.run.why(f"{tmp_path}/srv/x")
    [held] = [one for one in answer.holders if one.kind == "held"]
    assert held.stopped is not None
    assert held.stopped.mount.since is not None
    assert held.stopped.mount.since["seq"] == private
    # What was mounted later did not arrive for the same reason.
    [absence] = answer.missing
    cause = absence.missing.stopped.mount.since
    assert cause is not None
    assert cause["seq"] == private
    assert answer.prevention is not None
    assert list(answer.prevention.changes) == [private]
