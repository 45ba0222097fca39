# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the arguments of a call mean: source and target, flags, data without secrets."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

from mnttrace.capture.stream.secrets import REDACTED, is_secret, redact
from mnttrace.linux import flags
from mnttrace.linux.syscalls import ArgKind, Syscall
from mnttrace.probes.records import ARGUMENT_CHROOT, BASE_PROC_FD, PathRecord

STRINGS = {ArgKind.STRING, ArgKind.PATH, ArgKind.PATH_AT, ArgKind.VALUE_BY_COMMAND}
# The arguments that are an operation's source and target, by call.
_SOURCE = {"mount": 0, "pivot_root": 1, "move_mount": 1}
_TARGET = {
    "mount": 1,
    "umount2": 0,
    "pivot_root": 0,
    "chroot": 0,
    "open_tree": 1,
    "open_tree_attr": 1,
    "move_mount": 3,
    "fspick": 1,
    "mount_setattr": 1,
}
_FSTYPE = {"mount": 2, "fsopen": 0}
# The argument that is the operation's flags, by call; fsconfig's is its command.
_FLAGS = {
    "umount2": 1,
    "open_tree": 2,
    "open_tree_attr": 2,
    "move_mount": 4,
    "fsopen": 1,
    "fsconfig": 1,
    "fsmount": 1,
    "fspick": 2,
    "mount_setattr": 2,
    "setns": 1,
    "unshare": 0,
    "clone": 0,
}
_WITH_ATTRIBUTES = frozenset({"fsmount", "mount_setattr", "open_tree_attr"})
_OWN_ROOT = ("/proc/self/root", "/proc/thread-self/root")
_TEXTS_KEPT = 1 << 12  # of each kind: the same flags come again and again


class Base(NamedTuple):
    """Where a path begins: what the kernel sent of that, and its path from the namespace's root."""

    record: PathRecord
    path: str


# Argument → where it begins, if it is relative or a descriptor; ARGUMENT_CHROOT → where absolute
# paths do, in a chroot.
Bases = dict[int, Base]
Strings = dict[int, str]  # argument → its text


class Flags(NamedTuple):
    """The flags of a call.

    Attributes:
        value: as a number; 0 of a call without any.
        text: by name.
        propagation: the propagation type that is asked for, "" for none.
        attributes: those of mounts that are set (+) and cleared (-).
    """

    value: int = 0
    text: str = ""
    propagation: str = ""
    attributes: str = ""


def root_of(bases: Bases) -> str | None:
    """The caller's root directory, from the root of its namespace; None if it lies in none."""
    base = bases.get(ARGUMENT_CHROOT)
    if base is None:
        return "/"
    return base.path if base.record.mntns else None


def source_of(
    call: Syscall, values: tuple[int, ...], strings: Strings, bases: Bases
) -> tuple[str, str]:
    """The source, as given, and as a path from the root of the namespace, if it is one."""
    index = _SOURCE.get(call.name, -1)
    text = strings.get(index, "")
    if call.name == "mount" and flags.mount_action(values[3]) not in ("bind", "move"):
        return text, text
    return text, _resolve(text, bases.get(index), root_of(bases))


def source_mount_of(call: Syscall, strings: Strings, bases: Bases) -> int:
    """The mount that the source of mount(2) begins at, if it is no more than that: a descriptor, or
    a working directory; 0 where it would take a path lookup to know it."""
    if call.name != "mount" or 0 not in bases:
        return 0
    return _leads_to(strings.get(0, ""), bases[0], None) or 0


def target_of(
    call: Syscall, strings: Strings, bases: Bases, root: int | None
) -> tuple[str, str, int | None]:
    """The target, as given, as a path from the root of the namespace, and the mount that it leads
    to.

    Args:
        call: the call.
        strings: its arguments that are text.
        bases: where these begin.
        root: unique id of the mount that is the caller's root directory, None in a chroot.

    Returns:
        Without the mount where it would take a path lookup to know it.
    """
    index = _TARGET.get(call.name, -1)
    text, base = strings.get(index, ""), bases.get(index)
    return text, _resolve(text, base, root_of(bases)), _leads_to(text, base, root)


