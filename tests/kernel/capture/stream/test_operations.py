# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What an operation says of itself: arguments, paths, callers, results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnttrace.linux.mountinfo import parse
from tests import CHECKOUT

CALLS = CHECKOUT / "tests/kernel/calls.py"


@pytest.fixture
def calls(record):
    """`calls(code, before="", **options)` records Python code that uses calls.py."""

    def run(code: str, before: str = "", **options: str):
        script = f"python3 {CALLS} <<'END'\nimport os\n{code}\nEND"
        return record(script, before=before, **options)

    return run


def only(rows: list[dict]) -> dict:
    (row,) = rows
    return row


def test_all_calls_are_traced_successful_and_failed_alike(calls):
    recorded = calls(
        """
os.makedirs("m/n"); os.makedirs("root/old"); root = os.path.abspath("root")
def both(name, good, bad):
    for arguments in (good, bad):
        print(name, call(name, *arguments))
both("mount", (b"x", b"m", b"tmpfs", 0, None), (b"x", b"nowhere", b"tmpfs", 0, None))
both("umount2", (b"m", 0), (b"nowhere", 0))
both("open_tree", (AT_FDCWD, "m", 1), (AT_FDCWD, "nowhere", 1))
both("fsopen", ("tmpfs", 1), ("no-such", 1))
context = call("fsopen", "tmpfs", 0)
both("fsconfig", (context, 6, None, None, 0), (-1, 6, None, None, 0))
both("fsmount", (context, 0, 0), (-1, 0, 0))
call("mount", b"x", b"m", b"tmpfs", 0, None)
both("fspick", (AT_FDCWD, "m", 0), (AT_FDCWD, "nowhere", 0))
attr = mount_attr(1), 32
both("mount_setattr", (AT_FDCWD, "m", 0, *attr), (AT_FDCWD, "nowhere", 0, *attr))
both("open_tree_attr", (AT_FDCWD, "m", 1, *attr), (AT_FDCWD, "nowhere", 1, *attr))
tree = call("open_tree", AT_FDCWD, "m", 1)
both("move_mount", (tree, "", AT_FDCWD, "m", 4), (tree, "", AT_FDCWD, "nowhere", 4))
both("unshare", (0x20000,), (0x20000 | 1 << 40,))
call("mount", None, b"/", None, 0x44000, None)
call("mount", root, root, None, 0x1000, None)
ns = os.open("/proc/self/ns/mnt", os.O_RDONLY)
both("setns", (ns, 0x20000), (ns, 0x40000000))
both("chroot", (b"/",), (b"/nowhere",))
os.chdir(root)
both("pivot_root", (b".", b"old"), (b"nowhere", b"nowhere"))
"""
    )
    traced = set(recorded.run.meta["traced"])
    failed = {row["syscall"] for row in recorded.rows("operations", comm="python3") if row["error"]}
    done = {
        row["syscall"] for row in recorded.rows("operations", comm="python3") if not row["error"]
    }
    assert traced == done | {"clone", "clone3"}
    assert failed >= done - {"unshare"}
    # clone3 and clone are made by what makes processes in mount namespaces: see the runtimes.
    assert recorded.run.meta["missing"] == []


def test_who_made_a_call(record):
    recorded = record(
        "mount -t tmpfs x there & echo $! >pid; wait; cat /proc/self/ns/user >/dev/null || true",
        before="mkdir there",
    )
    row = only(recorded.rows("operations", syscall="mount"))
    pid = int((recorded.folder / "pid").read_text())
    assert (row["pid"], row["tid"], row["pid_inside"]) == (pid, pid, pid)
    assert (row["uid"], row["comm"], row["result"]) == (0, "mount", 0)
    assert row["ns"] == row["ns_after"]
    assert row["ns_id"] == recorded.home
    assert row["pidns"] == os.stat("/proc/self/ns/pid").st_ino
    assert row["userns"] == os.stat("/proc/self/ns/user").st_ino
    assert 0 < row["latency"] < 10**9
    meta = recorded.run.meta
    assert meta["started"] < row["ts"].value < meta["stopped"]
    assert row["ts"].value == row["monotonic"] + meta["wall_offset"]
    process = only([p for p in recorded.rows("processes") if p["pid"] == pid])
    assert process["command"] == "mount -t tmpfs x there"
    assert process["parent"] == row["parent"]


def test_the_namespace_before_and_after(record):
    recorded = record("unshare -m true; unshare -f -m -p --kill-child true")
    unshares = recorded.rows("operations", syscall="unshare")
    assert len(unshares) == 2
    for row in unshares:
        assert row["ns_id"] == recorded.home
        assert row["ns_after"] == row["ns_target"] != row["ns"]
        assert "CLONE_NEWNS" in row["flags"]


