# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the kernel refuses is told with the reason, and with who or what stands in the way."""

from __future__ import annotations

from pathlib import Path


def told(recorded, seq: int) -> dict[str, object]:
    [row] = recorded.rows("refusals", seq=seq)
    return row


def failed(recorded, syscall: str, error: str, **wanted) -> list[int]:
    return [
        row["seq"] for row in recorded.rows("operations", syscall=syscall, error=error, **wanted)
    ]


def test_a_busy_mount_is_told_with_what_is_mounted_on_it_and_who_uses_it(
    record, mnttrace, tmp_path: Path
) -> None:
    recorded = record(
        """
        mkdir data/x; mount -t tmpfs on data/x
        umount data || true
        umount data/x
        sh -c 'echo $$ >pid; exec sleep 1000' <data/file &
        until [ -s pid ]; do sleep .02; done
        umount data || true
        """,
        before="mkdir data; mount -t tmpfs disk data; touch data/file",
    )
    first, second = failed(recorded, "umount2", "EBUSY")
    row = told(recorded, first)
    assert row["reason"] == "there are mounts on it"
    assert row["in_the_way"] == f"{tmp_path}/data/x in host"
    [mount] = recorded.rows("operations", syscall="mount", source="on")
    assert row["since_seq"] == mount["seq"]
    pid = int((tmp_path / "pid").read_text())
    row = told(recorded, second)
    assert row["in_the_way"] == f"sleep[{pid}] (fd 0 {tmp_path}/data/file)"
    answer = mnttrace("why", "run.mnttrace", tmp_path / "data").stdout
    assert f"in use by sleep[{pid}]" in answer
    assert f"because there are mounts on it: {tmp_path}/data/x in host" in answer
    assert "It is busy until these processes end" in answer
    assert mnttrace("leaks", "run.mnttrace", "--fail-on", "refused").returncode == 3


def test_a_copy_in_another_namespace_that_is_used_keeps_a_mount(record, tmp_path: Path) -> None:
    """propagate_mount_busy() in fs/pnode.c: what would go along must not be in use either."""
    recorded = record(
        """
        unshare -m --propagation slave sh -c 'cd data; echo $$ >../pid; exec sleep 1000' &
        until [ -s pid ]; do sleep .02; done
        umount data || true
        """,
        before="mkdir data; mount -t tmpfs disk data",
    )
    [seq] = failed(recorded, "umount2", "EBUSY")
    pid = int((tmp_path / "pid").read_text())
    assert told(recorded, seq)["in_the_way"] == f"sleep[{pid}] (cwd {tmp_path}/data)"
    [user] = recorded.rows("users")
    assert user["ns_id"] != recorded.home


def test_moves_and_pivot_root_under_a_shared_parent(record, tmp_path: Path) -> None:
    recorded = record(
        """
        mount --move parent/x elsewhere || true
        mount --bind root root
        mount --make-shared root
        unshare -m --propagation unchanged sh -c 'cd root; pivot_root . old' || true
        """,
        before="mkdir -p parent elsewhere root/old; mount -t tmpfs a parent\n"
        "mkdir parent/x; mount -t tmpfs b parent/x",
    )
    [move] = failed(recorded, "mount", "EINVAL")
    row = told(recorded, move)
    assert row["reason"] == "the parent of the source is shared"
    assert row["in_the_way"] == f"{tmp_path}/parent in host"
    assert row["since_seq"] is None  # it was there before
    [pivot] = failed(recorded, "pivot_root", "EINVAL")
    row = told(recorded, pivot)
    assert row["reason"] == f"the mount that put_old is on, {tmp_path}/root, is shared"
    [made] = recorded.rows("operations", syscall="unshare")
    assert row["since_seq"] == made["seq"]


def test_locked_mounts_of_a_less_privileged_namespace(record, tmp_path: Path) -> None:
    recorded = record(
        """
        unshare -Urm sh -c '
            mount -o remount,bind,rw,nosuid given; umount given; mount --bind over/.. other' || true
        """,
        before="mkdir given over other; mount -t tmpfs -o ro,nosuid given given\n"
        "mount -t tmpfs over over",
    )
    [remount] = failed(recorded, "mount", "EPERM")
    reason = "a less privileged namespace may not clear ro: the mount came with it"
    assert told(recorded, remount)["reason"] == reason
    [umount] = failed(recorded, "umount2", "EINVAL")
    row = told(recorded, umount)
    assert row["reason"] == "the mount is locked"
    [made] = recorded.rows("operations", syscall="unshare")
    assert row["since_seq"] == made["seq"]
    [bind] = failed(recorded, "mount", "EINVAL")
    assert told(recorded, bind)["reason"] == "it would show what a locked mount hides"


def test_the_namespace_that_would_have_too_many_mounts_is_named(record, tmp_path: Path) -> None:
    """Not that of the caller, but one of those that the mount is propagated to (fs.mount-max)."""
    recorded = record(
        """
        mount -t tmpfs one place/x || true
        """,
        before="""
        mkdir place; mount -t tmpfs place place; mkdir place/x; mkdir own
        unshare -m --propagation slave sh -c '
            mount -t tmpfs own own
            for i in $(seq 200); do mkdir own/$i; mount -t tmpfs own own/$i; done
            echo $$ >pid; exec sleep 1000' &
        until [ -s pid ]; do sleep .02; done
        old=$(cat /proc/sys/fs/mount-max)
        trap 'echo $old >/proc/sys/fs/mount-max' EXIT
        wc -l <"/proc/$(cat pid)/mountinfo" >count
        # One is the root file system below all, that mountinfo hides.
        echo $(($(cat count) + 1)) >/proc/sys/fs/mount-max
        """,
    )
    [seq] = failed(recorded, "mount", "ENOSPC")
    [row] = recorded.rows("refusals", seq=seq)
    names = recorded.run.namespaces
    [name] = names.loc[names["pid"] == int((tmp_path / "pid").read_text()), "name"]
    count = int((tmp_path / "count").read_text()) + 1
    assert row["reason"] == (
        f"{name} has {count} mounts and would have {count + 1}: fs.mount-max is {count}"
    )
