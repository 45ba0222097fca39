# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts by their unique id: listmount(2) and statmount(2), since 6.8.

An id of this kind is never used again, where the ids in mountinfo are recycled within seconds.
Since 6.11 both calls reach every mount namespace by its id
(:func:`mnttrace.linux.namespaces.namespace_id`), also one without a process, and since 6.13 they
return all that mountinfo has. Layouts and numbers are those of `include/uapi/linux/mount.h`.

Nothing here opens a descriptor. All raise OSError: FileNotFoundError for a mount or a namespace
that is gone, and for a namespace over which the caller lacks CAP_SYS_ADMIN; PermissionError
without that for a mount outside of the caller's root; E2BIG where the kernel takes no namespace id.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from mnttrace.linux.flags import MOUNT_ATTR, MOUNT_ATTR_ATIME, MOUNT_ATTR_ATIME_MASK, PROPAGATION

# The same on all machines but Alpha and MIPS.
NR_STATMOUNT = 457
NR_LISTMOUNT = 458

LSMT_ROOT = 0xFFFFFFFFFFFFFFFF

STATMOUNT_SB_BASIC = 0x1
STATMOUNT_MNT_BASIC = 0x2
STATMOUNT_PROPAGATE_FROM = 0x4
STATMOUNT_MNT_ROOT = 0x8
STATMOUNT_MNT_POINT = 0x10
STATMOUNT_FS_TYPE = 0x20
STATMOUNT_MNT_OPTS = 0x80  # since 6.11
STATMOUNT_FS_SUBTYPE = 0x100  # this and the next since 6.13
STATMOUNT_SB_SOURCE = 0x200

_EVERYTHING = (
    STATMOUNT_SB_BASIC
    | STATMOUNT_MNT_BASIC
    | STATMOUNT_PROPAGATE_FROM
    | STATMOUNT_MNT_ROOT
    | STATMOUNT_MNT_POINT
    | STATMOUNT_FS_TYPE
    | STATMOUNT_MNT_OPTS
    | STATMOUNT_FS_SUBTYPE
    | STATMOUNT_SB_SOURCE
)

_REQUEST = struct.Struct("=IIQQQ")  # size, spare, mnt_id, param, mnt_ns_id: struct mnt_id_req
_REQUEST_WITHOUT_NAMESPACE = 24  # its size before 6.11

# struct statmount up to sb_source, the last member that is used; strings begin at 512.
_ANSWER = struct.Struct("=IIQIIQIIQQIIQQQQQIIQII")
_STRINGS = 512
_IDS = struct.Struct("=QQIIQQQQ")  # mnt_id ... mnt_master
_IDS_AT = 40

_SUPER_FLAGS = {16: "sync", 128: "dirsync", 1 << 25: "lazytime"}
_SUPER_READ_ONLY = 1
_LIST_AT_ONCE = 2048


class BasicMount(NamedTuple):
    """The ids of a mount, and how it propagates.

    Attributes:
        unique_id: never used again.
        parent_unique_id: of its parent; its own where it is the root of all.
        mount_id: the recycled id, field 1 of mountinfo.
        parent_id: field 2 of mountinfo.
        attributes: MOUNT_ATTR_* bits.
        propagation: MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE bits.
        peer_group: of a shared mount, else 0.
        master: the peer group that it is a slave of, else 0.
    """

    unique_id: int
    parent_unique_id: int
    mount_id: int
    parent_id: int
    attributes: int
    propagation: int
    peer_group: int
    master: int


class StatMount(NamedTuple):
    """Everything that a line of mountinfo has, and the unique ids. Text is not escaped.

    The first eight attributes are those of :class:`BasicMount`.

    Attributes:
        major, minor: the device.
        root: the root of the mount within its filesystem.
        mount_point: relative to the caller's root, or to the root of another namespace.
        propagate_from: the nearest dominant peer group under the caller's root, if that is not
            the master; else 0. Always 0 for other namespaces: the kernel looks under the caller's
            root there, too (statmount_propagate_from() in fs/namespace.c).
        filesystem: type, with the subtype as in "fuse.sshfs".
        source: None before 6.13.
        options: per mount, in the words of mountinfo.
        super_options: per filesystem, in the words of mountinfo and with its octal escapes; only
            "rw" or "ro" and what else the VFS knows before 6.11.
    """

    unique_id: int
    parent_unique_id: int
    mount_id: int
    parent_id: int
    attributes: int
    propagation: int
    peer_group: int
    master: int
    major: int
    minor: int
    root: str
    mount_point: str
    propagate_from: int
    filesystem: str
    source: str | None
    options: str
    super_options: str

    @property
    def unbindable(self) -> bool:
        """Whether it can neither be bound nor propagated."""
        return bool(self.propagation & PROPAGATION["MS_UNBINDABLE"])


