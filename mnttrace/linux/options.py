# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Options of mounts and super blocks: the kernel's bits, and the words of mountinfo."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

# The bits of vfsmount.mnt_flags that mountinfo shows, in its order (show_mnt_opts() in
# fs/proc_namespace.c); include/linux/mount.h numbers them.
_MNT_OPTIONS = {
    0x01: "nosuid",
    0x02: "nodev",
    0x04: "noexec",
    0x08: "noatime",
    0x10: "nodiratime",
    0x20: "relatime",
    0x80: "nosymfollow",
}
_MNT_READONLY = 0x40
# The same of super_block.s_flags, which show_sb_opts() shows; include/linux/fs.h numbers them.
_SB_OPTIONS = {0x10: "sync", 0x80: "dirsync", 0x40: "mand", 1 << 25: "lazytime"}
_SB_RDONLY = 0x1
MNT_UNBINDABLE = 0x2000  # T_UNBINDABLE of mnt_t_flags from 6.17 on; bpf/list.h sets it here

MNT_SHRINKABLE = 0x100  # the kernel mounted it on a look-up, and may take it away when it is unused
MNT_LOCKED = 0x800000  # cannot be unmounted by itself: it came from a more privileged namespace
MNT_SHOWN = MNT_UNBINDABLE | _MNT_READONLY | sum(_MNT_OPTIONS)  # all that a mount table has
SB_SHOWN = _SB_RDONLY | sum(_SB_OPTIONS)
_KEPT = 1024  # combinations of bits whose words are remembered


@lru_cache(_KEPT)
def mount_options(mnt_flags: int) -> str:
    """The bits of a mount's mnt_flags in the kernel, in the words of field 6 of mountinfo."""
    first = "ro" if mnt_flags & _MNT_READONLY else "rw"
    return ",".join([first, *(word for bit, word in _MNT_OPTIONS.items() if mnt_flags & bit)])


@lru_cache(_KEPT)
def super_options(s_flags: int) -> str:
    """The bits of a super block's s_flags in the kernel, as the last field of mountinfo begins."""
    first = "ro" if s_flags & _SB_RDONLY else "rw"
    return ",".join([first, *(word for bit, word in _SB_OPTIONS.items() if s_flags & bit)])


def mount_bits(options: str) -> int:
    """The bits that :func:`mount_options` shows as these."""
    return _bits(options, _MNT_OPTIONS, _MNT_READONLY)


def super_bits(options: str) -> int:
    """The bits that :func:`super_options` shows as these; other options are passed over."""
    return _bits(options, _SB_OPTIONS, _SB_RDONLY)


def _bits(options: str, names: Mapping[int, str], read_only: int) -> int:
    words = set(options.split(","))
    return sum(bit for bit, name in names.items() if name in words) | (
        read_only if "ro" in words else 0
    )
