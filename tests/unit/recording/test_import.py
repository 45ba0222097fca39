# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace import`: mountinfo files, as people attach them to reports."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.recording.imported import import_tables

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
    assert "exporter: /rootfs/var/lib/kubelet/pods/a/volumes/x as mount 92, private" in answer
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
    at_home = place.removeprefix("/rootfs")
    held = f"tmpfs tmpfs at {place} (the host's {at_home})"
    assert f"{has}{held}, overlay overlay at /\n" in done.stdout
    done = mnttrace("leaks", "i.mnttrace", "--fail-on", "any")
    assert done.returncode == 5
    assert "does not show whether there were leaks: these are only mount tables" in done.stderr
    (files / "host.txt").unlink()
    mnttrace("import", "--force", "-o", "i.mnttrace", files)
    assert "No table is the host's" in mnttrace("leaks", "i.mnttrace").stdout


def test_what_is_held_is_found_by_the_path_that_the_host_had(files: Path, mnttrace) -> None:
    (files / "host.txt").write_text(HOST.splitlines()[0] + "\n")
    mnttrace("import", "-o", "i.mnttrace", files)
    done = mnttrace("why", "i.mnttrace", "/var/lib/kubelet/pods/a/volumes/x")
    place = "/rootfs/var/lib/kubelet/pods/a/volumes/x"
    assert f"exporter: {place} as mount 92, private" in done.stdout
    assert "The host does not have it: it is held, or that namespace's own." in done.stdout
    assert f'    umount -N "$(pidof exporter)" {place}\n' in done.stdout
    assert "rmdir /var/lib/kubelet/pods/a/volumes/x" in done.stdout
    assert "recording" not in done.stdout.replace("mnttrace record", "")


# ---- forms that tell less

MOUNT = """\
overlay on / type overlay (rw,relatime)
/dev/sda1 on /rootfs type ext4 (ro,relatime)
tmpfs on /rootfs/var/lib/kubelet/pods/a/volumes/x type tmpfs (rw,relatime)
tmpfs on /rootfs/var/lib/kubelet/pods/a/volumes/x type tmpfs (rw,relatime)
"""
NOT_TOLD = "not told by the table of exporter: mount ids, parents (taken from the paths), propag"


@pytest.fixture
def lesser(files: Path, mnttrace) -> Path:
    """The host's mountinfo, and of the container what mount(8) prints."""
    (files / "exporter" / "mountinfo").unlink()
    (files / "exporter" / "mount").write_text(MOUNT)
    done = mnttrace("import", "-o", "i.mnttrace", files)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(NOT_TOLD) == 1
    assert "attach /proc/1/mountinfo and /proc/PID/mountinfo of a process in each" in done.stderr
    assert "mount, of mount)" in done.stderr
    return files


@pytest.mark.parametrize("asked", [["leaks"], ["why", "/rootfs"], ["tree"], ["info"]])
def test_every_answer_says_once_what_is_not_told(lesser: Path, mnttrace, asked: list[str]) -> None:
    done = mnttrace(asked[0], "i.mnttrace", *asked[1:])
    assert done.returncode == 0
    assert (done.stdout + done.stderr).count(NOT_TOLD) == 1


def test_what_is_not_told_is_not_answered(lesser: Path, mnttrace) -> None:
    place = "/rootfs/var/lib/kubelet/pods/a/volumes/x"
    answer = mnttrace("why", "i.mnttrace", place).stdout
    assert "device not told, of which part is not told" in answer
    assert f"exporter: {place}, propagation not told\n" in answer
    assert f"covered by tmpfs tmpfs at {place}, if later lines are later mounts" in answer
    assert "private" not in answer
    assert " as mount" not in answer
    assert "2 mounts" not in answer  # two of tmpfs need not be one file system
    assert "umount" not in answer
    # A mount of the host's is not said to be, or not to be, in a namespace that does not tell.
    host = "/var/lib/kubelet/pods/a/volumes/x"
    answer = mnttrace("why", "i.mnttrace", host, "--in", "exporter").stdout
    assert "1 mount in 1 mount namespace" in answer
    assert "not in exporter: the mount tables do not tell why" in answer
    # The source names this one, whose device the host's table has.
    answer = mnttrace("why", "i.mnttrace", "8:1").stdout
    assert "exporter: /rootfs, propagation not told" in answer
    assert "a umount on the host" not in answer
    answer = mnttrace("why", "i.mnttrace", "exporter").stdout
    assert "has not, as far as the tables tell" in answer
    assert "/rootfs, " not in answer
    assert "exporter: 4 mounts, propagation not told" in mnttrace("tree", "i.mnttrace").stdout


