# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What findmnt(8) prints of real tables, read back; and what neither it nor mount(8) prints."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mnttrace.errors import ParseError
from mnttrace.linux import findmnt, mount_listings
from mnttrace.linux.mount_listings import Listed
from mnttrace.linux.mountinfo import Mount, parse
from tests import CHECKOUT

TABLES = sorted((CHECKOUT / "tests/data").glob("mountinfo/*.txt"))
TABLES += sorted((CHECKOUT / "tests/data").glob("bundles/*/proc/*/mountinfo"))
ALL = "TARGET,SOURCE,FSTYPE,OPTIONS,ID,PARENT,MAJ:MIN,FSROOT,PROPAGATION,OPT-FIELDS,VFS-OPTIONS"
ALL += ",FS-OPTIONS"

needs_findmnt = pytest.mark.skipif(shutil.which("findmnt") is None, reason="needs findmnt")
every_table = pytest.mark.parametrize(
    "table", TABLES, ids=lambda path: "-".join(path.relative_to(CHECKOUT / "tests/data").parts[1:])
)


def table_of(path: Path) -> list[Mount]:
    return parse(path.read_bytes().decode("utf-8", "surrogateescape"))


def printed(table: Path, *options: str, locale: str = "C.UTF-8") -> str:
    return subprocess.run(
        ["findmnt", "--tab-file", table, *options],
        env=os.environ | {"LC_ALL": locale},
        capture_output=True,
        check=True,
    ).stdout.decode("utf-8", "surrogateescape")


def listed(text: str, *options: str) -> list[Listed]:
    if "-J" in options:
        return findmnt.of_json(text, "x")
    lines = text.removesuffix("\n").split("\n")
    return findmnt.of_pairs(lines, "x") if "-P" in options else findmnt.of_columns(lines, "x")


@needs_findmnt
@every_table
@pytest.mark.parametrize("form", ["--tree", "--ascii", "-l", "-r", "-P", "-J"])
def test_all_columns_tell_what_mountinfo_does(table: Path, form: str) -> None:
    options = ("--tree", form) if form == "--ascii" else (form,)
    text = printed(table, "-o", ALL, *options)
    found = {
        (
            one.mount_id,
            one.parent_id,
            one.device,
            one.root,
            one.mountpoint,
            one.options,
            one.super_options,
            one.groups,
            one.propagation,
            one.fstype,
        )
        for one in listed(text, *options)
    }
    assert found == {
        (
            one.mount_id,
            one.parent_id,
            one.device,
            one.root,
            one.mountpoint,
            one.options,
            one.super_options.partition(" ")[0],  # libmount ends options at a bare space
            (one.shared, one.master),
            one.propagation,
            one.fstype,
        )
        for one in table_of(table)
    }


@needs_findmnt
@every_table
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_tree_tells_parents_and_most_roots(table: Path, locale: str) -> None:
    mounts = table_of(table)
    ids = {one.mount_id: one for one in mounts}
    found = listed(printed(table, "--tree", locale=locale))
    assert len(found) == len(mounts)
    pairs = {
        (one.mountpoint, found[one.above].mountpoint) for one in found if one.above is not None
    }
    wanted = {
        (one.mountpoint, ids[one.parent_id].mountpoint)
        for one in mounts
        if one.parent_id in ids and one.parent_id != one.mount_id
    }
    assert pairs == wanted
    roots = {(one.mountpoint, one.root) for one in found if one.root is not None}
    assert roots <= {(one.mountpoint, one.root) for one in mounts}
    assert bool(roots) == any(one.root != "/" for one in mounts)
    assert {one.propagation for one in found} == {None}
    assert {one.mount_id for one in found} == {None}


@needs_findmnt
@every_table
def test_propagation_without_groups(table: Path) -> None:
    found = listed(printed(table, "-P", "-o", "TARGET,PROPAGATION"), "-P")
    assert sorted((one.mountpoint, one.propagation) for one in found) == sorted(
        (one.mountpoint, one.propagation) for one in table_of(table)
    )
    assert {one.groups for one in found} == {None}


@needs_findmnt
def test_without_a_header_the_columns_are_the_default_ones() -> None:
    table = CHECKOUT / "tests/data/bundles/runc/proc/77/mountinfo"
    for options in (("-n", "--tree"), ("-n", "-l"), ("-n", "-r")):
        found = listed(printed(table, *options))
        assert [one.mountpoint for one in found if one.fstype == "mqueue"] == ["/dev/mqueue"]
        assert len(found) == len(table_of(table))


DF = """\
SOURCE   FSTYPE  SIZE  USED AVAIL USE% TARGET
/dev/vda ext4    252G 24.1G 77.4G  10% /
"""
FSTAB = """\
TARGET SOURCE    FSTYPE OPTIONS
/      UUID=ab-c ext4   defaults
none   /dev/sdb  swap   sw
"""


@pytest.mark.parametrize("text", [DF, FSTAB, "TARGET SOURCE\nx y\n", 'TARGET="/" x\n', "/ x\n"])
def test_what_is_no_table_of_findmnt(text: str) -> None:
    with pytest.raises(ParseError):
        listed(text)
    with pytest.raises(ParseError):
        listed(text, "-P")


@pytest.mark.parametrize(
    "text", ["", "{}", '{"filesystems": [1]}', '{"filesystems": [{"target": null}]}', "[" * 99999]
)
def test_what_is_no_json_of_findmnt(text: str) -> None:
    with pytest.raises(ParseError):
        findmnt.of_json(text, "x")


@pytest.mark.parametrize(
    ("line", "mount"),
    [
        ("disk on /a type tmpfs (rw)", ("/a", "tmpfs", "disk", "rw")),
        ("a on b on /c type d type tmpfs (rw,x=(1))", ("/c type d", "tmpfs", "a on b", "rw,x=(1)")),
        (" on /a type tmpfs (ro)", ("/a", "tmpfs", "", "ro")),
        (
            "/dev/sda1 on / type ext4 (rw,noatime) [root]",
            ("/", "ext4", "/dev/sda1", "rw,noatime"),
        ),
    ],
)
def test_lines_of_mount(line: str, mount: tuple[str, ...]) -> None:
    [found] = mount_listings.of_mount([line], "x")
    assert found[:4] == mount
    assert found[4:] == Listed("")[4:]


def test_lines_of_proc_mounts() -> None:
    lines = [r"a\040b /x\012y tmpfs rw,size=4k 0 0", r" /\134 tmpfs ro 0 0"]
    found = mount_listings.of_proc_mounts(lines, "x")
    assert [one[:4] for one in found] == [
        ("/x\ny", "tmpfs", "a b", "rw,size=4k"),
        ("/\\", "tmpfs", "", "ro"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "UUID=1 / ext4 rw 0 0",  # fstab(5)
        "/dev/sda1 / ext4 rw 0 1",
        "/dev/sda1  / ext4 rw 0 0",
        "/dev/sda2 none swap sw 0 0",
        "/dev/disk1 on / (apfs, local)",
        "device /dev/sda1 mounted on / with fstype ext4",
    ],
)
def test_what_is_neither(line: str) -> None:
    for parsed in (mount_listings.of_mount, mount_listings.of_proc_mounts):
        with pytest.raises(ParseError):
            parsed([line], "x")
