# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The systems that the project was founded on, with the real kernel.

ext4 images stand in for the ISO images of the founding document, as iso9660 is not in every kernel.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.linux.mountinfo import Mount, format_line

# Two images with a folder each; loop devices that vanish with their last mount (umount -d).
IMAGES = """
for n in 1 2; do
    mkdir -p from$n/dir$n iso$n
    truncate -s 1M $n.img; mkfs.ext4 -q -d from$n $n.img
done
mount_image() { mount -o loop,ro "$1" "$2"; }
mount_image 1.img iso1
trap 'umount -d iso1 2>/dev/null || true' EXIT
"""


def points(table: list, below: Path) -> set[str]:
    return {mount.mountpoint for mount in table if mount.mountpoint.startswith(str(below))}


@pytest.mark.kernel("mkfs.ext4", "losetup")
def test_a_mount_in_a_namespace_of_its_own_stays_inside(record, mnttrace, tmp_path):
    recorded = record(
        """unshare -m -u sh -ec '
            mount -o loop,ro 2.img iso2; ls iso1/dir1 iso2/dir2
            cat /proc/self/mountinfo >inside; umount -d iso2'""",
        before=IMAGES,
        after="cat /proc/self/mountinfo >outside",
    )
    assert points(recorded.table("inside"), tmp_path) == {f"{tmp_path}/iso1", f"{tmp_path}/iso2"}
    assert points(recorded.table("outside"), tmp_path) == {f"{tmp_path}/iso1"}
    assert recorded.rows("propagations") == []
    (made,) = recorded.rows("births")
    assert (made["shared_at_birth"], made["shared_before_use"]) == (made["mounts"], 0)
    assert made["became"] == "private"
    (call,) = recorded.rows("operations", seq=made["isolated_by"])
    assert (call["syscall"], call["path"]) == ("mount", "/")
    assert (call["flags"], call["propagation"]) == ("MS_REC", "private")
    told = mnttrace("leaks", "run.mnttrace").stdout
    assert f"mnt:[{made['ns']}]" in told
    assert f"made private at its birth, by operation {made['isolated_by']}" in told


@pytest.mark.kernel("mkfs.ext4", "losetup")
def test_a_umount_inside_leaves_the_outside_alone(record, tmp_path):
    recorded = record(
        "unshare -m -u sh -ec 'umount iso1; cat /proc/self/mountinfo >inside'",
        before=IMAGES,
        after="cat /proc/self/mountinfo >outside",
    )
    assert points(recorded.table("inside"), tmp_path) == set()
    assert points(recorded.table("outside"), tmp_path) == {f"{tmp_path}/iso1"}
    assert recorded.rows("propagations") == []
    (gone,) = recorded.rows("effects", action="detach", mountpoint=f"{tmp_path}/iso1", via="direct")
    assert gone["ns_id"] != recorded.home
    assert recorded.rows("effects", action="detach", ns_id=recorded.home) == []


def test_a_mount_under_a_shared_bind_reaches_the_outside(record, mnttrace, tmp_path):
    recorded = record(
        """unshare -m -u --propagation unchanged sh -ec '
            mount --bind sub iso2/subfoo; cat /proc/self/mountinfo >inside'""",
        before="""mkdir -p iso1 iso2 sub; mount -t tmpfs pool iso1; mkdir iso1/subfoo
            mount --bind iso1 iso2; mount --make-shared iso2""",
        after="cat /proc/self/mountinfo >outside",
    )
    # iso2 joined the peer group of iso1, so there is a copy under the other path, on both sides.
    both = {f"{tmp_path}/iso1/subfoo", f"{tmp_path}/iso2/subfoo"}
    subs = {name: [m for m in recorded.table(name) if m.mountpoint in both] for name in SIDES}
    assert {name: {m.mountpoint for m in mounts} for name, mounts in subs.items()} == dict.fromkeys(
        SIDES, both
    )
    copies = recorded.rows("propagations", action="attach")
    outside = {row["mount_id"] for row in copies if row["dst_ns_id"] == recorded.home}
    inside = {row["mount_id"] for row in copies if row["dst_ns_id"] != recorded.home}
    assert outside == {m.mount_id for m in subs["outside"]}
    (direct,) = recorded.rows("effects", via="direct", action="attach")
    assert direct["mountpoint"] == f"{tmp_path}/iso2/subfoo"
    assert inside | {direct["mount_id"]} == {m.mount_id for m in subs["inside"]}
    for row in copies:
        assert (row["via"], row["evidence"], row["comm"]) == ("peer", "kernel", "mount")
        assert row["copy_of_unique"] == direct["mnt_id_unique"]
        assert row["present"] == (row["dst_ns_id"] == recorded.home)
    (leak,) = recorded.rows("leaks")
    assert (leak["mounts"], leak["present"], leak["residue"]) == (2, 2, 2)
    assert set(leak["mount_ids"].split(",")) == set(map(str, outside))
    assert leak["via_path"] == f"{tmp_path}/iso2"
    report = mnttrace("leaks", "run.mnttrace").stdout
    assert "mount --bind sub iso2/subfoo" in report
    assert f"peer group {leak['via_group']}" in report


