"""The systems that the project was founded on, with the real kernel."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

PREPARE = """
mkdir -p iso1/dir iso2 sub
mount -t tmpfs pool iso1; mkdir -p iso1/subfoo iso2/subfoo
"""


def leaks(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(path.read_text())
    return found


def test_mount_in_a_namespace_of_its_own_is_no_leak(in_namespace, tmp_path):
    in_namespace(
        PREPARE
        + """
$MNTTRACE record -o run.mnttrace -- unshare -m -u sh -c 'mount -t tmpfs two iso2'
$MNTTRACE leaks --json run.mnttrace >leaks.json
"""
    )
    assert leaks(tmp_path / "leaks.json") == []


def test_mount_under_a_shared_bind_reaches_the_outside(in_namespace, tmp_path):
    in_namespace(
        PREPARE
        + """
mount --bind iso1 iso2; mount --make-shared iso2
$MNTTRACE record -o run.mnttrace -- \
    unshare -m -u --propagation unchanged mount --bind sub iso2/subfoo
$MNTTRACE leaks --json run.mnttrace >leaks.json
$MNTTRACE export run.mnttrace >propagations.csv
cat /proc/self/mountinfo >after
"""
    )
    found = leaks(tmp_path / "leaks.json")
    ids = {
        int(line.split()[0])
        for line in (tmp_path / "after").read_text().splitlines()
        if line.split()[4].endswith("/subfoo")
    }
    assert ids, "the kernel carried nothing out: the scenario is wrong"
    assert {row["mount_id"] for row in found} == ids
    assert {row["via"] for row in found} == {"peer"}
    assert {row["evidence"] for row in found} == {"snapshot"}
    assert {row["comm"] for row in found} == {"mount"}
    assert all(row["present"] for row in found)
    header = (tmp_path / "propagations.csv").read_text().splitlines()[0].split(",")
    wanted = (
        "seq ts pid tid syscall src_ns dst_ns action mount_id mnt_id_unique mountpoint root "
        "source fstype via evidence copy_of"
    )
    assert set(wanted.split()) <= set(header)


def test_failed_calls_are_recorded_with_their_errno(in_namespace, tmp_path):
    in_namespace(
        """
$MNTTRACE record -o run.mnttrace -- sh -c '
    umount /nowhere; cd /; mkdir -p "$PWD/tmp"; mount --bind nowhere tmp' || true
$MNTTRACE export --table operations --format json run.mnttrace >operations.json
"""
    )
    rows = json.loads((tmp_path / "operations.json").read_text())
    umounts = [row for row in rows if row["syscall"] == "umount2"]
    assert [row["error"] for row in rows if row["syscall"] == "mount"] == ["ENOENT"]
    assert all(row["error"] for row in umounts)


def test_relative_paths_are_resolved_in_the_kernel(in_namespace, tmp_path):
    in_namespace(
        """
mkdir -p deep/er; cd deep
$MNTTRACE record -o ../run.mnttrace -- python3 -c '
import ctypes
ctypes.CDLL(None).mount(b"x", b"er", b"tmpfs", 0, None)'
cd ..
$MNTTRACE export --table operations --format json run.mnttrace >operations.json
"""
    )
    rows = json.loads((tmp_path / "operations.json").read_text())
    (row,) = [row for row in rows if row["comm"] == "python3" and row["syscall"] == "mount"]
    assert row["target"] == "er"
    assert row["path"] == str(tmp_path / "deep/er") == row["made_path"]


def test_recording_leaves_no_namespace_behind(in_namespace, tmp_path):
    in_namespace(
        """
ls -l /proc/[0-9]*/ns/mnt 2>/dev/null | sed 's/.*mnt:/mnt:/' | sort -u | wc -l >before
$MNTTRACE record -o run.mnttrace -- unshare -m true
ls -l /proc/[0-9]*/ns/mnt 2>/dev/null | sed 's/.*mnt:/mnt:/' | sort -u | wc -l >after
"""
    )
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()


def test_umount_inside_leaves_the_outside_alone(in_namespace, tmp_path):
    in_namespace(
        PREPARE
        + """
$MNTTRACE record -o run.mnttrace -- unshare -m -u umount iso1
$MNTTRACE export run.mnttrace >propagations.csv
grep -c " $PWD/iso1 " /proc/self/mountinfo >after
"""
    )
    assert (tmp_path / "after").read_text() == "1\n"
    assert len((tmp_path / "propagations.csv").read_text().splitlines()) == 1


def test_umount_under_a_shared_mount_takes_the_copy_along(in_namespace, tmp_path):
    in_namespace(
        """
mkdir a b; mount -t tmpfs pool a; mkdir a/x; mount --bind a b; mount -t tmpfs two a/x
grep -c " $PWD/b/x " /proc/self/mountinfo >before
$MNTTRACE record -o run.mnttrace -- umount a/x
$MNTTRACE export --format json run.mnttrace >propagations.json
"""
    )
    assert (tmp_path / "before").read_text() == "1\n"
    (row,) = json.loads((tmp_path / "propagations.json").read_text())
    assert (row["action"], row["via"], row["syscall"]) == ("detach", "peer", "umount2")
    assert row["mountpoint"] == str(tmp_path / "b/x")
    assert row["src_ns"] == row["dst_ns"]
    assert row["copy_of"] == str(tmp_path / "a/x")