@pytest.mark.parametrize("length", [200, 4094, 4095, 4096, 5000])
def test_strings_are_whole_up_to_path_max_or_say_that_they_were_cut(calls, length):
    recorded = calls(
        f'call("mount", b"s" * {length}, b"t" * {length}, b"tmpfs", 0, b"d" * {length})'
    )
    row = only(recorded.rows("operations", comm="python3", syscall="mount"))
    cut = length > 4095
    assert row["source"] == "s" * min(length, 4095)
    assert row["target"] == "t" * min(length, 4095)
    assert set(filter(None, row["unread"].split(","))) >= ({"source", "target"} if cut else set())
    assert (row["unread"] == "") == (not cut)


def test_strings_that_cannot_be_read_say_so(calls):
    recorded = calls('call("mount", 16, 32, 48, 0, 64)')
    row = only(recorded.rows("operations", comm="python3", syscall="mount"))
    assert row["error"] == "EFAULT"
    assert set(row["unread"].split(",")) == {"source", "target", "fstype", "data"}


def test_text_that_is_not_utf_8(record, mnttrace):
    recorded = record(
        """name=$(printf 'a\\377b\\033[31m\\nc'); mkdir "$name"; mount -t tmpfs x "$name" """
    )
    row = only(recorded.rows("operations", syscall="mount"))
    assert row["path"].endswith("/a\\xffb\x1b[31m\nc")
    for command in ("timeline", "tree", "leaks"):
        assert "\x1b" not in mnttrace(command, "run.mnttrace").stdout


def test_flags_are_named_from_the_right_table(calls):
    recorded = calls(
        """
os.makedirs("m")
call("mount", b"x", b"m", b"tmpfs", 1 | 2 | 1 << 21 | 1 << 40, None)
call("mount", None, b"m", None, 0x4000 | 1 << 20, None)
call("umount2", b"m", 2 | 8)
tree = call("open_tree", AT_FDCWD, "m", 1 | 0x8000)
call("move_mount", tree, "", AT_FDCWD, "m", 4 | 0x200)
call("mount_setattr", AT_FDCWD, "m", 0x8000, mount_attr(1 | 8 | 0x10, 2 | 0x70, 1 << 19), 32)
"""
    )
    rows = recorded.rows("operations", comm="python3")
    flags = {(row["syscall"], row["flags"], row["propagation"]) for row in rows}
    assert flags >= {
        ("mount", "MS_RDONLY|MS_NOSUID|MS_RELATIME|0x10000000000", ""),
        ("mount", "MS_REC", "shared"),
        ("umount2", "MNT_DETACH|UMOUNT_NOFOLLOW", ""),
        ("open_tree", "OPEN_TREE_CLONE|AT_RECURSIVE", ""),
        ("move_mount", "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_BENEATH", ""),
        ("mount_setattr", "AT_RECURSIVE", "slave"),
    }
    attributes = only([row for row in rows if row["syscall"] == "mount_setattr"])["attributes"]
    assert attributes == (
        "+MOUNT_ATTR_NOATIME|MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOEXEC "
        "-MOUNT_ATTR__ATIME|MOUNT_ATTR_NOSUID"
    )


def test_the_new_calls_read_as_one_story(calls, mnttrace, tmp_path):
    recorded = calls(
        """
os.makedirs("m")
context = call("fsopen", "tmpfs", 0)
call("fsconfig", context, 1, "source", "origin", 0)
call("fsconfig", context, 1, "size", "1m", 0)
call("fsconfig", context, 6, None, None, 0)
fd = os.dup(call("fsmount", context, 0, 1))
call("move_mount", fd, "", AT_FDCWD, "m", 4)
tree = call("open_tree", AT_FDCWD, "m", 1)
call("mount_setattr", tree, "", 0x1000, mount_attr(2), 32)
call("move_mount", tree, "", AT_FDCWD, "m", 4)
"""
    )
    rows = recorded.rows("operations", comm="python3")
    first = only([row for row in rows if row["syscall"] == "fsopen"])
    story = [row for row in rows if row["fs_context"] == first["seq"]]
    assert [row["syscall"] for row in story] == [
        "fsopen",
        *["fsconfig"] * 3,
        "fsmount",
        "move_mount",
    ]
    assert [row["data"] for row in story[1:4]] == ["source=origin", "size=1m", ""]
    assert (story[-1]["fstype"], story[-1]["source"]) == ("tmpfs", "origin")
    assert story[-1]["path"] == f"{tmp_path}/m"
    tree = only([row for row in rows if row["syscall"] == "open_tree"])
    second = [row["syscall"] for row in rows if row["fs_context"] == tree["seq"]]
    assert second == ["open_tree", "mount_setattr", "move_mount"]
    made, bound = recorded.rows("effects", action="attach", mountpoint=f"{tmp_path}/m")
    assert (made["fstype"], made["source"], made["seq"]) == ("tmpfs", "origin", story[-1]["seq"])
    assert bound["seq"] == rows[-1]["seq"]
    told = mnttrace("timeline", "run.mnttrace").stdout
    assert f"move_mount(tmpfs of operation {first['seq']}, " in told
    assert f'move_mount(copy of "{tmp_path}/m" of operation {tree["seq"]}, ' in told