SIDES = ("inside", "outside")

# What runc does to get a root file system ready (libcontainer/rootfs_linux.go).
PREPARE_ROOT = """
cat >prepare <<'END'
set -e
mount --make-rslave /
mount --make-private "$PWD/bundle"
mount --rbind rootfs rootfs
cd rootfs
mkdir -p old
pivot_root . old
umount -l /old
cat /proc/self/mountinfo >/after 2>/dev/null || true
END
mkdir -p bundle; mount -t tmpfs bundle bundle; mkdir bundle/rootfs; ln -s bundle/rootfs rootfs
for folder in bin lib lib64 usr sbin; do
    [ ! -e /$folder ] || { mkdir -p rootfs/$folder; mount --rbind /$folder rootfs/$folder; }
done
mkdir -p rootfs/proc; mount -t proc proc rootfs/proc
"""


def test_the_preparation_of_a_root_is_told_in_order(record, mnttrace, tmp_path):
    recorded = record("unshare -m --propagation unchanged sh prepare", before=PREPARE_ROOT)
    (ns_id,) = recorded.namespaces - {recorded.home}
    calls = [row for row in recorded.rows("operations", ns_id=ns_id) if not row["error"]]
    told = [(row["syscall"], row["propagation"], row["path"]) for row in calls]
    root = f"{tmp_path}/bundle/rootfs"
    assert told == [
        ("mount", "slave", "/"),
        ("mount", "private", f"{tmp_path}/bundle"),
        ("mount", "", root),
        ("pivot_root", "", root),
        ("umount2", "", "/old"),
    ]
    slave, private, bind, pivot, umount = (
        [*recorded.rows("effects", seq=row["seq"])] for row in calls
    )
    assert {row["action"] for row in slave} == {"change"}
    assert all(row["before"].startswith("shared:") for row in slave)
    assert {row["propagation"] for row in slave} == {"slave"}
    (changed,) = private
    assert (changed["mountpoint"], changed["propagation"]) == (f"{tmp_path}/bundle", "private")
    assert changed["before"].startswith("master:")
    assert bind[0]["mountpoint"] == root
    assert bind[0]["propagation"] == "private"
    assert {row["mountpoint"] for row in bind} >= {f"{root}/proc", f"{root}/usr"}
    assert {(row["action"], row["via"]) for row in pivot} == {("move", "direct")}
    assert {row["mountpoint"] for row in pivot} == {"/", "/old"}
    assert {(row["action"], row["via"]) for row in umount} == {("detach", "direct")}
    assert "/old" in {row["mountpoint"] for row in umount}
    assert recorded.rows("propagations", src_ns_id=ns_id) == []
    timeline = mnttrace("timeline", "run.mnttrace").stdout
    lines = [told_at(timeline, row["seq"])[0] for row in calls]
    assert timeline.index(lines[0]) < timeline.index(lines[3]) < timeline.index(lines[4])
    assert lines[0].endswith('mount("/", MS_REC|MS_SLAVE) = 0')
    assert lines[4].endswith('umount2("/old", MNT_DETACH) = 0')


def told_at(timeline: str, seq: int) -> list[str]:
    """The line of an operation, and those under it."""
    lines = timeline.splitlines()
    (first,) = [at for at, line in enumerate(lines) if line.startswith(f"{seq:>5} ")]
    return lines[first : first + 5]


def test_a_pivot_root_under_a_shared_parent_is_shown_with_the_reason(record, mnttrace, tmp_path):
    recorded = record(
        """unshare -m --propagation unchanged sh -c '
            mount --make-rshared /; mount --bind rootfs rootfs
            cd rootfs; pivot_root . old' || true""",
        before="mkdir -p rootfs/old",
    )
    (failed,) = recorded.rows("operations", syscall="pivot_root")
    assert failed["error"] == "EINVAL"
    timeline = mnttrace("timeline", "run.mnttrace").stdout
    call, reason, *_ = told_at(timeline, failed["seq"])
    assert call.endswith("= -1 EINVAL")
    assert reason.strip() == f"because the mount that put_old is on, {tmp_path}/rootfs, is shared"


