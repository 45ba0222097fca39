# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace import`: mountinfo files, as people attach them to reports."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording

# As in prometheus-operator#2578: a container has a private copy of what the host had under /.
HOST = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:30 / /var/lib/kubelet/pods/a/volumes/x rw,relatime shared:9 - tmpfs tmpfs rw,size=4k
"""
EXPORTER = """\
90 80 0:50 / / rw,relatime - overlay overlay rw
91 90 8:1 / /rootfs ro,relatime - ext4 /dev/sda1 rw
92 91 0:30 / /rootfs/var/lib/kubelet/pods/a/volumes/x rw,relatime - tmpfs tmpfs rw,size=4k
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    (folder / "exporter").mkdir(parents=True)
    (folder / "host.txt").write_text(HOST)
    (folder / "exporter" / "mountinfo").write_text(EXPORTER)
    with tarfile.open(tmp_path / "report.tar.gz", "w:gz") as tar:
        tar.add(folder, "report")
    return folder


@pytest.mark.parametrize("form", ["names", "folder", "tar"])
def test_tables_become_a_recording_to_ask(files: Path, mnttrace, form: str) -> None:
    given = {
        "names": [f"host={files}/host.txt", f"exporter={files}/exporter/mountinfo"],
        "folder": [files],
        "tar": [f"{files}.tar.gz"],
    }[form]
    done = mnttrace("import", "-o", "i.mnttrace", *given)
    assert done.returncode == 0, done.stderr
    assert "2 mount tables; who mounted what, and when, is known only from" in done.stderr
    run = Recording(files.parent / "i.mnttrace")
    assert set(run.namespaces["name"]) == {"host", "exporter"}
    tree = mnttrace("tree", "i.mnttrace").stdout
    assert "/rootfs/var/lib/kubelet/pods/a/volumes/x" in tree
    answer = mnttrace("why", "i.mnttrace", "/var/lib/kubelet/pods/a/volumes/x").stdout
    assert "2 mounts in 2 mount namespaces" in answer
    assert (
        "process exporter: /rootfs/var/lib/kubelet/pods/a/volumes/x as mount 92, private" in answer
    )
    assert "mnt:[" not in answer  # no table tells its namespace's number
    assert "a umount on the host does not propagate to it: it keeps" in answer
    assert "rslave in place of rprivate" in answer
    assert "mnttrace record shows who mounted what" in answer


def test_leaks_say_what_tables_tell_and_that_they_do_not_tell_the_rest(
    files: Path, mnttrace
) -> None:
    # The host has unmounted the volume.
    (files / "host.txt").write_text(HOST.splitlines()[0] + "\n")
    mnttrace("import", "-o", "i.mnttrace", files)
    done = mnttrace("leaks", "i.mnttrace")
    assert done.returncode == 0
    assert (
        "No mount is known to have reached another mount namespace: these are only" in done.stdout
    )
    place = "/rootfs/var/lib/kubelet/pods/a/volumes/x"
    has = "exporter has 2 file systems that the host has not (held, or its own): "
    assert f"{has}overlay overlay at /, tmpfs tmpfs at {place}\n" in done.stdout
    done = mnttrace("leaks", "i.mnttrace", "--fail-on", "any")
    assert done.returncode == 5
    assert "does not show whether there were leaks: these are only mount tables" in done.stderr
    (files / "host.txt").unlink()
    mnttrace("import", "--force", "-o", "i.mnttrace", files)
    assert "No table is the host's" in mnttrace("leaks", "i.mnttrace").stdout


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "this is no table\n", "a.txt, line 1"),
        ("a.txt", "", "there is no mount"),
        ("none", None, "cannot be read"),
    ],
)
def test_what_is_no_table(mnttrace, tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    given = [f"x={name}"] if text != "" else []
    done = mnttrace("import", "-o", "i.mnttrace", *given)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "i.mnttrace").exists()


def test_a_name_is_given_once(mnttrace, files: Path) -> None:
    done = mnttrace("import", f"host={files}/host.txt", f"host={files}/exporter/mountinfo")
    assert done.returncode == 2
    assert "two tables are called host (NAME=FILE gives another name)" in done.stderr
