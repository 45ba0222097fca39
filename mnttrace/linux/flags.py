# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The numbers in arguments and results of the mount system calls, as the names the kernel gives.

Tables map a name to its bit; the functions below them decode one argument each. The sources are
the kernel's `include/uapi/linux/{mount,fcntl,sched}.h` and, for umount2(2), `include/linux/fs.h`.
Nothing here depends on the machine it runs on: a recording made elsewhere is decoded alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

MS_MGC_VAL = 0xC0ED0000  # before Linux 2.4 the upper half of the flags had to be this
MS_MGC_MSK = 0xFFFF0000

# How a mount passes events on: mount(2) and mount_attr.propagation of mount_setattr(2).
PROPAGATION: Mapping[str, int] = {
    "MS_UNBINDABLE": 1 << 17,
    "MS_PRIVATE": 1 << 18,
    "MS_SLAVE": 1 << 19,
    "MS_SHARED": 1 << 20,
}

# mount(2), without the propagation types. MS_VERBOSE is the older name of MS_SILENT.
MOUNT: Mapping[str, int] = {
    "MS_RDONLY": 1,
    "MS_NOSUID": 2,
    "MS_NODEV": 4,
    "MS_NOEXEC": 8,
    "MS_SYNCHRONOUS": 16,
    "MS_REMOUNT": 32,
    "MS_MANDLOCK": 64,
    "MS_DIRSYNC": 128,
    "MS_NOSYMFOLLOW": 256,
    "MS_NOATIME": 1024,
    "MS_NODIRATIME": 2048,
    "MS_BIND": 4096,
    "MS_MOVE": 8192,
    "MS_REC": 16384,
    "MS_SILENT": 32768,
    "MS_POSIXACL": 1 << 16,
    "MS_RELATIME": 1 << 21,
    "MS_KERNMOUNT": 1 << 22,
    "MS_I_VERSION": 1 << 23,
    "MS_STRICTATIME": 1 << 24,
    "MS_LAZYTIME": 1 << 25,
    # Internal to the kernel, which masks them out of what a caller gives.
    "MS_SUBMOUNT": 1 << 26,
    "MS_NOREMOTELOCK": 1 << 27,
    "MS_NOSEC": 1 << 28,
    "MS_BORN": 1 << 29,
    "MS_ACTIVE": 1 << 30,
    "MS_NOUSER": 1 << 31,
}

UMOUNT: Mapping[str, int] = {
    "MNT_FORCE": 1,
    "MNT_DETACH": 2,
    "MNT_EXPIRE": 4,
    "UMOUNT_NOFOLLOW": 8,
}

# The AT_* flags that open_tree(2), open_tree_attr(2) and mount_setattr(2) take.
AT: Mapping[str, int] = {
    "AT_SYMLINK_NOFOLLOW": 0x100,
    "AT_NO_AUTOMOUNT": 0x800,
    "AT_EMPTY_PATH": 0x1000,
    "AT_RECURSIVE": 0x8000,
}

OPEN_TREE: Mapping[str, int] = {
    "OPEN_TREE_CLONE": 1,
    "OPEN_TREE_NAMESPACE": 2,
    "OPEN_TREE_CLOEXEC": 0o2000000,  # O_CLOEXEC of asm-generic/fcntl.h
    **AT,
}

MOVE_MOUNT: Mapping[str, int] = {
    "MOVE_MOUNT_F_SYMLINKS": 0x1,
    "MOVE_MOUNT_F_AUTOMOUNTS": 0x2,
    "MOVE_MOUNT_F_EMPTY_PATH": 0x4,
    "MOVE_MOUNT_T_SYMLINKS": 0x10,
    "MOVE_MOUNT_T_AUTOMOUNTS": 0x20,
    "MOVE_MOUNT_T_EMPTY_PATH": 0x40,
    "MOVE_MOUNT_SET_GROUP": 0x100,
    "MOVE_MOUNT_BENEATH": 0x200,
}

FSOPEN: Mapping[str, int] = {"FSOPEN_CLOEXEC": 1}

FSMOUNT: Mapping[str, int] = {"FSMOUNT_CLOEXEC": 1, "FSMOUNT_NAMESPACE": 2}

