# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""listmount(2) and statmount(2) against mountinfo and statx(2), on the real kernel."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnttrace.linux import entered_mountinfo, flags, namespaces, statmount
from mnttrace.linux.statmount import StatMount
from tests.kernel.linux.children import (
    KEEP_BIND,
    KEEP_DESCRIPTOR,
    child,
    descriptors,
    eventually,
    is_dead,
)


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open() -> Iterator[None]:
    assert statmount.available()
    before = descriptors()
    yield
    assert descriptors() == before


def unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)


def as_fields(mount: StatMount) -> list[str]:
    """The fields of the mount's line in mountinfo, unescaped but for the options."""
    tags = {
        "shared": mount.peer_group,
        "master": mount.master,
        "propagate_from": mount.propagate_from,
    }
    return [
        str(mount.mount_id),
        str(mount.parent_id),
        f"{mount.major}:{mount.minor}",
        mount.root,
        mount.mount_point,
        mount.options,
        *(f"{tag}:{group}" for tag, group in tags.items() if group),
        *(["unbindable"] if mount.unbindable else []),
        "-",
        mount.filesystem,
        mount.source or "",
        mount.super_options,
    ]


def fields_of(mountinfo: str) -> list[list[str]]:
    lines = []
    for line in mountinfo.splitlines():
        *fields, options = line.split(" ")
        lines.append([*map(unescaped, fields), options])
    return lines


def assert_same_tables(mounts: list[StatMount], mountinfo: str) -> None:
    got, expected = map(as_fields, mounts), fields_of(mountinfo)
    assert sorted(got, key=lambda fields: int(fields[0])) == sorted(
        expected, key=lambda fields: int(fields[0])
    )


# Mounts of every kind of propagation, with every flag, with hard names, covered and moved ones.
ZOO = r"""
unshare()
RDONLY, NOSUID, NODEV, NOEXEC, SYNC, REMOUNT, DIRSYNC, NOSYMFOLLOW = 1, 2, 4, 8, 16, 32, 128, 256
NOATIME, NODIRATIME, BIND, MOVE, REC = 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14
UNBINDABLE, PRIVATE, SLAVE, SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
STRICTATIME, LAZYTIME = 1 << 24, 1 << 25
top = os.fsencode(os.path.realpath("zoo"))
def place(name):
    path = os.path.join(top, os.fsencode(name))
    os.makedirs(path, exist_ok=True)
    return path
def change(path, flags):
    mount(b"", path, None, flags)
place("")
mount(b"so urce\\#,x", top, b"tmpfs")
change(top, SHARED)
for n, flag in enumerate((RDONLY, NOSUID, NODEV, NOEXEC, SYNC, DIRSYNC, NOSYMFOLLOW, NOATIME,
                          NODIRATIME, STRICTATIME, LAZYTIME, NOATIME | NODIRATIME,
                          RDONLY | NOSUID | NODEV | NOEXEC | SYNC)):
    mount(b"none", place(f"flag{n}"), b"tmpfs", flag, b"size=1m,mode=700")
for n, name in enumerate(("a b", "tab\there", "new\nline", "back\\slash", "hash#", "\udcff\udcfe",
                          "caf\u00e9", "octal\\040", "x - nsfs y")):
    mount(f"s{n}".encode(), place(name), b"ramfs")
    mount(place(name), place(f"bind{n}"), None, BIND)
mount(place("a b/deep er/still"), place("inner"), None, BIND)
for name, kind in (("slave", SLAVE), ("private", PRIVATE), ("unbindable", UNBINDABLE)):
    mount(top, place(f"of/{name}"), None, BIND)
    change(place(f"of/{name}"), kind)
mount(place("of/slave"), place("both"), None, BIND)
change(place("both"), SHARED)
mount(place("both"), place("slave of both"), None, BIND)
change(place("slave of both"), SLAVE)
for n in range(3):
    mount(b"none", place("stack"), b"tmpfs")
mount(b"none", place("both/late"), b"tmpfs")
change(place("flag0"), REMOUNT | BIND | RDONLY | NOEXEC)
for name in ("lo wer", "upper", "work"):
    place(name)
mount(b"over", place("merged"), b"overlay", 0,
      b"lowerdir=%s,upperdir=%s,workdir=%s" % (place("lo wer"), place("upper"), place("work")))
"""


def test_the_table_of_a_foreign_namespace_is_its_mountinfo(tmp_path: Path) -> None:
    with child(ZOO + "ready(inum())", tmp_path) as (pid, _):
        identity = namespaces.namespace_id(f"/proc/{pid}/ns/mnt")
        mounts = statmount.table(identity)
        assert len(mounts) > 60
        assert_same_tables(mounts, os.fsdecode(Path(f"/proc/{pid}/mountinfo").read_bytes()))
        assert any(mount.unbindable for mount in mounts)
        assert any(mount.master and mount.peer_group for mount in mounts)
        assert {flags.propagation(mount.propagation) for mount in mounts} >= {
            "shared", "slave", "private", "unbindable", "slave|shared",
        }  # fmt: skip
    assert eventually(lambda: is_dead(identity))