def test_leaks_of_lesser_forms_do_not_say_that_nothing_leaked(lesser: Path, mnttrace) -> None:
    done = mnttrace("leaks", "i.mnttrace", "--fail-on", "any")
    assert done.returncode == 5
    assert "No mount is known to have reached another mount namespace: these" in done.stdout
    assert "exporter has 3 mounts of which it is not told whether the host has the" in done.stdout


def test_commands_are_not_tried_on_what_is_not_told(lesser: Path, mnttrace) -> None:
    done = mnttrace("what-if", "i.mnttrace", "umount /var/lib/kubelet/pods/a/volumes/x")
    assert done.returncode == 2
    assert "what propagates is not told by all of the imported mount tables" in done.stderr


def test_propagation_without_groups_tells_what_is_private(files: Path, mnttrace) -> None:
    lines = ["TARGET PROPAGATION MAJ:MIN FSROOT"]
    lines += ["/ private 0:50 /", "/a private 8:1 /", "/b shared 8:1 /"]
    (files / "exporter" / "mountinfo").write_text("\n".join(lines))
    assert "exporter/mountinfo, of findmnt)" in mnttrace("import", "-o", "i.mnttrace", files).stderr
    answer = mnttrace("why", "i.mnttrace", "/var/lib/kubelet/pods/a/volumes/x", "--in", "exporter")
    assert "not in exporter: /a in exporter is private and rec" in answer.stdout
    (files / "exporter" / "mountinfo").write_text("\n".join([*lines[:2], lines[3]]))
    mnttrace("import", "--force", "-o", "i.mnttrace", files)
    answer = mnttrace("why", "i.mnttrace", "/var/lib/kubelet/pods/a/volumes/x", "--in", "exporter")
    assert "not in exporter: the mount tables do not tell why" in answer.stdout


# ---- which tables are of one namespace


