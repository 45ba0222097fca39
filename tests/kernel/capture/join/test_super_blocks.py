# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Remounts of a super block: all mounts of the file system change, wherever they are."""

from __future__ import annotations

import pytest

RECONFIGURE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
context = libc.syscall(433, -100, b"one", 0)  # fspick
assert context >= 0, os.strerror(ctypes.get_errno())
assert libc.syscall(431, context, 0, b"ro", None, 0) == 0  # FSCONFIG_SET_FLAG
assert libc.syscall(431, context, 7, None, None, 0) == 0  # FSCONFIG_CMD_RECONFIGURE
"""
BEFORE = """
mkdir one two; mount -t tmpfs first one; mount --bind one two; mkfifo end
unshare -m --propagation private sh -c 'touch ready; read end <end' &
until [ -e ready ]; do sleep 0.02; done
"""


@pytest.mark.parametrize(
    ("remount", "call"),
    [
        ("mount -o remount,ro one", "mount"),
        (f"python3 -c '{RECONFIGURE}'", "fsconfig"),
    ],
)
def test_a_remount_is_told_of_every_mount_of_the_file_system(
    record, remount: str, call: str
) -> None:
    recorded = record(remount, before=BEFORE, after="echo end >end; cat /proc/self/mountinfo >now")
    lines = [line for line in recorded.table("now") if line.source == "first"]
    assert {line.super_options.split(",")[0] for line in lines} == {"ro"}
    effects = recorded.frame("effects").query("source == 'first' and via == 'super-block'")
    calls = recorded.frame("operations").set_index("seq")["syscall"]
    assert set(effects["seq"].map(calls)) == {call}
    assert set(zip(effects["before"], effects["after"], effects["evidence"], strict=True)) == {
        ("rw", "ro", "kernel")
    }
    # In the namespace of the call and in the other one.
    names = sorted(effects["mountpoint"].str.rpartition("/")[2])
    assert names == [*["one"] * 2, *["two"] * 2]
    assert effects["ns_id"].nunique() == 2