@pytest.mark.parametrize(
    "target",
    ["er", "./er", "../deep/er", "/proc/self/fd/3", "/proc/thread-self/fd/3", "/proc/self/fd/4/er"],
)
def test_relative_paths_and_descriptors_are_resolved(calls, tmp_path, target):
    recorded = calls(
        f"""
os.chdir("deep")
os.dup2(os.open("er", os.O_PATH), 3); os.dup2(os.open(".", os.O_PATH), 4)
assert call("mount", b"x", {target!r}, b"tmpfs", 0, None) == 0
""",
        before="mkdir -p deep/er",
    )
    row = only(recorded.rows("operations", comm="python3", syscall="mount"))
    assert (row["target"], row["path"]) == (target, f"{tmp_path}/deep/er")
    made = only(recorded.rows("effects", action="attach", via="direct"))
    assert made["mountpoint"] == f"{tmp_path}/deep/er"


def test_a_path_is_that_of_the_time_of_the_call(calls, tmp_path):
    """pivot_root(2) changes what "." and the old root mean."""
    recorded = calls(
        """
call("unshare", 0x20000); call("mount", None, b"/", None, 0x44000, None)
os.makedirs("new/old"); call("mount", b"new", b"new", None, 0x1000, None)
os.chdir("new")
assert call("pivot_root", b".", b"old") == 0
assert call("umount2", b"old", 2) == 0
"""
    )
    pivot = only(recorded.rows("operations", comm="python3", syscall="pivot_root"))
    assert (pivot["path"], pivot["source_path"]) == (f"{tmp_path}/new", f"{tmp_path}/new/old")
    umount = only(recorded.rows("operations", comm="python3", syscall="umount2"))
    assert umount["path"] == "/old"


SECRETS = "username=me,password=hunter2,credentials=/etc/x,pass=p,seckey=k,size=1m"


@pytest.mark.parametrize("keep", [False, True])
def test_secrets_are_redacted_unless_asked_for(calls, keep):
    recorded = calls(
        f"""
call("mount", b"//server/share", b"nowhere", b"cifs", 0, {SECRETS.encode()!r})
context = call("fsopen", "tmpfs", 0)
call("fsconfig", context, 1, "password", "hunter2", 0)
call("fsconfig", context, 1, "size", "1m", 0)
""",
        options="--keep-secrets" if keep else "",
    )
    rows = recorded.rows("operations", comm="python3")
    data = " ".join(row["data"] for row in rows)
    assert ("hunter2" in data) == keep
    assert "username=me" in data
    assert "size=1m" in data
    files = recorded.run.directory.rglob("*")
    raw = b"".join(file.read_bytes() for file in files if file.is_file())
    assert (b"hunter2" in raw) == keep


def test_a_device_number_that_is_used_again_does_not_keep_the_name_of_its_file_system(
    record, tmp_path: Path
) -> None:
    long = "a-source-that-is-longer-than-what-the-kernel-keeps-of-it"
    script = "for fs in tmpfs ramfs; do mount -t $fs $fs.1 m; grep $PWD/m /proc/self/mountinfo"
    recorded = record(
        f"""{script}; umount m; done
        python3 -c '
import ctypes
for source in (b"", None, b"{long}"):
    ctypes.CDLL(None).mount(source, b"m", b"tmpfs", 0, None)
    print(*[line.rstrip() for line in open("/proc/self/mountinfo") if "{tmp_path}/m" in line])
    ctypes.CDLL(None).umount(b"m")'""",
        before="mkdir m",
    )
    made = recorded.rows("effects", action="attach", mountpoint=f"{tmp_path}/m")
    lines = parse(line for line in recorded.output.splitlines() if f" {tmp_path}/m " in line)
    assert len({line.device for line in lines}) < len(lines)
    told = [(row["device"], row["fstype"], row["source"]) for row in made]
    assert told == [(line.device, line.fstype, line.source) for line in lines]
    assert {row["source"] for row in made} >= {"", "none", long}
