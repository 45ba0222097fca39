# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts, copies, moves and changes mounts by each call that there is for it, in /srv. What a
kernel does not have fails, and nothing depends on it but what follows at the same place."""

import ctypes
import os
import struct

import calls

AT_FDCWD, AT_RECURSIVE = -100, 0x8000
OPEN_TREE_CLONE = 1
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_BENEATH = 4, 0x200
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6
MOUNT_ATTR_RDONLY = 1
NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "mount_setattr": 442,
}


def call(name, *given):
    arguments = [
        ctypes.c_long(value) if isinstance(value, int) else value and value.encode()
        for value in given
    ]
    return calls.libc.syscall(ctypes.c_long(NUMBERS[name]), *arguments)


def made(source):
    """A descriptor of a tmpfs that is mounted nowhere."""
    context = call("fsopen", "tmpfs", 0)
    call("fsconfig", context, FSCONFIG_SET_STRING, "source", source, 0)
    call("fsconfig", context, FSCONFIG_CMD_CREATE, None, None, 0)
    mount = call("fsmount", context, 0, 0)
    os.close(context)
    return mount


def attach(descriptor, path, flags=0):
    call("move_mount", descriptor, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH | flags)
    os.close(descriptor)


def set_attributes(path, flags, attributes=0, propagation=0):
    setting = struct.pack("QQQQ", attributes, 0, propagation, 0)
    buffer = ctypes.create_string_buffer(setting, len(setting))
    number = ctypes.c_long(NUMBERS["mount_setattr"])
    words = map(ctypes.c_long, (AT_FDCWD, flags, len(setting)))
    at, how, size = words
    calls.libc.syscall(number, at, path.encode(), how, buffer, size)


attach(made("made-1"), "shared/made")
attach(call("open_tree", AT_FDCWD, "shared/made", OPEN_TREE_CLONE), "shared/copied")
calls.mount("moved-1", "own/a", "tmpfs")
call("move_mount", AT_FDCWD, "own/a", AT_FDCWD, "own/b", 0)
calls.mount("own/b", "shared/moved", flags=calls.MS_MOVE)
calls.mount("top-1", "shared/top", "tmpfs")
attach(made("under-1"), "shared/top", MOVE_MOUNT_BENEATH)
set_attributes("shared/copied", 0, attributes=MOUNT_ATTR_RDONLY)
set_attributes("own", AT_RECURSIVE, propagation=calls.MS_SHARED)