def fstype_of(call: Syscall, strings: Strings) -> str:
    """The file system type, "" for none."""
    return strings.get(_FSTYPE.get(call.name, -1), "")


def data_of(call: Syscall, strings: Strings, keep_secrets: bool) -> str:
    """The mount data, or an option of fsconfig(2)."""
    if call.name == "mount":
        data = strings.get(4, "")
        return data if keep_secrets else redact(data)
    if call.name == "fsconfig" and 2 in strings:
        key, value = strings[2], strings.get(3, "")
        if value and is_secret(key) and not keep_secrets:
            value = REDACTED
        return f"{key}={value}" if value else key
    return ""


def flags_of(call: Syscall, values: tuple[int, ...], attr: tuple[int, ...]) -> Flags:
    """The flags of a call, by its arguments and the struct that one of them leads to."""
    if call.name == "mount":
        return _mount_flags(values[3])
    if call.name == "clone3":
        return Flags(attr[0], _flag_words("clone3", attr[0]))
    index = _FLAGS.get(call.name)
    if index is None:
        return Flags()
    value, meaning = values[index], call.arguments[index].meaning
    if call.name not in _WITH_ATTRIBUTES:
        return _plain_flags(meaning, value)
    text = _flag_words(meaning, value)
    if call.name == "fsmount":
        return Flags(value, text, "", _attributes(values[2], 0))
    set_, clear, asked = attr[:3]
    return Flags(value, text, flags.propagation(asked), _attributes(set_, clear))


def _resolve(text: str, base: Base | None, root: str | None) -> str:
    """The path from the root of the namespace that a text stands for, which a process gave whose
    root directory is `root`."""
    root = root or "/"
    if base is not None and base.record.base == BASE_PROC_FD:
        text = _after_descriptor(text)
    elif text.startswith("/"):
        return _within(root, _in_own_root(text))
    if base is None or not text:
        return base.path if base else text
    if root != "/" and f"{base.path}/".startswith(f"{root}/"):
        return _within(root, f"{base.path[len(root) :]}/{text}")
    return os.path.normpath(os.path.join(base.path, text.lstrip("/")))


def _leads_to(text: str, base: Base | None, root: int | None) -> int | None:
    if base is None:
        is_root = bool(text) and not _in_own_root(text).strip("/")
        return root if is_root else None
    rest = _after_descriptor(text) if base.record.base == BASE_PROC_FD else text
    is_base = rest.strip("./") == "" and ".." not in rest
    return base.record.mount_unique or None if is_base else None


def _in_own_root(path: str) -> str:
    """An absolute path without what leads but to the process's own root directory."""
    for link in _OWN_ROOT:
        if path == link or path.startswith(f"{link}/"):
            return path[len(link) :] or "/"
    return path


def _within(root: str, path: str) -> str:
    """A path from a process's root directory on, as it is outside: `..` does not lead out."""
    inside = os.path.normpath(f"/{path.lstrip('/')}")
    return inside if root == "/" else f"{root}{inside}".rstrip("/")


def _after_descriptor(text: str) -> str:
    """What follows /proc/self/fd/N/ in a path."""
    return text.partition("/fd/")[2].partition("/")[2]


@lru_cache(_TEXTS_KEPT)
def _plain_flags(meaning: str, value: int) -> Flags:
    return Flags(value, _flag_words(meaning, value))


@lru_cache(_TEXTS_KEPT)
def _mount_flags(value: int) -> Flags:
    propagation, rest = flags.split_mount_flags(value)
    return Flags(value, rest, propagation)


@lru_cache(_TEXTS_KEPT)
def _flag_words(meaning: str, value: int) -> str:
    return flags.DECODERS[meaning](value)


def _attributes(set_: int, clear: int) -> str:
    signed = (("+", flags.mount_attr(set_)), ("-", flags.mount_attr(clear)))
    return " ".join(sign + text for sign, text in signed if text)