FSPICK: Mapping[str, int] = {
    "FSPICK_CLOEXEC": 1,
    "FSPICK_SYMLINK_NOFOLLOW": 2,
    "FSPICK_NO_AUTOMOUNT": 4,
    "FSPICK_EMPTY_PATH": 8,
}

FSCONFIG_COMMANDS: tuple[str, ...] = (
    "FSCONFIG_SET_FLAG",
    "FSCONFIG_SET_STRING",
    "FSCONFIG_SET_BINARY",
    "FSCONFIG_SET_PATH",
    "FSCONFIG_SET_PATH_EMPTY",
    "FSCONFIG_SET_FD",
    "FSCONFIG_CMD_CREATE",
    "FSCONFIG_CMD_RECONFIGURE",
    "FSCONFIG_CMD_CREATE_EXCL",
)

MOUNT_ATTR: Mapping[str, int] = {
    "MOUNT_ATTR_RDONLY": 0x1,
    "MOUNT_ATTR_NOSUID": 0x2,
    "MOUNT_ATTR_NODEV": 0x4,
    "MOUNT_ATTR_NOEXEC": 0x8,
    "MOUNT_ATTR_NODIRATIME": 0x80,
    "MOUNT_ATTR_IDMAP": 0x100000,
    "MOUNT_ATTR_NOSYMFOLLOW": 0x200000,
}

# One field of mount_attr, not bits: the whole of it is given in attr_clr, one value in attr_set.
MOUNT_ATTR_ATIME_MASK = 0x70
MOUNT_ATTR_ATIME: Mapping[str, int] = {
    "MOUNT_ATTR_RELATIME": 0x00,
    "MOUNT_ATTR_NOATIME": 0x10,
    "MOUNT_ATTR_STRICTATIME": 0x20,
    "MOUNT_ATTR__ATIME": MOUNT_ATTR_ATIME_MASK,
}

CLONE_NEWNS = 0x00020000

# The namespaces that setns(2) and unshare(2) name by the same bits as clone(2).
NAMESPACES: Mapping[str, int] = {
    "CLONE_NEWTIME": 0x00000080,
    "CLONE_NEWNS": CLONE_NEWNS,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}

CLONE: Mapping[str, int] = {
    **NAMESPACES,
    "CLONE_VM": 0x00000100,
    "CLONE_FS": 0x00000200,
    "CLONE_FILES": 0x00000400,
    "CLONE_SIGHAND": 0x00000800,
    "CLONE_PIDFD": 0x00001000,
    "CLONE_PTRACE": 0x00002000,
    "CLONE_VFORK": 0x00004000,
    "CLONE_PARENT": 0x00008000,
    "CLONE_THREAD": 0x00010000,
    "CLONE_SYSVSEM": 0x00040000,
    "CLONE_SETTLS": 0x00080000,
    "CLONE_PARENT_SETTID": 0x00100000,
    "CLONE_CHILD_CLEARTID": 0x00200000,
    "CLONE_DETACHED": 0x00400000,
    "CLONE_UNTRACED": 0x00800000,
    "CLONE_CHILD_SETTID": 0x01000000,
    "CLONE_IO": 0x80000000,
    "CLONE_CLEAR_SIGHAND": 1 << 32,
    "CLONE_INTO_CGROUP": 1 << 33,
    "CLONE_AUTOREAP": 1 << 34,
    "CLONE_NNP": 1 << 35,
    "CLONE_PIDFD_AUTOKILL": 1 << 36,
    "CLONE_EMPTY_MNTNS": 1 << 37,
}

# UNSHARE_EMPTY_MNTNS has the bit that is CLONE_PARENT_SETTID in clone(2).
UNSHARE: Mapping[str, int] = {
    **NAMESPACES,
    "CLONE_VM": CLONE["CLONE_VM"],
    "CLONE_FS": CLONE["CLONE_FS"],
    "CLONE_FILES": CLONE["CLONE_FILES"],
    "CLONE_SIGHAND": CLONE["CLONE_SIGHAND"],
    "CLONE_THREAD": CLONE["CLONE_THREAD"],
    "CLONE_SYSVSEM": CLONE["CLONE_SYSVSEM"],
    "UNSHARE_EMPTY_MNTNS": 0x00100000,
}

# The exit signals that clone(2) can be given and that have a name of their own (asm-generic).
_SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP "
    "TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)


