"""The system calls that make, move, change or enter mounts and mount namespaces: one table.

The capture reads from here which tracepoints to attach and how each argument is fetched inside
the kernel; the decoder reads from here what an argument means. Numbers are from the kernel's
`arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`; arguments from
`fs/namespace.c`, `fs/fsopen.c`, `fs/open.c`, `kernel/fork.c` and `kernel/nsproxy.c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Fetch(IntEnum):
    """How the value of an argument is fetched in the kernel; bpf/records.h has the same codes."""

    VALUE = 0
    STRING = 1
    PATH = 2  # relative to the working directory
    PATH_AT = 3  # relative to the descriptor in the argument before it
    DESCRIPTOR = 4
    MOUNT_ATTR = 5  # struct mount_attr, its size in the argument after it
    CLONE_ARGS = 6  # struct clone_args, of which the flags are read
    VALUE_BY_COMMAND = 7  # fsconfig's value: what it is depends on the command


class Does(IntEnum):
    """What a call that succeeds does; bpf/records.h has the same codes."""

    NOTHING = 0
    DESCRIPTOR = 1  # its result is a descriptor to follow
    MOUNT = 2  # mount(2): what, its flags say
    MOVE_MOUNT = 3
    UMOUNT = 4
    PIVOT = 5
    SETATTR = 6
    NAMESPACE = 7  # makes a mount namespace
    REMOVE = 8  # removes or renames: what is mounted there in other namespaces goes
    RECONFIGURE = 9  # fsconfig: changes a super block, if that is its command


@dataclass(frozen=True)
class Argument:
    """One argument: its name in the kernel's definition, and how it is fetched.

    `meaning` names the flag table in :mod:`mnttrace.linux.flags` that decodes it, or "".
    """

    name: str
    fetch: Fetch = Fetch.VALUE
    meaning: str = ""


@dataclass(frozen=True)
class Syscall:
    """One traced call.

    Attributes:
        name: as in its manual page.
        tracepoint: X in `syscalls:sys_enter_X`; umount2(2) is defined as `umount` in the kernel.
        numbers: its number by machine, as `os.uname().machine` names it.
        arguments: in order.
        does: what it does when it succeeds.
        always: every call is an operation. Else only those that concern a mount namespace are.
    """

    name: str
    tracepoint: str
    numbers: dict[str, int]
    arguments: tuple[Argument, ...]
    does: Does = Does.NOTHING
    always: bool = True


def _numbers(x86_64: int, generic: int) -> dict[str, int]:
    return {"x86_64": x86_64, "aarch64": generic, "riscv64": generic}


_A, _F = Argument, Fetch
_DFD = _A("dfd", _F.VALUE, "dfd")

SYSCALLS: tuple[Syscall, ...] = (
    Syscall(
        "mount",
        "mount",
        _numbers(165, 40),
        (
            _A("source", _F.PATH),
            _A("target", _F.PATH),
            _A("fstype", _F.STRING),
            _A("flags", _F.VALUE, "mount"),
            _A("data", _F.STRING),
        ),
        does=Does.MOUNT,
    ),
    Syscall(
        "umount2",
        "umount",
        _numbers(166, 39),
        (_A("target", _F.PATH), _A("flags", _F.VALUE, "umount")),
        does=Does.UMOUNT,
    ),
    Syscall(
        "pivot_root",
        "pivot_root",
        _numbers(155, 41),
        (_A("new_root", _F.PATH), _A("put_old", _F.PATH)),
        does=Does.PIVOT,
    ),
    Syscall("chroot", "chroot", _numbers(161, 51), (_A("path", _F.PATH),)),
    Syscall(
        "open_tree",
        "open_tree",
        _numbers(428, 428),
        (_DFD, _A("path", _F.PATH_AT), _A("flags", _F.VALUE, "open_tree")),
        does=Does.DESCRIPTOR,
    ),
    Syscall(
        "open_tree_attr",
        "open_tree_attr",
        _numbers(467, 467),
        (
            _DFD,
            _A("path", _F.PATH_AT),
            _A("flags", _F.VALUE, "open_tree"),
            _A("attr", _F.MOUNT_ATTR),
            _A("size"),
        ),
        does=Does.DESCRIPTOR,
    ),
    Syscall(
        "move_mount",
        "move_mount",
        _numbers(429, 429),
        (
            _A("from_dfd", _F.VALUE, "dfd"),
            _A("from_path", _F.PATH_AT),
            _A("to_dfd", _F.VALUE, "dfd"),
            _A("to_path", _F.PATH_AT),
            _A("flags", _F.VALUE, "move_mount"),
        ),
        does=Does.MOVE_MOUNT,
    ),
    Syscall(
        "fsopen",
        "fsopen",
        _numbers(430, 430),
        (_A("fstype", _F.STRING), _A("flags", _F.VALUE, "fsopen")),
        does=Does.DESCRIPTOR,
    ),
    Syscall(
        "fsconfig",
        "fsconfig",
        _numbers(431, 431),
        (
            _A("fd", _F.DESCRIPTOR),
            _A("command", _F.VALUE, "fsconfig"),
            _A("key", _F.STRING),
            _A("value", _F.VALUE_BY_COMMAND),
            _A("aux"),
        ),
        does=Does.RECONFIGURE,
    ),
    Syscall(
        "fsmount",
        "fsmount",
        _numbers(432, 432),
        (
            _A("fd", _F.DESCRIPTOR),
            _A("flags", _F.VALUE, "fsmount"),
            _A("attr_flags", _F.VALUE, "mount_attr"),
        ),
        does=Does.DESCRIPTOR,
    ),
    Syscall(
        "fspick",
        "fspick",
        _numbers(433, 433),
        (_DFD, _A("path", _F.PATH_AT), _A("flags", _F.VALUE, "fspick")),
        does=Does.DESCRIPTOR,
    ),
    Syscall(
        "mount_setattr",
        "mount_setattr",
        _numbers(442, 442),
        (
            _DFD,
            _A("path", _F.PATH_AT),
            _A("flags", _F.VALUE, "at"),
            _A("attr", _F.MOUNT_ATTR),
            _A("size"),
        ),
        does=Does.SETATTR,
    ),
    Syscall(
        "setns",
        "setns",
        _numbers(308, 268),
        (_A("fd", _F.DESCRIPTOR), _A("nstype", _F.VALUE, "setns")),
        always=False,
    ),
    Syscall(
        "unshare",
        "unshare",
        _numbers(272, 97),
        (_A("flags", _F.VALUE, "unshare"),),
        does=Does.NAMESPACE,
        always=False,
    ),
    Syscall(
        "clone",
        "clone",
        _numbers(56, 220),
        (_A("flags", _F.VALUE, "clone"),),
        does=Does.NAMESPACE,
        always=False,
    ),
    Syscall(
        "clone3",
        "clone3",
        _numbers(435, 435),
        (_A("args", _F.CLONE_ARGS), _A("size")),
        does=Does.NAMESPACE,
        always=False,
    ),
)


def _remove(name: str, numbers: dict[str, int]) -> Syscall:
    return Syscall(name, name, numbers, (), does=Does.REMOVE, always=False)


# Calls that detach mounts without being about mounts (detach_mounts() in fs/namespace.c): they are
# operations where they did. Only their end is looked at, so that they cost others little.
REMOVALS: tuple[Syscall, ...] = (
    _remove("rmdir", {"x86_64": 84}),
    _remove("unlink", {"x86_64": 87}),
    _remove("unlinkat", _numbers(263, 35)),
    _remove("rename", {"x86_64": 82}),
    _remove("renameat", {"x86_64": 264, "aarch64": 38}),
    _remove("renameat2", _numbers(316, 276)),
)

BY_NAME: dict[str, Syscall] = {call.name: call for call in SYSCALLS}


def by_number(machine: str) -> dict[int, Syscall]:
    """The traced calls by their number on a machine (`os.uname().machine`); {} if unknown."""
    calls = (*SYSCALLS, *REMOVALS)
    return {call.numbers[machine]: call for call in calls if machine in call.numbers}