def test_the_own_table_is_mountinfo_and_the_ids_are_those_of_statx(tmp_path: Path) -> None:
    code = (
        ZOO
        + r"""
from mnttrace.linux import statmount
from tests.kernel.linux.test_statmount import assert_same_tables
with open("/proc/self/mountinfo", "rb") as table:
    assert_same_tables(statmount.table(), os.fsdecode(table.read()))
def statx_mount_id(path):
    answer = ctypes.create_string_buffer(256)
    number = {"x86_64": 332}.get(os.uname().machine, 291)
    check(libc.syscall(number, -100, os.fsencode(path), 0x100, 0x4000, answer))  # MNT_ID_UNIQUE
    assert int.from_bytes(answer.raw[:4], "little") & 0x4000
    return int.from_bytes(answer.raw[0x90:0x98], "little")
same = [mount.unique_id == statx_mount_id(mount.mount_point) for mount in statmount.table()
        if os.fsencode(mount.mount_point).startswith(top) and "stack" not in mount.mount_point]
ready(len(same), all(same))
"""
    )
    with child(code, tmp_path) as (_, said):
        assert int(said[0]) > 40
        assert said[1] == "True"


@pytest.mark.parametrize("keep", [KEEP_DESCRIPTOR, KEEP_BIND], ids=["descriptor", "bind"])
def test_the_table_of_a_namespace_without_a_process(keep: str, tmp_path: Path) -> None:
    with child(keep + "ready(there)", tmp_path) as (_, said):
        found = namespaces.mount_namespaces(descriptors=True, binds=True).namespaces[int(said[0])]
        assert not found.pids
        identity = namespaces.namespace_id(found.path)
        assert_same_tables(statmount.table(identity), entered_mountinfo.read(found.path))
        assert len(statmount.list_mounts(identity)) > 1
    assert eventually(lambda: is_dead(identity))
    with pytest.raises(FileNotFoundError):
        statmount.list_mounts(identity)


def test_the_dominant_peer_group_is_told_in_the_own_namespace_alone(tmp_path: Path) -> None:
    # a -> b -> c, where the group of b has its only member in another namespace.
    code = """
from mnttrace.linux import statmount
unshare()
a, b, c = (os.path.join(os.getcwdb(), name) for name in (b"a", b"b", b"c"))
for path in (a, b, c):
    os.mkdir(path)
def change(path, flags):
    mount(b"", path, None, flags)
mount(b"none", a, b"tmpfs")
change(a, 0x100000)
mount(a, b, None, 0x1000)
change(b, 0x80000)
change(b, 0x100000)
mount(b, c, None, 0x1000)
change(c, 0x80000)
gate, done = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(gate[1])
    check(libc.unshare(0x20000))
    os.write(done[1], b"x")
    os.read(gate[0], 1)
    os._exit(0)
os.read(done[0], 1)
check(libc.umount2(b, 2))
by_point = {os.fsencode(mount.mount_point): mount for mount in statmount.table()}
line = next(line for line in open("/proc/self/mountinfo") if " master:" in line)
group = by_point[a].peer_group
ready(by_point[c].propagate_from, group, f"propagate_from:{group}" in line, by_point[c].unique_id)
"""
    with child(code, tmp_path) as (pid, said):
        assert said[0] == said[1]
        assert said[2] == "True"
        identity = namespaces.namespace_id(f"/proc/{pid}/ns/mnt")
        [slave] = [m for m in statmount.table(identity) if m.unique_id == int(said[3])]
        assert slave.master
        assert slave.propagate_from == 0


def test_basic_is_the_start_of_the_whole_record() -> None:
    for mount in statmount.table():
        assert statmount.basic(mount.unique_id) == mount[:8]


def test_parents_are_told_by_both_ids() -> None:
    mounts = {mount.unique_id: mount for mount in statmount.table()}
    inner = [mount for mount in mounts.values() if mount.parent_unique_id in mounts]
    assert len(inner) == len(mounts) - 1
    for mount in inner:
        assert mounts[mount.parent_unique_id].mount_id == mount.parent_id


def test_unique_ids_are_asked_for_once() -> None:
    expected = {mount.mount_id: mount.unique_id for mount in statmount.table()}
    known: dict[int, int] = {}
    assert statmount.unique_ids(None, known) == expected
    assert known == {unique: mount for mount, unique in expected.items()}
    # What is known is not asked for again: a false memory comes back, the forgotten one is read.
    first, second = list(known)[:2]
    truth = known.pop(second)
    known[first] = 4242
    again = statmount.unique_ids(None, known)
    assert again[4242] == first
    assert again[truth] == second
    assert statmount.unique_ids() == expected