def decode(table: Mapping[str, int], value: int) -> str:
    """The names of the bits in `value`, as `MS_BIND|MS_REC`, in the order of the table.

    Bits that the table lacks stay visible as one trailing hexadecimal number; 0 is "".
    """
    value &= 0xFFFFFFFFFFFFFFFF  # of a number that was read as a signed one
    names = [name for name, bit in table.items() if value & bit]
    for bit in table.values():
        value &= ~bit
    if value:
        names.append(hex(value))
    return "|".join(names)


def _join(*parts: str) -> str:
    return "|".join(part for part in parts if part)


def _without_magic(flags: int) -> tuple[str, int]:
    """The magic number where there is one, and the flags that the kernel looks at without it."""
    if flags & MS_MGC_MSK == MS_MGC_VAL:
        return "MS_MGC_VAL", flags & ~MS_MGC_MSK
    return "", flags


def mount_flags(value: int) -> str:
    """The flags of mount(2), propagation types among them.

    With the old magic number in the upper half the kernel ignores that half (path_mount() in
    fs/namespace.c), so nothing but `MS_MGC_VAL` is read from it.
    """
    magic, flags = _without_magic(value)
    return _join(magic, decode({**MOUNT, **PROPAGATION}, flags))


def split_mount_flags(value: int) -> tuple[str, str]:
    """The propagation type that the flags of mount(2) ask for, and all other flags.

    Returns ("shared", "MS_REC") for MS_SHARED|MS_REC; the type is "" where none is asked for,
    and "slave|shared" where several are, which the kernel refuses.
    """
    magic, flags = _without_magic(value)
    bits = sum(PROPAGATION.values())
    return propagation(flags & bits), _join(magic, decode(MOUNT, flags & ~bits))


def propagation(value: int) -> str:
    """A propagation type in the words of mount_namespaces(7): "shared", "slave", ... or "".

    For mount_attr.propagation of mount_setattr(2) and the mnt_propagation of statmount(2).
    """
    return decode({name[3:].lower(): bit for name, bit in PROPAGATION.items()}, value)


@lru_cache(1024)
@lru_cache(1024)
def mount_action(value: int) -> str:
    """What mount(2) does when it is given these flags.

    One of "reconfigure" (MS_REMOUNT|MS_BIND: the mount alone), "remount", "bind", "propagation",
    "move" and "new", in the order in which path_mount() in fs/namespace.c looks for them: the
    flags of a later kind are ignored, so MS_BIND|MS_SHARED makes a bind mount and nothing shared.
    """
    _, flags = _without_magic(value)
    if flags & MOUNT["MS_REMOUNT"]:
        return "reconfigure" if flags & MOUNT["MS_BIND"] else "remount"
    if flags & MOUNT["MS_BIND"]:
        return "bind"
    if flags & sum(PROPAGATION.values()):
        return "propagation"
    return "move" if flags & MOUNT["MS_MOVE"] else "new"


def umount_flags(value: int) -> str:
    """The flags of umount2(2)."""
    return decode(UMOUNT, value)


def open_tree_flags(value: int) -> str:
    """The flags of open_tree(2) and open_tree_attr(2)."""
    return decode(OPEN_TREE, value)


def move_mount_flags(value: int) -> str:
    """The flags of move_mount(2)."""
    return decode(MOVE_MOUNT, value)


def fsopen_flags(value: int) -> str:
    """The flags of fsopen(2)."""
    return decode(FSOPEN, value)


def fsmount_flags(value: int) -> str:
    """The flags of fsmount(2); its attributes are :func:`mount_attr`."""
    return decode(FSMOUNT, value)


def fspick_flags(value: int) -> str:
    """The flags of fspick(2)."""
    return decode(FSPICK, value)


def at_flags(value: int) -> str:
    """The flags of mount_setattr(2)."""
    return decode(AT, value)


def fsconfig_command(value: int) -> str:
    """The command of fsconfig(2); one that is not known is a hexadecimal number."""
    known = 0 <= value < len(FSCONFIG_COMMANDS)
    return FSCONFIG_COMMANDS[value] if known else hex(value & 0xFFFFFFFF)