@functools.cache
def _syscall() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    # All 64 bits wide: an argument without a type is a 32-bit int to ctypes.
    function.argtypes = [ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, *[ctypes.c_size_t] * 2]
    return function


def _request(mount: int, param: int, namespace: int | None) -> bytes:
    if namespace is None:  # kernels before 6.11 accept no longer one
        return _REQUEST.pack(_REQUEST_WITHOUT_NAMESPACE, 0, mount, param, 0)
    return _REQUEST.pack(_REQUEST.size, 0, mount, param, namespace)


def _call(number: int, request: bytes, buffer: ctypes.Array[ctypes.c_char], length: int) -> int:
    result: int = _syscall()(number, request, buffer, length, 0)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


@functools.cache
def available() -> bool:
    """Whether the kernel has both calls and lets this process use them."""
    try:
        for unique_id in list_mounts()[:1]:
            basic(unique_id)
    except OSError:
        return False
    return True


def _buffer(size: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(size)


def list_mounts(namespace: int | None = None) -> list[int]:
    """The unique ids of all mounts under the root, ascending, the root itself among them.

    Under the caller's root, that is; or where a namespace's id is given that is not the
    caller's own, under the root of that namespace.
    """
    buffer = _buffer(8 * _LIST_AT_ONCE)
    found: list[int] = []
    last = 0
    while True:
        request = _request(LSMT_ROOT, last, namespace)
        count = _call(NR_LISTMOUNT, request, buffer, _LIST_AT_ONCE)
        found += struct.unpack_from(f"={count}Q", buffer)
        if count < _LIST_AT_ONCE:
            return found
        last = found[-1]


def has_mounts(namespace: int) -> bool:
    """Whether a namespace, by its id, has mounts under its root; raises FileNotFoundError if it is
    no more."""
    return _call(NR_LISTMOUNT, _request(LSMT_ROOT, 0, namespace), _buffer(8), 1) > 0


def basic(unique_id: int, namespace: int | None = None) -> BasicMount:
    """The ids and the propagation of one mount."""
    buffer = _buffer(_STRINGS)
    _call(NR_STATMOUNT, _request(unique_id, STATMOUNT_MNT_BASIC, namespace), buffer, _STRINGS)
    return BasicMount(*_IDS.unpack_from(buffer, _IDS_AT))


def table(namespace: int | None = None) -> list[StatMount]:
    """The mount table of a namespace, as :func:`list_mounts` lists it.

    Not a snapshot of one instant: mounts that vanish while it is read are left out, and a mount
    made meanwhile may be missing.
    """
    reader = _Reader(namespace)
    mounts = []
    for unique_id in list_mounts(namespace):
        with suppress(FileNotFoundError):
            mounts.append(reader.read(unique_id))
    return mounts


def names(unique_id: int, namespace: int | None = None) -> tuple[str, str]:
    """The root and the mount point of one mount, as in :class:`StatMount`.

    Raises:
        OSError: it is gone (ENOENT), or may not be looked at.
    """
    mount = _Reader(namespace).read(unique_id)
    return mount.root, mount.mount_point


def unique_ids(namespace: int | None = None, known: dict[int, int] | None = None) -> dict[int, int]:
    """The unique id of each mount of a namespace, by its recycled id.

    Args:
        namespace: as for :func:`list_mounts`.
        known: recycled ids by unique id. A mount keeps both for life and a unique id is never
            used again, so only mounts that are not in here are asked for; they are put in here.
    """
    known = {} if known is None else known
    buffer = _buffer(_STRINGS)
    found = {}
    for unique_id in list_mounts(namespace):
        mount_id = known.get(unique_id)
        if mount_id is None:
            request = _request(unique_id, STATMOUNT_MNT_BASIC, namespace)
            try:
                _call(NR_STATMOUNT, request, buffer, _STRINGS)
            except FileNotFoundError:
                continue
            mount_id = known[unique_id] = _IDS.unpack_from(buffer, _IDS_AT)[2]
        found[mount_id] = unique_id
    return found


class _Reader:
    """Reads all of a mount, into a buffer that grows with the longest one."""

    def __init__(self, namespace: int | None) -> None:
        self.namespace = namespace
        self.buffer = _buffer(4096)

    def read(self, unique_id: int) -> StatMount:
        request = _request(unique_id, _EVERYTHING, self.namespace)
        while True:
            try:
                _call(NR_STATMOUNT, request, self.buffer, len(self.buffer))
            except OSError as error:
                if error.errno != errno.EOVERFLOW:
                    raise
                self.buffer = _buffer(2 * len(self.buffer))
            else:
                return self._record()

    def _record(self) -> StatMount:
        (
            size, more, mask, major, minor, _magic, super_flags, fs_type,
            unique_id, parent_unique_id, mount_id, parent_id, attributes, propagation,
            peer_group, master, propagate_from, root, mount_point, _namespace,
            subtype, source,
        ) = _ANSWER.unpack_from(self.buffer)  # fmt: skip
        strings = ctypes.string_at(ctypes.addressof(self.buffer) + _STRINGS, size - _STRINGS)

        def text(asked: int, offset: int) -> str | None:
            """A string, if the kernel gave what was asked for."""
            if not mask & asked:
                return None
            return strings[offset : strings.index(b"\0", offset)].decode(errors="surrogateescape")

        filesystem = text(STATMOUNT_FS_TYPE, fs_type) or ""
        if kind := text(STATMOUNT_FS_SUBTYPE, subtype):
            filesystem += f".{kind}"
        return StatMount(
            unique_id, parent_unique_id, mount_id, parent_id, attributes, propagation,
            peer_group, master, major, minor,
            text(STATMOUNT_MNT_ROOT, root) or "",
            text(STATMOUNT_MNT_POINT, mount_point) or "",
            propagate_from if propagate_from != master else 0,  # as in mountinfo
            filesystem,
            text(STATMOUNT_SB_SOURCE, source),
            mount_options_text(attributes),
            _super_options(super_flags, text(STATMOUNT_MNT_OPTS, more)),
        )  # fmt: skip


@functools.cache
def mount_options_text(attributes: int) -> str:
    """MOUNT_ATTR_* bits in the words and the order of field 6 of mountinfo.

    As show_mnt_opts() in fs/proc_namespace.c writes them.
    """
    atime = attributes & MOUNT_ATTR_ATIME_MASK
    words: Iterable[tuple[int, str]] = (
        (attributes & MOUNT_ATTR["MOUNT_ATTR_NOSUID"], "nosuid"),
        (attributes & MOUNT_ATTR["MOUNT_ATTR_NODEV"], "nodev"),
        (attributes & MOUNT_ATTR["MOUNT_ATTR_NOEXEC"], "noexec"),
        (atime == MOUNT_ATTR_ATIME["MOUNT_ATTR_NOATIME"], "noatime"),
        (attributes & MOUNT_ATTR["MOUNT_ATTR_NODIRATIME"], "nodiratime"),
        (atime == MOUNT_ATTR_ATIME["MOUNT_ATTR_RELATIME"], "relatime"),
        (attributes & MOUNT_ATTR["MOUNT_ATTR_NOSYMFOLLOW"], "nosymfollow"),
        (attributes & MOUNT_ATTR["MOUNT_ATTR_IDMAP"], "idmapped"),
    )
    first = "ro" if attributes & MOUNT_ATTR["MOUNT_ATTR_RDONLY"] else "rw"
    return ",".join([first, *(word for bit, word in words if bit)])


def _super_options(super_flags: int, more: str | None) -> str:
    text = _super_flags(super_flags)
    return f"{text},{more}" if more else text


@functools.cache
def _super_flags(super_flags: int) -> str:
    """As show_sb_opts() in fs/proc_namespace.c writes them."""
    first = "ro" if super_flags & _SUPER_READ_ONLY else "rw"
    return ",".join([first, *(word for flag, word in _SUPER_FLAGS.items() if super_flags & flag)])
