# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Parsing mountinfo of the real kernel."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnttrace.linux.mountinfo import Mount, format_line
from mnttrace.linux.proc_mountinfo import read
from tests.kernel.linux.children import child, descriptors

NASTY_NAMES = [
    b"plain",
    b"sp ace",
    b"tab\tx",
    b"new\nline",
    b"back\\slash",
    rb"\040",
    b"#hash",
    b"cr\r",
    b"\xff\xfe",
    "n\N{LATIN SMALL LETTER E WITH ACUTE}l\N{LINE SEPARATOR}".encode(),
    b"(deleted)",
    b" - ",
]


def at(mounts: list[Mount], mountpoint: str) -> Mount:
    (found,) = [mount for mount in mounts if mount.mountpoint == mountpoint]
    return found


def test_the_kernels_nasty_names(tmp_path: Path) -> None:
    code = f"""
unshare()
mount(b"a#b c", b".", b"tmpfs")
os.chdir(os.getcwd())
for name in {NASTY_NAMES!r}:
    os.mkdir(name)
    mount(b"source " + name, name, b"tmpfs")
ready("made")
"""
    with child(code, tmp_path) as (pid, _):
        mounts = read(pid)
        text = Path(f"/proc/{pid}/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
        inside = f"/proc/{pid}/root{tmp_path}"
        made = [mount for mount in mounts if mount.mountpoint.startswith(f"{tmp_path}/")]
        assert sorted(os.fsencode(mount.mountpoint) for mount in made) == sorted(
            os.fsencode(f"{tmp_path}/{name}") for name in os.listdir(inside)
        )
        assert {os.fsencode(mount.source) for mount in made} == {
            b"source " + name for name in NASTY_NAMES
        }
        for mount in made:
            device = os.stat(f"/proc/{pid}/root{mount.mountpoint}").st_dev
            assert mount.device == f"{os.major(device)}:{os.minor(device)}"
        assert at(mounts, str(tmp_path)).source == "a#b c"
    assert [*map(format_line, mounts), ""] == text.split("\n")


def test_empty_and_missing_sources_and_removed_roots(tmp_path: Path) -> None:
    code = """
unshare()
mount(b"x", b".", b"tmpfs")
os.chdir(os.getcwd())
for name in ["empty", "missing", "gone", "kept", "file", "over"]:
    os.mkdir(name)
open("file/f", "w").close()
open("over/f", "w").close()
mount(b"", b"empty", b"tmpfs")
mount(None, b"missing", b"tmpfs")
mount(b"gone", b"kept", flags=0x1000)
mount(b"file/f", b"over/f", flags=0x1000)
os.rmdir("gone")
os.remove("file/f")
ready("made")
"""
    with child(code, tmp_path) as (pid, _):
        mounts = read(pid)
    assert at(mounts, f"{tmp_path}/empty").source == ""
    assert at(mounts, f"{tmp_path}/missing").source == "none"
    kept, over = at(mounts, f"{tmp_path}/kept"), at(mounts, f"{tmp_path}/over/f")
    assert (kept.root, over.root) == ("/gone//deleted", "/file/f//deleted")
    assert {mount.mountpoint for mount in mounts if mount.deleted} == {
        kept.mountpoint,
        over.mountpoint,
    }


PROPAGATION = """
unshare()
os.chdir(os.getcwd())
def make(name, *types):
    for kind in types:
        mount(None, name, flags=kind)
SHARED, SLAVE, PRIVATE, UNBINDABLE = 1 << 20, 1 << 19, 1 << 18, 1 << 17
os.makedirs(b"jail/first")
os.mkdir(b"jail/last")
os.mkdir(b"middle")
mount(b"jail", b"jail", flags=0x1000)  # MS_BIND
os.chdir(os.getcwd())
mount(b"t", b"jail/first", b"tmpfs")
make(b"jail/first", SHARED)
mount(b"jail/first", b"middle", flags=0x1000)
make(b"middle", SLAVE, SHARED)
mount(b"middle", b"jail/last", flags=0x1000)
make(b"jail/last", SLAVE)
for name, types in [(b"private", [PRIVATE]), (b"unbindable", [UNBINDABLE])]:
    os.mkdir(name)
    mount(b"t", name, b"tmpfs")
    make(name, *types)
"""


def test_every_propagation_type(tmp_path: Path) -> None:
    with child(PROPAGATION + "ready('made')", tmp_path) as (pid, _):
        mounts = read(pid)
    first, middle, last, private, unbindable = (
        at(mounts, f"{tmp_path}/{name}")
        for name in ("jail/first", "middle", "jail/last", "private", "unbindable")
    )
    assert first.propagation == "shared"
    assert middle.propagation == "shared-and-slave"
    assert middle.master == first.shared
    assert last.propagation == "slave"
    assert last.master == middle.shared
    assert private.propagation == "private"
    assert private.optional_fields == ""
    assert unbindable.propagation == unbindable.optional_fields == "unbindable"
    assert {mount.propagate_from for mount in mounts} == {None}


def test_under_another_root_the_nearest_dominant_peer_group_is_told(tmp_path: Path) -> None:
    jailed = PROPAGATION + "os.chroot('jail')\nready('made')"
    with child(jailed, tmp_path) as (pid, _):
        mounts = read(pid)
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    # What is outside of the root is left out, the rest told as seen from there.
    assert [mount.mountpoint for mount in mounts] == ["/", "/first", "/last"]
    root, first, last = mounts
    assert root.parent_id not in {mount.mount_id for mount in mounts}
    assert last.master not in (None, first.shared)
    assert last.propagate_from == first.shared
    assert last.propagation == "slave"
    assert [*map(format_line, mounts)] == lines


@pytest.mark.kernel("findmnt")
def test_findmnt_says_the_same(tmp_path: Path) -> None:
    names = [name.decode() for name in NASTY_NAMES if name.isascii() and b"\\" not in name]
    code = f"""
os.chdir(os.getcwd())
for name in {names!r}:
    os.mkdir(name)
    mount(b"s", name.encode(), b"tmpfs")
ready("made")
"""
    columns = "ID,PARENT,MAJ:MIN,FSROOT,TARGET,VFS-OPTIONS,OPT-FIELDS,FSTYPE,SOURCE,FS-OPTIONS"
    with child(PROPAGATION + code, tmp_path) as (pid, _):
        mounts = read(pid)
        said = subprocess.run(
            ["findmnt", "--json", "--list", "--nofsroot", "--task", str(pid), "-o", columns],
            capture_output=True,
            check=True,
        ).stdout
    expected = {
        mount.mount_id: (
            mount.parent_id, mount.device, mount.root, mount.mountpoint, mount.options,
            mount.optional_fields, mount.fstype, mount.source, mount.super_options,
        )
        for mount in mounts
    }  # fmt: skip
    found = {
        entry["id"]: tuple(entry[column.lower()] or "" for column in columns.split(",")[1:])
        for entry in json.loads(said)["filesystems"]
    }
    assert found == expected


def test_reading_leaves_no_descriptor_open() -> None:
    before = descriptors()
    own = read()
    assert descriptors() == before
    assert {mount.mount_id for mount in own} == {mount.mount_id for mount in read(os.getpid())}
    assert "/proc" in {mount.mountpoint for mount in own}


def test_gone_and_dead_processes_are_oserrors() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(OSError, match="Invalid argument"):
        read(ended.pid)
    ended.wait()
    with pytest.raises(FileNotFoundError):
        read(ended.pid)