def test_a_mount_that_is_gone_is_not_found(tmp_path: Path) -> None:
    code = """
unshare()
mount(b"none", os.getcwdb(), b"tmpfs")
ready(inum())
check(libc.umount2(os.getcwdb(), 2))
ready("gone")
"""
    with child(code, tmp_path) as (pid, _):
        identity = namespaces.namespace_id(f"/proc/{pid}/ns/mnt")
        [mount] = [m for m in statmount.table(identity) if m.mount_point == str(tmp_path)]
        assert statmount.basic(mount.unique_id, identity).mount_id == mount.mount_id
        with pytest.raises(FileNotFoundError):  # it is in another namespace
            statmount.basic(mount.unique_id)
        Path(f"/proc/{pid}/fd/0").write_text("\n")
        assert eventually(lambda: mount.unique_id not in statmount.list_mounts(identity))
        with pytest.raises(FileNotFoundError):
            statmount.basic(mount.unique_id, identity)


def test_long_lists_come_whole(tmp_path: Path) -> None:
    code = """
unshare()
mount(b"none", os.getcwdb(), b"tmpfs")
os.chdir(os.getcwd())
for n in range(4500):
    os.mkdir(str(n))
    mount(b"none", os.path.join(os.getcwdb(), str(n).encode()), b"ramfs")
ready(inum())
"""
    with child(code, tmp_path) as (pid, _):
        identity = namespaces.namespace_id(f"/proc/{pid}/ns/mnt")
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        listed = statmount.list_mounts(identity)
        assert len(lines) > 4500
        assert len(listed) == len(set(listed)) == len(lines)
        ids = statmount.unique_ids(identity)
        assert sorted(ids) == sorted(int(line.split()[0]) for line in lines)


def test_long_paths_come_whole(tmp_path: Path) -> None:
    code = """
unshare()
mount(b"none", os.getcwdb(), b"tmpfs")
os.chdir(os.getcwd())
for name in "ab":
    os.makedirs("/".join([name * 200] * 15))
mount("/".join(["a" * 200] * 15).encode(), "/".join(["b" * 200] * 15).encode(), None, 0x1000)
ready(inum())
"""
    with child(code, tmp_path) as (pid, _):
        mounts = statmount.table(namespaces.namespace_id(f"/proc/{pid}/ns/mnt"))
        [mount] = [mount for mount in mounts if "bbb" in mount.mount_point]
        assert len(mount.root) > 3000
        assert len(mount.mount_point) > 3000
        assert_same_tables(mounts, Path(f"/proc/{pid}/mountinfo").read_text())


def test_a_table_that_changes_while_it_is_read(tmp_path: Path) -> None:
    code = """
unshare()
mount(b"none", os.getcwdb(), b"tmpfs")
place = os.getcwdb()
print(inum(), flush=True)
while True:
    for _ in range(30):
        mount(b"none", place, b"tmpfs")
    for _ in range(30):
        check(libc.umount2(place, 2))
"""
    with child(code, tmp_path) as (pid, _):
        identity = namespaces.namespace_id(f"/proc/{pid}/ns/mnt")
        stay = set(statmount.list_mounts(identity)) & set(statmount.list_mounts(identity))
        seen: set[int] = set()
        reads, end = 0, time.monotonic() + 60
        # Until it did change.
        while reads < 300 or (len(seen - stay) <= 10 and time.monotonic() < end):
            ids = {mount.unique_id for mount in statmount.table(identity)}
            stay, seen, reads = stay & ids, seen | ids, reads + 1
        assert len(stay) > 5
        assert len(seen - stay) > 10


def test_a_chrooted_process_sees_what_is_under_its_root(tmp_path: Path) -> None:
    code = """
from mnttrace.linux import statmount
unshare()
whole = len(statmount.list_mounts())
os.mkdir("jail")
mount(b"none", os.path.realpath(b"jail"), b"tmpfs")
os.chroot("jail")
ready(whole, *(mount.mount_point for mount in statmount.table()))
"""
    with child(code, tmp_path) as (_, said):
        assert int(said[0]) > 1
        assert said[1:] == ["/"]


def test_without_leave_a_foreign_namespace_is_refused() -> None:
    code = """
from mnttrace.linux import statmount
os.setgid(65534); os.setuid(65534)
try:
    statmount.list_mounts(int(os.environ["IDENTITY"]))
except OSError as error:
    ready(type(error).__name__, statmount.available())
else:
    ready("listed")
"""
    with child("unshare(); ready(inum())") as (pid, _):
        identity = namespaces.namespace_id(f"/proc/{pid}/ns/mnt")
        with child(code, IDENTITY=str(identity)) as (_, said):
            assert said == ["FileNotFoundError", "True"]