def mount_attr(value: int) -> str:
    """Attributes of a mount: attr_set or attr_clr of mount_setattr(2), attr_flags of fsmount(2).

    MOUNT_ATTR_RELATIME is 0 and so is not named.
    """
    atime = value & MOUNT_ATTR_ATIME_MASK
    names = [name for name, number in MOUNT_ATTR_ATIME.items() if number and number == atime]
    rest = value & ~MOUNT_ATTR_ATIME_MASK if names else value
    return _join(*names, decode(MOUNT_ATTR, rest))


def clone_flags(value: int) -> str:
    """The flags of clone(2), then the signal that the parent gets at the child's end.

    The signal is the low byte of the argument (CSIGNAL). No signal has the number 0x80, which is
    CLONE_NEWTIME in clone3(2).
    """
    number = value & 0x7F
    names = dict(enumerate(_SIGNALS.split(), 1))
    signal = f"SIG{names.get(number, number)}" if number else ""
    return _join(decode(CLONE, value & ~0x7F), signal)


def clone3_flags(value: int) -> str:
    """The flags in the struct clone_args of clone3(2)."""
    return decode(CLONE, value)


def unshare_flags(value: int) -> str:
    """The flags of unshare(2)."""
    return decode(UNSHARE, value)


def namespace_types(value: int) -> str:
    """The nstype of setns(2): one namespace, or several when its descriptor is a pidfd; 0 is ""."""
    return decode(NAMESPACES, value)


def directory_descriptor(value: int) -> str:
    """A directory's descriptor, "AT_FDCWD" for the working directory."""
    number = value & 0xFFFFFFFF  # the kernel takes an int, the tracer sees 64 bits
    number -= (number & 0x80000000) << 1
    return "AT_FDCWD" if number == -100 else str(number)


@lru_cache(1024)
def flags_value(flags: str, propagation: str = "") -> int:
    """The number that flags by name stand for: those of a row of the table `operations`.

    Args:
        flags: as the functions above make it, of any of the calls.
        propagation: the propagation type that mount(2) was asked for, as of
            :func:`split_mount_flags`; "" for other calls.
    """
    value = 0
    for name in filter(None, flags.split("|")):
        value |= int(name, 16) if name.startswith("0x") else _VALUES.get(name, 0)
    for name in filter(None, propagation.split("|")):
        value |= PROPAGATION.get(f"MS_{name.upper()}", 0)
    return value


def attributes_values(attributes: str) -> tuple[int, int]:
    """The attributes of mounts that a call sets and clears, as numbers.

    Args:
        attributes: as in the table `operations`, like "+MOUNT_ATTR_RDONLY -MOUNT_ATTR_NOEXEC".
    """
    numbers = {"+": 0, "-": 0}
    for part in attributes.split():
        for name in part[1:].split("|"):
            value = int(name, 16) if name.startswith("0x") else _ATTRIBUTES.get(name, 0)
            numbers[part[0]] |= value
    return numbers["+"], numbers["-"]


_ATTRIBUTES: Mapping[str, int] = {**MOUNT_ATTR, **MOUNT_ATTR_ATIME}

# Every name of a flag; no name stands for different numbers in different calls.
_VALUES: Mapping[str, int] = {
    "MS_MGC_VAL": MS_MGC_VAL,
    **MOUNT,
    **PROPAGATION,
    **UMOUNT,
    **OPEN_TREE,
    **MOVE_MOUNT,
    **FSOPEN,
    **FSMOUNT,
    **FSPICK,
    **{name: number for number, name in enumerate(FSCONFIG_COMMANDS)},
    **CLONE,
    **UNSHARE,
    **{f"SIG{name}": number for number, name in enumerate(_SIGNALS.split(), 1)},
    **{f"SIG{number}": number for number in range(32, 128)},
}

# How an argument is decoded, by the `meaning` that mnttrace.linux.syscalls gives it.
DECODERS: Mapping[str, Callable[[int], str]] = {
    "mount": mount_flags,
    "umount": umount_flags,
    "open_tree": open_tree_flags,
    "move_mount": move_mount_flags,
    "fsopen": fsopen_flags,
    "fsconfig": fsconfig_command,
    "fsmount": fsmount_flags,
    "fspick": fspick_flags,
    "mount_attr": mount_attr,
    "at": at_flags,
    "propagation": propagation,
    "clone": clone_flags,
    "clone3": clone3_flags,
    "unshare": unshare_flags,
    "setns": namespace_types,
    "dfd": directory_descriptor,
}
