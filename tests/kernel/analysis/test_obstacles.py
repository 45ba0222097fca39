# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is refused whoever asks: overlays, removed sources, chroots, places, limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.analysis.obstacles import CALLS, Told, python

# ---- overlays

DISK = "mkdir -p disk; mount -t tmpfs disk disk; cd disk; mkdir low up work m m2 m3; cd .."


def options(folder: Path, **layers: str) -> str:
    """Options of an overlay of low, up and work, or other directories in a folder (D)."""
    given = {"lowerdir": "D/low", "upperdir": "D/up", "workdir": "D/work"} | layers
    return ",".join(f"{key}={value}" for key, value in given.items()).replace("D", f"{folder}/disk")


def test_directories_that_cannot_be_those_of_an_overlay(record, mnttrace, tmp_path: Path) -> None:
    tries = {
        "on one mount": {"workdir": "D/other/work"},
        "one is in the other": {"workdir": "D/up/work"},
        "on an unbindable mount": {"lowerdir": "D/unbindable"},
        "on overlay, which cannot be written through": {
            "upperdir": "D/m/up",
            "workdir": "D/m/work",
        },
        "on a read-only mount": {"upperdir": "D/ro/up", "workdir": "D/ro/work"},
        "as deep as it goes": {"lowerdir": "D/m2", "upperdir": "D/up3", "workdir": "D/work3"},
        "are one directory, or nested": {"lowerdir": "D/low:D/low"},
    }
    lines = [
        f"mount -t overlay -o {options(tmp_path, **layers)} none disk/m3 || true"
        for layers in tries.values()
    ]
    apart = options(tmp_path, workdir="D/other/work").split(",")
    one_by_one = f"""
    f = call("fsopen", "overlay", 0)
    for option in {apart}:
        assert not call("fsconfig", f, 1, *option.split("="), 0)
    assert call("fsconfig", f, 6, None, None, 0) == -22
    f = call("fsopen", "overlay", 0)
    assert call("fsconfig", f, 1, "upperdir", "{tmp_path}/disk/ro/up", 0) == -22
    """
    first = options(tmp_path, upperdir="D/up1", workdir="D/work1")
    second = options(tmp_path, lowerdir="D/m", upperdir="D/up2", workdir="D/work2")
    recorded = record(
        "\n".join(lines) + "\n" + python(one_by_one),
        before=f"""
        {DISK}; cd disk
        mkdir other unbindable ro up/work up1 work1 up2 work2 up3 work3
        mount -t tmpfs other other; mkdir other/work
        mount --bind --make-unbindable unbindable unbindable
        mount -t overlay -o {first} one m; mkdir m/up m/work
        mount -t overlay -o {second} two m2
        mount -t tmpfs ro ro; mkdir ro/up ro/work; mount -o remount,ro ro
        cd ..
        """,
    )
    told = Told(recorded, mnttrace)
    assert len(told.failed) == len(tries) + 2
    for number, words in enumerate([*tries, "on one mount", "on a read-only mount"]):
        row = told.reason(number)
        assert words in row["reason"]
        assert row["in_the_way"].startswith(f"{tmp_path}/disk")
        assert row["advice"]
    assert told.kinds()[2] == "unbindable"
    assert told.commands(2) == f"mount --make-private {tmp_path}/disk/unbindable"