@pytest.mark.kernel("runc", "busybox")
@pytest.mark.parametrize("propagation", ["shared", "slave"])
def test_a_service_that_shares_its_mounts_lets_a_containers_out(record, tmp_path, propagation):
    """The Docker hack: MountFlags=shared instead of MountFlags=slave for the service."""
    recorded = record(
        f"""unshare -m --propagation {propagation} sh -ec '
            "$CHECKOUT"/scripts/container.sh {tmp_path}/c >&2'""",
        before="mkdir c; mount -t tmpfs c c",
        after="cat /proc/self/mountinfo >outside",
    )
    leaked = [
        m for m in recorded.table("outside") if m.mountpoint == f"{tmp_path}/c/volume/scratch"
    ]
    (made,) = recorded.rows("effects", action="attach", via="direct", mountpoint="/volume/scratch")
    out = [
        row
        for row in recorded.rows("leaks")
        if row["dst_ns_id"] == recorded.home and row["src_ns_id"] == made["ns_id"]
    ]
    if propagation == "slave":
        assert leaked == out == []
    else:
        assert [str(m.mount_id) for m in leaked] == [row["mount_ids"] for row in out]
        assert len(out) == 1
        assert out[0]["direction"] == "container→host"


def test_a_read_only_remount_changes_options_and_makes_no_mount(record, tmp_path):
    recorded = record(
        """unshare -m sh -ec '
            mount -o remount,bind,ro /dev; mount -o remount,bind,ro /
            cat /proc/self/mountinfo >out/inside'""",
        before="mkdir out; mount -t tmpfs out out",  # stays writable
        after="cp out/inside .",
    )
    remounts = [row for row in recorded.rows("operations") if "MS_REMOUNT" in row["flags"]]
    assert [row["path"] for row in remounts] == ["/dev", "/"]
    for row in remounts:
        assert row["flags"].split("|")[:1] == ["MS_RDONLY"]
        (changed,) = recorded.rows("effects", seq=row["seq"])
        assert (changed["action"], changed["mountpoint"]) == ("change", row["path"])
        (now,) = [m for m in recorded.table("inside") if m.mount_id == changed["mount_id"]]
        assert changed["after"].split()[1] == now.options
        assert changed["before"].split()[1].startswith("rw")


def test_the_three_files_and_the_name_of_a_namespace(in_namespace, mnttrace, tmp_path):
    """What a person reads by hand: /proc/PID/mountinfo, mounts and mountstats, and ns/mnt."""
    in_namespace(
        """mkdir x 'with space'; mount -t tmpfs one x; mount -t tmpfs "t w o" 'with space'
        $MNTTRACE snapshot -o run.mnttrace
        for file in mountinfo mounts mountstats; do cat /proc/self/$file >$file; done
        readlink /proc/self/ns/mnt >name
        $MNTTRACE export run.mnttrace --table mounts --format json >mounts.json
        $MNTTRACE tree run.mnttrace >tree
        """
    )
    run = Recording(tmp_path / "run.mnttrace")
    name = (tmp_path / "name").read_text().strip()
    ns = int(name.removeprefix("mnt:[").rstrip("]"))
    assert "\nhost: " in "\n" + (tmp_path / "tree").read_text()
    assert list(run.namespaces.loc[run.namespaces["ns_id"] == run.meta["home_ns_id"], "ns"]) == [ns]
    mine = run.mounts[run.mounts["ns"] == ns]
    lines = (tmp_path / "mountinfo").read_text().splitlines()
    assert [_line(row) for row in mine.to_dict("records")] == lines
    mounts = [line.split()[:3] for line in (tmp_path / "mounts").read_text().splitlines()]
    assert [[m[1], m[2]] for m in mounts] == [
        [_escaped(row["mountpoint"]), row["fstype"]] for row in mine.to_dict("records")
    ]
    stats = (tmp_path / "mountstats").read_text().splitlines()
    assert len([line for line in stats if line.startswith(("device ", "no device "))]) == len(mine)
    assert pd.read_json(tmp_path / "mounts.json").shape[0] == len(run.mounts)


def _escaped(text: str) -> str:
    return text.replace(" ", "\\040")


def _line(row: dict) -> str:
    """A row of the table `mounts` as the line of mountinfo that it was."""
    major, minor = row["device"].split(":")
    numbers = [None if pd.isna(row[tag]) else row[tag] for tag in ("shared", "master")]
    return format_line(
        Mount(
            row["mount_id"],
            row["parent_id"],
            int(major),
            int(minor),
            row["root"],
            row["mountpoint"],
            row["options"],
            *numbers,
            None,
            row["propagation"] == "unbindable",
            (),
            row["fstype"],
            row["source"],
            row["super_options"],
        )
    )
