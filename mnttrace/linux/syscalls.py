# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The system calls that make, move, change or enter mounts and mount namespaces: one table.

The probes take from here which tracepoints to attach to and what the BPF programs read of each
argument; the decoder takes from here what an argument means. Numbers are from the kernel's
`arch/x86/entry/syscalls/syscall_{64,32}.tbl` and `include/uapi/asm-generic/unistd.h`; arguments
from `fs/namespace.c`, `fs/fsopen.c`, `fs/open.c`, `kernel/fork.c` and `kernel/nsproxy.c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ArgKind(IntEnum):
    """What an argument is, and so how it is read; bpf/records.h has the same codes."""

    VALUE = 0
    STRING = 1
    PATH = 2  # relative to the working directory
    PATH_AT = 3  # relative to the descriptor in the argument before it
    DESCRIPTOR = 4
    MOUNT_ATTR = 5  # struct mount_attr, its size in the argument after it
    CLONE_ARGS = 6  # struct clone_args, of which the flags are read
    VALUE_BY_COMMAND = 7  # fsconfig's value: what it is depends on the command


class SyscallKind(IntEnum):
    """What a call does to mounts if it succeeds; bpf/records.h has the same codes."""

    NOTHING = 0
    DESCRIPTOR = 1  # returns a descriptor of a file system, a mount or a mount namespace
    MOUNT = 2  # mount(2): what it does is in its flags
    MOVE_MOUNT = 3
    UMOUNT = 4
    PIVOT = 5
    SETATTR = 6
    NAMESPACE = 7  # makes a mount namespace
    REMOVE = 8  # removes or renames a file: what other namespaces mounted there is detached
    RECONFIGURE = 9  # fsconfig: changes a super block, if that is its command


@dataclass(frozen=True)
class Argument:
    """One argument: its name in the kernel's definition, and what it is.

    `meaning` names the flag table in :mod:`mnttrace.linux.flags` that decodes it, or "".
    """

    name: str
    kind: ArgKind = ArgKind.VALUE
    meaning: str = ""


@dataclass(frozen=True)
class Syscall:
    """One traced call.

    Attributes:
        name: as in its manual page.
        tracepoint: X in `syscalls:sys_enter_X`; umount2(2) is defined as `umount` in the kernel.
        numbers: its number by machine, as `os.uname().machine` names it; i386: that of 32-bit
            programs on x86-64.
        arguments: in order.
        kind: what it does to mounts.
        always_recorded: every such call is. Else only those that concern a mount namespace are.
    """

    name: str
    tracepoint: str
    numbers: dict[str, int]
    arguments: tuple[Argument, ...]
    kind: SyscallKind = SyscallKind.NOTHING
    always_recorded: bool = True


# A 32-bit call's number is given as so many more; the same as in bpf/calls.h.
COMPAT_CALLS = 512
_OLDUMOUNT = 22  # umount(2) of 32-bit programs: umount2(2) without flags


def _numbers(x86_64: int, generic: int, i386: int | None = None) -> dict[str, int]:
    """New calls have the same number on all machines."""
    i386 = generic if i386 is None else i386
    return {"x86_64": x86_64, "aarch64": generic, "riscv64": generic, "i386": i386}


_A, _K = Argument, ArgKind
_DFD = _A("dfd", _K.VALUE, "dfd")

SYSCALLS: tuple[Syscall, ...] = (
    Syscall(
        "mount",
        "mount",
        _numbers(165, 40, 21),
        (
            _A("source", _K.PATH),
            _A("target", _K.PATH),
            _A("fstype", _K.STRING),
            _A("flags", _K.VALUE, "mount"),
            _A("data", _K.STRING),
        ),
        kind=SyscallKind.MOUNT,
    ),
    Syscall(
        "umount2",
        "umount",
        _numbers(166, 39, 52),
        (_A("target", _K.PATH), _A("flags", _K.VALUE, "umount")),
        kind=SyscallKind.UMOUNT,
    ),
    Syscall(
        "pivot_root",
        "pivot_root",
        _numbers(155, 41, 217),
        (_A("new_root", _K.PATH), _A("put_old", _K.PATH)),
        kind=SyscallKind.PIVOT,
    ),
    Syscall("chroot", "chroot", _numbers(161, 51, 61), (_A("path", _K.PATH),)),
    Syscall(
        "open_tree",
        "open_tree",
        _numbers(428, 428),
        (_DFD, _A("path", _K.PATH_AT), _A("flags", _K.VALUE, "open_tree")),
        kind=SyscallKind.DESCRIPTOR,
    ),
    Syscall(
        "open_tree_attr",
        "open_tree_attr",
        _numbers(467, 467),
        (
            _DFD,
            _A("path", _K.PATH_AT),
            _A("flags", _K.VALUE, "open_tree"),
            _A("attr", _K.MOUNT_ATTR),
            _A("size"),
        ),
        kind=SyscallKind.DESCRIPTOR,
    ),
    Syscall(
        "move_mount",
        "move_mount",
        _numbers(429, 429),
        (
            _A("from_dfd", _K.VALUE, "dfd"),
            _A("from_path", _K.PATH_AT),
            _A("to_dfd", _K.VALUE, "dfd"),
            _A("to_path", _K.PATH_AT),
            _A("flags", _K.VALUE, "move_mount"),
        ),
        kind=SyscallKind.MOVE_MOUNT,
    ),
    Syscall(
        "fsopen",
        "fsopen",
        _numbers(430, 430),
        (_A("fstype", _K.STRING), _A("flags", _K.VALUE, "fsopen")),
        kind=SyscallKind.DESCRIPTOR,
    ),
    Syscall(
        "fsconfig",
        "fsconfig",
        _numbers(431, 431),
        (
            _A("fd", _K.DESCRIPTOR),
            _A("command", _K.VALUE, "fsconfig"),
            _A("key", _K.STRING),
            _A("value", _K.VALUE_BY_COMMAND),
            _A("aux"),
        ),
        kind=SyscallKind.RECONFIGURE,
    ),
    Syscall(
        "fsmount",
        "fsmount",
        _numbers(432, 432),
        (
            _A("fd", _K.DESCRIPTOR),
            _A("flags", _K.VALUE, "fsmount"),
            _A("attr_flags", _K.VALUE, "mount_attr"),
        ),
        kind=SyscallKind.DESCRIPTOR,
    ),
    Syscall(
        "fspick",
        "fspick",
        _numbers(433, 433),
        (_DFD, _A("path", _K.PATH_AT), _A("flags", _K.VALUE, "fspick")),
        kind=SyscallKind.DESCRIPTOR,
    ),
    Syscall(
        "mount_setattr",
        "mount_setattr",
        _numbers(442, 442),
        (
            _DFD,
            _A("path", _K.PATH_AT),
            _A("flags", _K.VALUE, "at"),
            _A("attr", _K.MOUNT_ATTR),
            _A("size"),
        ),
        kind=SyscallKind.SETATTR,
    ),
    Syscall(
        "setns",
        "setns",
        _numbers(308, 268, 346),
        (_A("fd", _K.DESCRIPTOR), _A("nstype", _K.VALUE, "setns")),
        always_recorded=False,
    ),
    Syscall(
        "unshare",
        "unshare",
        _numbers(272, 97, 310),
        (_A("flags", _K.VALUE, "unshare"),),
        kind=SyscallKind.NAMESPACE,
        always_recorded=False,
    ),
    Syscall(
        "clone",
        "clone",
        _numbers(56, 220, 120),
        (_A("flags", _K.VALUE, "clone"),),
        kind=SyscallKind.NAMESPACE,
        always_recorded=False,
    ),
    Syscall(
        "clone3",
        "clone3",
        _numbers(435, 435),
        (_A("args", _K.CLONE_ARGS), _A("size")),
        kind=SyscallKind.NAMESPACE,
        always_recorded=False,
    ),
)


def _remove(name: str, numbers: dict[str, int]) -> Syscall:
    return Syscall(name, name, numbers, (), kind=SyscallKind.REMOVE, always_recorded=False)


# Calls that are not about mounts and yet detach them, in other namespaces, from the file that they
# remove (detach_mounts() in fs/namespace.c). They are recorded if they did; that is seen when they
# end, so that no program runs when they begin.
REMOVALS: tuple[Syscall, ...] = (
    _remove("rmdir", {"x86_64": 84, "i386": 40}),
    _remove("unlink", {"x86_64": 87, "i386": 10}),
    _remove("unlinkat", _numbers(263, 35, 301)),
    _remove("rename", {"x86_64": 82, "i386": 38}),
    _remove("renameat", {"x86_64": 264, "aarch64": 38, "i386": 302}),
    _remove("renameat2", _numbers(316, 276, 353)),
)

BY_NAME: dict[str, Syscall] = {call.name: call for call in SYSCALLS}


def by_number(machine: str) -> dict[int, Syscall]:
    """The traced calls by their number on a machine (`os.uname().machine`); {} if unknown."""
    calls = (*SYSCALLS, *REMOVALS)
    return {call.numbers[machine]: call for call in calls if machine in call.numbers}


def by_compat_number(machine: str) -> dict[int, Syscall]:
    """The calls of 32-bit programs that can be traced on a machine, by :data:`COMPAT_CALLS` more
    than their numbers; {} if it has none, or they are unknown."""
    if machine != "x86_64":
        return {}
    calls = (*SYSCALLS, *REMOVALS)
    found = {COMPAT_CALLS + call.numbers["i386"]: call for call in calls}
    return found | {COMPAT_CALLS + _OLDUMOUNT: BY_NAME["umount2"]}