@pytest.mark.parametrize("call", ["mount(2)", "fsconfig(2)"])
def test_an_overlay_of_directories_that_another_one_uses(
    call: str, record, mnttrace, tmp_path: Path
) -> None:
    given = options(tmp_path) + ",index=on"
    one_by_one = f"""
    f = call("fsopen", "overlay", 0)
    for option in {given.split(",")}:
        assert not call("fsconfig", f, 1, *option.split("="), 0)
    raise SystemExit(call("fsconfig", f, 6, None, None, 0) != 0)
    """
    tries = {"mount(2)": f"mount -t overlay -o {given} none disk/m2", "fsconfig(2)": one_by_one}
    (tmp_path / "try").write_text(tries[call] if call == "mount(2)" else python(one_by_one))
    recorded = record(
        f"""
        mount -t overlay -o {given} none disk/m
        unshare -m --propagation private sh -c 'echo $$ >pid; exec sleep 1000' &
        until [ -s pid ]; do sleep .02; done
        umount disk/m
        sh -e try || true
        """,
        before=DISK,
        after="""
        $MNTTRACE leaks run.mnttrace | sed -n 's/^                  umount/umount/p' >remedy
        sh -e remedy; sh -e try; echo well >done
        """,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["overlay-in-use"]
    row = told.reason(0)
    assert row["reason"] == f"its upperdir, {tmp_path}/disk/up, is the upperdir of another overlay"
    pid = (tmp_path / "pid").read_text().strip()
    [made] = recorded.rows("operations", syscall="unshare")
    assert row["since_seq"] == made["seq"]
    assert row["in_the_way"].startswith(f"{tmp_path}/disk/m in ")
    remedy = told.commands(0, tmp_path / "disk/m2" if call == "mount(2)" else None)
    assert remedy == f"umount -N {pid} {tmp_path}/disk/m"
    assert (tmp_path / "done").exists()


def test_an_overlay_that_no_table_shows_may_use_its_directories(
    record, mnttrace, tmp_path: Path
) -> None:
    given = options(tmp_path) + ",index=on"
    recorded = record(
        f"""
        mount -t overlay -o {given} none disk/m
        exec 3>disk/m/file; umount -l disk/m
        mount -t overlay -o {given} none disk/m2 || true
        """,
        before=DISK,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["overlay-in-use"]
    assert (
        "may be in use by another overlay, which no mount table shows" in (told.reason(0)["reason"])
    )


# ---- roots and sources


def test_the_root_directory_of_a_chroot_is_no_mount(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    before = f"mkdir -p root/old; mount --make-private /; cp {CALLS} root"
    # Python is there before it is in the chroot.
    inside = """
    os.chroot("root")
    os.chdir("/")
    failed = [
        call("mount", None, "/", None, 1 << 14 | 1 << 19, None),
        call("umount2", "/", 0),
        call("mount_setattr", AT_FDCWD, "/", 0, mount_attr(0, 0, 1 << 18), 32),
        call("mount", "/", "/old", None, 1 << 13, None),
        call("pivot_root", "/", "/old"),
    ]
    """
    recorded = record(python(f"{inside}assert set(failed[:4]) == {{-22}}, failed"), before=before)
    told = Told(recorded, mnttrace)
    assert told.kinds()[:4] == ["root-directory"] * 4
    row = told.reason(0)
    assert row["reason"] == (
        f"the caller's root directory, {tmp_path}/root, is a directory and no mount: it is in a "
        "chroot"
    )
    remedy = told.commands(0, tmp_path / "root")
    assert remedy == told.commands(0, "/") == f"mount --bind {tmp_path}/root {tmp_path}/root"
    again = python(f"{inside}assert not failed[0], failed")
    in_namespace(f"{before}\n{remedy}\n{again}")


def test_a_mount_whose_root_was_removed_cannot_be_put_elsewhere(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    new_calls = """
    tree = call("open_tree", AT_FDCWD, "bound", 1)
    assert call("move_mount", tree, "", AT_FDCWD, "place", 4) == -2
    """
    recorded = record(
        f"""
        mount --bind bound place || true
        mount --move bound place || true
        {python(new_calls)}
        mount --bind file place-of-file || true
        mount --bind nowhere place || true
        """,
        before="""
        mount --make-rprivate /
        mkdir source bound place; touch source-file file place-of-file
        mount --bind source bound; rmdir source
        mount --bind source-file file; rm source-file
        """,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds()[:4] == ["removed"] * 4
    assert "removed" not in told.kinds()[4:]
    row = told.reason(0)
    assert row["reason"].startswith(f"what {tmp_path}/bound shows, /")
    assert row["reason"].endswith("/source of its file system, was removed")
    assert row["in_the_way"] == f"{tmp_path}/bound in host"
    assert told.commands(0, tmp_path / "place") == f"umount {tmp_path}/bound"


def test_a_root_may_have_been_removed_where_no_later_table_shows_it(
    record, mnttrace, tmp_path: Path
) -> None:
    recorded = record(
        """
        mount --bind source bound; rmdir source
        mount --bind bound place || true
        umount bound
        mount --bind source2 bound; mount --bind bound nowhere || true
        """,
        before="mkdir source source2 bound place",
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["removed", ""]
    assert "may have been removed" in told.reason(0)["reason"]


def test_what_is_no_mount_is_made_one_first(record, mnttrace, in_namespace, tmp_path: Path) -> None:
    before = "mount --make-rprivate /; mkdir -p a b new/old"
    by_number = 'assert call("move_mount", AT_FDCWD, "a", AT_FDCWD, "b", 0) == -22'
    recorded = record(
        f"""
        mount --move a b || true
        {python(by_number)}
        unshare -m sh -c 'mount --make-rprivate /; cd new; pivot_root . old' || true
        mount --make-private a || true
        umount a || true
        """,
        before=before,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["no-mount"] * 5
    # Runtimes try the last ones in vain as a matter of course.
    assert len(recorded.rows("refusals")) == 3
    answer = mnttrace("why", "run.mnttrace", tmp_path / "a").stdout
    assert f"    make it a mount first:\n        mount --bind {tmp_path}/a {tmp_path}/a" in answer
    move, pivot = told.commands(0, tmp_path / "b"), told.commands(2, tmp_path / "new")
    assert told.commands(1) == move
    in_namespace(
        f"{before}\n{move}\nmount --move a b\n"
        f"unshare -m sh -ec 'mount --make-rprivate /; {pivot}; cd {tmp_path}/new; pivot_root . old'"
    )


# ---- places


def test_a_tree_is_not_put_into_itself_and_a_shared_parent_keeps_its_mounts(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    before = """
    mount --make-rprivate /
    mkdir -p shared place bound; mount -t tmpfs a shared; mkdir shared/x
    mount -t tmpfs b shared/x; mkdir shared/x/y
    mount --make-shared shared
    mount --bind bound bound; mount --make-unbindable bound
    """
    by_number = """
    assert call("move_mount", AT_FDCWD, "shared/x", AT_FDCWD, "place", 0) == -22
    assert call("move_mount", AT_FDCWD, "shared", AT_FDCWD, "shared/x/y", 0) == -40
    assert call("open_tree", AT_FDCWD, "bound", 1) == -22
    """
    recorded = record(
        f"""
        mount --move shared/x place || true
        mount --move shared shared/x/y || true
        mount --bind bound place || true
        {python(by_number)}
        """,
        before=before,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["shared", "within-itself", "unbindable"] * 2
    again = ["mount --move shared/x place", "true", "mount --bind bound place"]
    places = ["place", "shared/x/y", "place"]
    for number, (then, place) in enumerate(zip(again, places, strict=True)):
        remedy = told.commands(number, tmp_path / place)
        in_namespace(f"{before}\n{remedy}\n{then}")


def test_a_umount_that_would_take_a_copy_in_use_along(
    record, mnttrace, in_namespace, tmp_path: Path
) -> None:
    script = """
    mkdir -p x; mount -t tmpfs d x; mkdir x/y; mount -t tmpfs i x/y
    (echo >x/y/f; exec sleep 1000 5>x/y/f) &
    until [ -e x/y/f ]; do sleep .02; done
    mount --rbind x x
    """
    recorded = record(f"cd {tmp_path}\n{script}\numount x/y || true")
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["copy-in-use"]
    assert told.reason(0)["in_the_way"].startswith("sleep[")
    remedy = told.commands(0, tmp_path / "x/y")
    assert remedy == f"mount --make-slave {tmp_path}/x"
    in_namespace(f"{script}\n{remedy}\numount x/y")


# ---- limits


def test_a_limit_of_mount_namespaces(record, mnttrace) -> None:
    recorded = record(
        """
        unshare -Urm sh -c 'echo 1 >/proc/sys/user/max_mnt_namespaces; unshare -m true' || true
        """
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["too-many"]
    assert "as many as user.max_mnt_namespaces allows" in told.reason(0)["reason"]


def test_too_many_mounts_by_the_new_calls(record, mnttrace) -> None:
    recorded = record(
        python(
            """
            f = call("fsopen", "tmpfs", 0)
            assert not call("fsconfig", f, 6, None, None, 0)
            m = call("fsmount", f, 0, 0)
            assert call("move_mount", m, "", AT_FDCWD, "place", 4) == -28
            """
        ),
        before="""
        mkdir place
        old=$(cat /proc/sys/fs/mount-max); trap 'echo $old >/proc/sys/fs/mount-max' EXIT
        i=0; while [ $i -lt 300 ]; do mkdir p$i; mount -t tmpfs p p$i; i=$((i + 1)); done
        echo $(($(wc -l </proc/self/mountinfo) + 1)) >/proc/sys/fs/mount-max
        """,
    )
    told = Told(recorded, mnttrace)
    assert told.kinds() == ["too-many"]
    assert "fs.mount-max is" in told.reason(0)["reason"]
