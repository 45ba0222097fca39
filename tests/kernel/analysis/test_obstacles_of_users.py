# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What less privileged namespaces are refused: proc, sysfs, locked flags, locked mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.analysis.obstacles import Told, python

NEW_PROC = """
f = call("fsopen", "proc", 0)
assert not call("fsconfig", f, 6, None, None, 0)
m = call("fsmount", f, 0, 0)
"""
COVERED = "mkdir -p p; mount -t tmpfs cover /proc/bus"


def test_a_new_proc_may_not_show_what_is_covered(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    recorded = record(
        f"""
        unshare -Urmpf mount -t proc proc p || true
        {python(NEW_PROC, under="unshare -Urmpf")}
        unshare -Urm mount -t proc proc p || true
        unshare -Urmpf mount -t sysfs sysfs p || true
        {python('call("fsopen", "sysfs", 0)', under="unshare -Urmpf")}
        """,
        before=COVERED,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["not-visible", "not-visible", "foreign", "foreign", "foreign"]
    first, by_fsmount, no_pid_namespace, no_net_namespace, _ = map(told.reason, range(5))
    for row in (first, by_fsmount):
        assert "cover parts of /proc" in row["reason"]
        assert row["in_the_way"] == f"/proc/bus in {row['name']}"
        [made] = recorded.rows("operations", seq=row["since_seq"])
        assert made["syscall"] == "unshare"
    assert "the pid namespace that it would show belongs to" in no_pid_namespace["reason"]
    assert "unshare --pid" in no_pid_namespace["advice"]
    assert "network namespace that it would show may belong" in no_net_namespace["reason"]
    remedy = told.commands(0, tmp_path / "p")
    assert remedy == told.commands(1) == "umount /proc/bus  # on the host"
    in_namespace(f"{COVERED}\n{remedy}\nunshare -Urmpf mount -t proc proc p")


def test_what_covers_an_empty_directory_hides_nothing(record, mnttrace) -> None:
    """Mount points that the kernel makes in sysfs and proc for others are always empty."""
    recorded = record(
        "unshare -Urmnpf mount -t sysfs sysfs p\nunshare -Urmpf mount -t sysfs sysfs p || true",
        before="mkdir p; mount -t tmpfs cover /sys/fs/cgroup",
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["foreign"]
    assert told.reason(0)["in_the_way"] == ""


def test_a_new_proc_is_read_only_and_keeps_times_as_the_one_that_is_there(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    before = "mkdir -p p; mount -o remount,bind,noatime /proc"
    # unshare(1) writes to /proc, so that this one is made read-only for a namespace made by hand.
    no_map = """
    call("unshare", 0x20000000 | 0x10000000 | 0x20000)
    if not os.fork():
        os._exit(call("mount", "proc", "/mnt", "proc", %s, None) != %s)
    assert os.wait()[1] == 0
    """
    recorded = record(
        f"""
        unshare -Urmpf mount -t proc proc p || true
        mount -o remount,bind,ro /proc
        {python(no_map % (0, -1))}
        {python(no_map % (1 | 1024, 0))}
        """,
        before=before,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["not-visible", "not-visible"]
    assert told.reason(0)["reason"] == (
        "the proc that this namespace has, at /proc, is noatime: a new one must be"
    )
    assert "is read-only: a new one must be" in told.reason(1)["reason"]
    remedy = told.commands(0, tmp_path / "p")
    assert "-o noatime" in remedy
    assert "-o ro,noatime" in told.commands(1)
    in_namespace(f"{before}\ncat >c <<'END'\n{remedy}\nEND\nunshare -Urmpf sh c")


def test_proc_where_none_is_left(record, mnttrace) -> None:
    recorded = record(
        python(
            """
            os.chdir("r")
            assert not call("pivot_root", ".", ".")
            assert not call("umount2", ".", 2)
            assert call("mount", "proc", "/p", "proc", 0, None) == -1
            """,
            under="unshare -Urmpf sh -ec 'mount --rbind r r; exec \"$@\"' -",
        ),
        before="mkdir r; mount -t tmpfs r r; mkdir r/p",
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["not-visible"]
    assert "no proc is mounted whole in this namespace" in told.reason(0)["reason"]


def test_a_user_namespace_without_a_mount_namespace(record, mnttrace) -> None:
    recorded = record(
        f"""
        unshare -Urpf mount -t proc proc p || true
        unshare -Ur umount p || true
        unshare -m unshare -Ur mount -o remount,bind,exec p || true
        {python('call("fsopen", "tmpfs", 0)', under="unshare -Ur")}
        unshare -Urm mount -t tmpfs own p
        """,
        before="mkdir p; mount -t tmpfs -o noexec p p; mount -t tmpfs cover /proc/bus",
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["foreign"] * 4
    for number in range(4):
        assert told.reason(number)["reason"].startswith("the mount namespace belongs to a more")


FLAGS = """
mkdir -p given bound tree
mount -t tmpfs -o nosuid,noexec given given
mount -t tmpfs tree tree; mkdir -p tree/sub; mount -t tmpfs -o nodev sub tree/sub
"""


def test_flags_that_a_mount_came_with_are_locked(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    setattr_ = """
    clear = mount_attr(0, 8)
    assert call("mount_setattr", AT_FDCWD, "given", 0, clear, 32) == -1
    assert call("open_tree_attr", AT_FDCWD, "given", 1, clear, 32) in (-1, -38)
    assert call("mount_setattr", AT_FDCWD, "tree", 0x8000, mount_attr(0, 4), 32) == -1
    assert call("mount_setattr", AT_FDCWD, "given", 0, mount_attr(0x10, 0x70), 32) == -1
    tree = call("open_tree", AT_FDCWD, "given", 1)
    assert call("mount_setattr", tree, "", 0x1000, clear, 32) == -1
    """
    steps = (
        "mount -o remount,bind,ro,exec given",
        "mount --bind given bound; mount -o remount,bind,ro,exec bound",
        "mount -o remount,bind,nosuid,noexec,noatime given",
        "mount -o remount,ro,nosuid,noexec given",
    )
    recorded = record(
        f"unshare -Urm sh -c '{' ; '.join(steps)}' || true\n"
        + python(setattr_, under="unshare -Urm"),
        before=FLAGS,
    )
    told = Told(recorded, mnttrace)
    kinds = told.kinds()
    assert kinds[:4] == ["locked-flags", "locked-flags", "locked-flags", "foreign"]
    assert set(kinds[4:]) == {"locked-flags"}
    assert len(kinds) in (8, 9)  # open_tree_attr(2) is of Linux 6.15
    direct, bound, atime, super_block = map(told.reason, range(4))
    assert direct["reason"].endswith("may not clear noexec: the mount came with it")
    assert (
        f"mounted at {tmp_path}/bound is bound from a mount that came with it" in (bound["reason"])
    )
    assert "may not clear relatime" in atime["reason"]
    assert "belongs to a more privileged user namespace" in super_block["reason"]
    for row in (direct, bound, atime, super_block):
        assert row["in_the_way"] == f"{tmp_path}/given in {row['name']}"
    [recursive] = [
        row for row in map(told.reason, range(4, len(kinds))) if "nodev" in row["reason"]
    ]
    assert recursive["in_the_way"].startswith(f"{tmp_path}/tree/sub in ")
    for number, name in enumerate(["given", "bound", "given", "given"]):
        remedy = told.commands(number, tmp_path / name)
        in_namespace(
            f"{FLAGS}\ncat >c <<'END'\nmount --bind given bound\n{remedy}\nEND\n"
            "unshare -Urm sh -e c",
        )


def test_locked_mounts_are_bound_where_they_cannot_be_moved(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    before = """
    mkdir -p given place over other; mount -t tmpfs given given; mkdir -p given/old
    mount -t tmpfs over over
    """
    tries = {
        "place": "mount --move given place",
        "given": "cd given; pivot_root . old",
        "other": "mount --bind over/.. other",
    }
    script = "\n".join(f"unshare -Urm sh -c '{one}' || true" for one in tries.values())
    again = {"place": "true", "given": "cd given; pivot_root . old", "other": "true"}
    open_tree = python(
        'assert call("open_tree", AT_FDCWD, "over/..", 1) == -22', under="unshare -Urm"
    )
    recorded = record(f"{script}\n{open_tree}", before=before)
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["locked", "locked", "hidden", "hidden"]
    assert "AT_RECURSIVE" in told.reason(3)["advice"]
    for number, (name, then) in enumerate(again.items()):
        remedy = told.commands(number, tmp_path / name)
        in_namespace(f"{before}\ncat >c <<'END'\n{remedy}\n{then}\nEND\nunshare -Urm sh -e c")


def test_a_locked_umount_names_the_mount_that_it_came_from(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    before = "mkdir -p given; mount -t tmpfs given given"
    recorded = record("unshare -Urm umount given || true", before=before)
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["locked"]
    remedy = told.commands(0, tmp_path / "given")
    in_namespace(
        f"{before}\n{remedy}\nunshare -Urm sh -c '! grep -q {tmp_path}/given /proc/self/mountinfo'"
    )


@pytest.mark.parametrize("call", ["mount(2)", "fsconfig(2)"])
def test_an_overlay_over_a_locked_mount(
    call: str, record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    before = "mkdir -p low/sub own new; mount -t tmpfs cover low/sub"
    layers = {
        "lowerdir": f"{tmp_path}/low",
        "upperdir": f"{tmp_path}/own/u",
        "workdir": f"{tmp_path}/own/w",
    }
    told_one_by_one = f"""
    f = call("fsopen", "overlay", 0)
    for key, value in {layers}.items():
        assert not call("fsconfig", f, 1, key, value, 0)
    call("fsconfig", f, 0, "userxattr", None, 0)
    raise SystemExit(call("fsconfig", f, 6, None, None, 0) != 0)
    """
    options = ",".join(f"{key}={value}" for key, value in layers.items())
    tries = {
        "mount(2)": f"mount -t overlay -o {options},userxattr none new",
        "fsconfig(2)": python(told_one_by_one),
    }
    (tmp_path / "try").write_text(f"mount -t tmpfs own own; mkdir own/u own/w\n{tries[call]}\n")
    recorded = record("unshare -Urm sh -e try || true", before=before)
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["hidden"]
    row = told.reason(0)
    assert row["reason"].startswith(f"below its lowerdir, {tmp_path}/low, is a locked mount")
    assert row["in_the_way"] == f"{tmp_path}/low/sub in {row['name']}"
    remedy = told.commands(0, tmp_path / "new" if call == "mount(2)" else None)
    assert remedy == f"umount {tmp_path}/low/sub  # on the host"
    in_namespace(f"{before}\n{remedy}\nunshare -Urm sh -e try")


def test_a_namespace_that_was_there_before_may_have_been_given_its_mounts(
    record, mnttrace, tmp_path: Path
) -> None:
    recorded = record(
        f"""
        nsenter -t $(cat pid) -U -m -p --preserve-credentials sh -c '
            cd {tmp_path}
            mount -t proc proc p
            unshare -m -p -f mount -t proc proc p
            mount -o remount,bind,rw,exec given; true'
        """,
        before=f"""
        {COVERED}
        mkdir given; mount -t tmpfs -o nosuid,noexec given given
        unshare -Urmpf sh -c 'echo >ready; exec sleep 1000' &
        until [ -e ready ]; do sleep .02; done
        for one in $(cat /proc/$!/task/*/children); do echo $one >pid; done
        """,
    )
    operations = recorded.run.operations
    here = operations["path"].str.startswith(str(tmp_path))
    recorded.namespaces |= set(operations.loc[here, "ns_id"])
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["not-visible", "not-visible", "locked-flags"]
    cover, copied, flags = map(told.reason, range(3))
    assert "may cover parts of /proc" in cover["reason"]
    assert "that came with this namespace cover parts of /proc" in copied["reason"]
    for number, row in enumerate((cover, copied)):
        assert row["in_the_way"].startswith("/proc/bus in ")
        assert told.commands(number) == "umount /proc/bus  # on the host"
    assert flags["reason"].endswith("may not clear noexec: the mount may have come with it")
