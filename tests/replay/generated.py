# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Events of any kind, as their types allow them: what a field may hold is drawn from a few values,
so that ids collide, parents are in circles and lists are cut anywhere.

Each event is made of a number, so that hypothesis draws one number where there are a hundred
fields: what fails becomes short by leaving events out.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from enum import IntEnum
from random import Random
from typing import Any

import msgspec
from hypothesis import strategies as st

from mnttrace.capture.join.events import AnyEvent, CallEnded, MountsChanged, NamespaceListed
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.join.setting import Setting
from mnttrace.linux.mount_events import FAN_MNT_ATTACH, FAN_MNT_DETACH, FAN_Q_OVERFLOW
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.probes.records import LIST_AFTER, LIST_MADE, ListReason

Make = Callable[[Random], Any]


def one_of(*values: Any) -> Make:
    return lambda random: random.choice(values)


def either(*makes: Make) -> Make:
    return lambda random: random.choice(makes)(random)


def several(make: Make, most: int, kind: Callable[[Sequence[Any]], Any]) -> Make:
    return lambda random: kind([make(random) for _ in range(random.randint(0, most))])


def pairs(key: Make, value: Make) -> Make:
    return several(lambda random: (key(random), value(random)), 3, dict)


UNIQUE = one_of(*range(1, 7), *range(1, 7), 0, -1, 1 << 62, 1 << 64)
MOUNT_ID = one_of(*range(1, 6), 0, -1)
NAMESPACE = one_of(1, 1, 1, 1, 2, 2, 3, 0, -1, 1 << 64)
THREAD = one_of(1, 1, 1, 2, 2, 3, 0, -7)
DENTRY = one_of(1, 1, 2, 2, 3, 4, 0, 1 << 63)
GROUP = one_of(0, 0, 1, 2, 3, -1)
SMALL = one_of(*range(-1, 7))
# Before, within and after each of the limits of the core.
TIME = one_of(0, 1, *(ms * 10**6 for ms in (1, 150, 250, 600, 1500, 5000)), -5, 1 << 70)
TEXT = one_of(
    "/", "/a", "/a/b", "/b", "/b//deleted", "", "a", "…", "tmpfs", "fuse.x", "rw", "ro", "\0"
)
FLAGS = one_of(0, 0, 1, 2, 0x1000, 0x5000, 0x2000, 0x20, 0x40020, 0x800000, 0x8000, -1)
NONE = one_of(None)

# Field → its values.
FIELDS: dict[str, Make] = {
    **dict.fromkeys(["unique", "parent_unique", "origin_unique", "unique_id", "mount"], UNIQUE),
    **dict.fromkeys(["path_unique", "root_unique"], either(NONE, UNIQUE)),
    **dict.fromkeys(["mount_id", "parent_id"], MOUNT_ID),
    **dict.fromkeys(["ns", "ns_id", "ns_after", "mntns", "mntns_id"], NAMESPACE),
    **dict.fromkeys(["key", "keys", "alive"], NAMESPACE),
    **dict.fromkeys(["ns_target", "ns_target_id"], either(NONE, NAMESPACE)),
    **dict.fromkeys(["pid", "tid", "child"], THREAD),
    **dict.fromkeys(["root_hash", "mountpoint_hash"], one_of(0, 0, 1)),
    **dict.fromkeys(["group", "master"], GROUP),
    **dict.fromkeys(["at", "ended", "monotonic", "latency"], TIME),
    **dict.fromkeys(["flags_value", "super_flags"], FLAGS),
    "error": one_of("", "", "EBUSY"),
    "result": one_of(0, 0, 0, 0, 3, -16),
    "mask": one_of(
        FAN_MNT_ATTACH,
        FAN_MNT_DETACH,
        FAN_MNT_DETACH,
        FAN_MNT_ATTACH | FAN_MNT_DETACH,
        FAN_Q_OVERFLOW,
        0,
    ),
    "names": pairs(DENTRY, TEXT),
    "unique_ids": pairs(MOUNT_ID, UNIQUE),
    "losses": pairs(one_of("lost_made", "x"), SMALL),
}
# The same where a struct has other things under a name.
DIFFERENT: dict[tuple[str, str], Make] = {
    ("CallEnded", "kind"): one_of(
        *SyscallKind, *[SyscallKind.UMOUNT, SyscallKind.MOUNT, SyscallKind.MOVE_MOUNT] * 3
    ),
    ("CallEnded", "last_detached"): one_of(*range(1, 6)),
    ("Filter", "containers"): one_of((), ("c", "abcd")),
    ("Identity", "kind"): one_of("container", "unit", "host", "process"),
    ("Identity", "id"): one_of("", "abcdef"),
    ("Mount", "master"): either(NONE, GROUP),
    ("MountEntry", "devname"): one_of(b"x" * 31, b"none\0", b""),
    ("MountEntry", "flags"): FLAGS,
    ("MountEntry", "fstype"): one_of(b"tmpfs\0\0", b"fuse", b"\xff", b""),
    ("MountEntry", "mountpoint"): DENTRY,
    ("MountEntry", "root"): DENTRY,
    ("MountList", "reason"): one_of(LIST_MADE, LIST_MADE, LIST_AFTER, 0, *ListReason),
    ("Setting", "backend"): one_of("kernel-hooks", "walk", "walk", "syscalls", "none"),
    ("TableRead", "pid"): either(NONE, THREAD),
}


def of(kind: Any, field: str = "", owner: str = "") -> Make:
    """Makes values of a type, as those of a field of another one."""
    if (owner, field) in DIFFERENT:
        return DIFFERENT[owner, field]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple, frozenset):
        return several(of(arguments[0], field, owner), 3, origin)
    if field in FIELDS:
        return FIELDS[field]
    if origin in (types.UnionType, typing.Union):
        return either(*(of(one, field, owner) for one in arguments))
    if origin is typing.Literal:
        return one_of(*arguments)
    for plain, make in ((bool, one_of(False, True)), (int, SMALL), (str, TEXT)):
        if isinstance(kind, type) and issubclass(kind, IntEnum):
            return one_of(*kind)
        if issubclass(kind, plain):
            return make
    return NONE if kind is type(None) else _struct(kind)


def _struct(kind: Any) -> Make:
    is_struct = issubclass(kind, msgspec.Struct | tuple) or is_dataclass(kind)
    assert is_struct or typing.is_typeddict(kind), kind
    fields = {
        name: of(field, name, kind.__name__) for name, field in typing.get_type_hints(kind).items()
    }
    return lambda random: kind(**{name: make(random) for name, make in fields.items()})


def _by_number(make: Make) -> st.SearchStrategy[Any]:
    return st.integers(0, (1 << 32) - 1).map(lambda number: make(Random(number)))


# Those on which most depends come more often.
EVENTS: st.SearchStrategy[list[AnyEvent]] = st.lists(
    _by_number(
        either(of(AnyEvent), of(CallEnded), of(CallEnded | MountsChanged | NamespaceListed))
    ),
    min_size=5,
    max_size=40,
)
SETTING = _by_number(of(Setting))
WANTED = st.just(Filter()) | _by_number(of(Filter))