def bundle(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_processes_of_one_namespace_are_one_table(tmp_path: Path, mnttrace) -> None:
    chroot = EXPORTER.splitlines()[2].replace("/rootfs/var/lib/kubelet", "") + "\n"
    bundle(
        tmp_path / "sos",
        proc__1__mountinfo=HOST,
        proc__2__mountinfo=HOST,
        proc__self__mountinfo=HOST,
        proc__30__mountinfo=chroot,  # its root directory is below /rootfs
        proc__31__mountinfo=EXPORTER,
        proc__31__comm="exporter\n",
        proc__mounts="/dev/sda1 / ext4 rw 0 0\ntmpfs /var/lib/x tmpfs rw 0 0\n",
        sos_commands__filesys__findmnt="TARGET SOURCE FSTYPE OPTIONS\n/ /dev/sda1 ext4 rw\n",
        etc__fstab="UUID=1 / ext4 rw 0 0\n",
    )
    done = mnttrace("import", "-o", "i.mnttrace", "sos")
    assert "2 mount tables; " in done.stderr
    assert "; 5 more tables of the same mounts; 2 files without a mount table\n" in done.stderr
    run = Recording(tmp_path / "i.mnttrace")
    assert list(run.namespaces["name"]) == ["host", "pid 30"]
    assert list(run.namespaces["pid"]) == [1, 30]
    assert len(run.mounts) == 5  # the table of 31 has more
    for pid in ("31", "30"):
        answer = mnttrace("why", "i.mnttrace", "/var/lib/kubelet/pods/a/volumes/x", "--in", pid)
        assert answer.returncode == 0, answer.stderr
    told = mnttrace("why", "i.mnttrace", "/", "--in", "3").stderr
    assert "no namespace in the recording is called '3'" in told


def test_of_one_namespace_with_two_names_both_can_be_asked(files: Path, mnttrace) -> None:
    given = [f"web={files}/exporter/mountinfo", f"app={files}/exporter/mountinfo"]
    done = mnttrace("import", "-o", "i.mnttrace", f"host={files}/host.txt", *given)
    assert "mnttrace: app is the same mount namespace as web\n" in done.stderr
    assert "mnttrace: 2 mount tables; " in done.stderr
    for name in ("web", "app"):
        assert "web: what it has mounted" in mnttrace("why", "i.mnttrace", name).stdout


def test_a_copy_of_a_namespace_is_another_one(tmp_path: Path, mnttrace) -> None:
    # As unshare(1) makes it: the same paths and devices, other ids.
    copy = HOST.replace("21 ", "121 ").replace("30 121", "130 121").replace("121 1 ", "121 100 ")
    bundle(tmp_path / "sos", proc__1__mountinfo=HOST, proc__9__mountinfo=copy)
    mnttrace("import", "-o", "i.mnttrace", "sos")
    assert len(Recording(tmp_path / "i.mnttrace").namespaces) == 2


def test_two_that_have_one_name_get_longer_ones(tmp_path: Path, mnttrace) -> None:
    bundle(tmp_path / "all", a__web__mount=MOUNT, b__web__mount=MOUNT, c__proc__1__mountinfo=HOST)
    done = mnttrace("import", "-o", "i.mnttrace", "all")
    assert done.returncode == 0, done.stderr
    names = set(Recording(tmp_path / "i.mnttrace").namespaces["name"])
    assert names == {"host", "a/web/mount", "b/web/mount"}


def test_with_two_of_pid_1_none_is_the_host(tmp_path: Path, mnttrace) -> None:
    bundle(tmp_path / "all", a__proc__1__mountinfo=HOST, b__proc__1__mountinfo=EXPORTER)
    done = mnttrace("import", "-o", "i.mnttrace", "all")
    assert "no table is known to be the host's: host=FILE names it" in done.stderr


def test_damaged_tables_are_named_and_others_skipped(tmp_path: Path, mnttrace) -> None:
    cut = HOST * 3 + "31 21 0:31 / /x"
    bundle(tmp_path / "sos", proc__1__mountinfo=HOST, proc__7__mountinfo=cut, log="text\n")
    (tmp_path / "sos" / "core").write_bytes(b"\0" * (1 << 17))
    done = mnttrace("import", "-o", "i.mnttrace", "sos")
    assert done.returncode == 0
    assert "not taken: sos/proc/7/mountinfo, line 7: no separator" in done.stderr
    assert "; 2 files without a mount table\n" in done.stderr


def test_of_an_archive_that_is_cut_the_beginning_is_taken(tmp_path: Path, mnttrace) -> None:
    bundle(tmp_path / "sos", proc__1__mountinfo=HOST, proc__7__mountinfo=EXPORTER)
    with tarfile.open(tmp_path / "sos.tar", "w") as tar:
        tar.add(tmp_path / "sos" / "proc/1/mountinfo", "proc/1/mountinfo")
        tar.add(tmp_path / "sos" / "proc/7/mountinfo", "proc/7/mountinfo")
    whole = (tmp_path / "sos.tar").read_bytes()
    (tmp_path / "sos.tar").write_bytes(whole[: whole.index(b"90 80")])
    done = mnttrace("import", "-o", "i.mnttrace", "sos.tar")
    assert done.returncode == 0, done.stderr
    assert "taken: host (sos.tar/proc/1/mountinfo)" in done.stderr
    assert "not taken: " in done.stderr


def test_a_pipe_is_read_once(tmp_path: Path, mnttrace) -> None:
    read, write = os.pipe()
    os.write(write, HOST.encode())
    os.close(write)
    import_tables(tmp_path / "i.mnttrace", [f"host=/dev/fd/{read}"])
    os.close(read)
    assert len(Recording(tmp_path / "i.mnttrace").mounts) == 2


def test_pid_1_is_the_host_wherever_it_is_in_an_archive(tmp_path: Path, mnttrace) -> None:
    with tarfile.open(tmp_path / "sos.tar", "w") as tar:
        for pid in (30, 1, 4):
            bundle(tmp_path / "sos", mountinfo=HOST)
            tar.add(tmp_path / "sos/mountinfo", f"./proc/{pid}/mountinfo")
    made = import_tables(tmp_path / "i.mnttrace", [str(tmp_path / "sos.tar")])
    assert [(one.name, one.pids) for one in made.tables] == [("host", [1, 4, 30])]


def test_lines_of_a_terminal(tmp_path: Path, mnttrace) -> None:
    (tmp_path / "host").write_bytes(HOST.replace("\n", "\r\n").encode())
    assert mnttrace("import", "-o", "i.mnttrace", "host").returncode == 0
    run = Recording(tmp_path / "i.mnttrace")
    assert not run.mounts["super_options"].str.contains("\r").any()


@pytest.mark.parametrize(("count", "paths", "said"), [(15, 15, 1), (3, 1, 3), (14, 14, 0)])
def test_mounts_that_grow(tmp_path: Path, mnttrace, count: int, paths: int, said: int) -> None:
    more = [f"{40 + n} 21 0:30 / /a/{n % paths} rw - tmpfs tmpfs rw\n" for n in range(count)]
    (tmp_path / "host").write_text(HOST + "".join(more))
    mnttrace("import", "-o", "i.mnttrace", "host")
    told = mnttrace("leaks", "i.mnttrace").stdout
    has = f"host has {count + 1} mounts of one directory of tmpfs tmpfs, device 0:30, {said} of"
    assert (has in told) == bool(said)


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
