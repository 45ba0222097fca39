# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mount namespaces are no more."""

from __future__ import annotations

from collections.abc import Iterable

from mnttrace.linux import statmount
from mnttrace.linux.namespaces import mount_namespaces, namespace_id


def gone(keys: Iterable[int]) -> list[int]:
    """Those of some namespaces that are no more, by their keys.

    Where these are inode numbers (before Linux 6.11) all that may keep one alive is looked at, but
    for descriptors in a socket's queue.
    """
    if namespace_id("/proc/self/ns/mnt") is not None:
        return [key for key in sorted(keys) if not _is_there(key)]
    found = mount_namespaces(threads=True, descriptors=True, binds=True)
    if found.unreadable:
        return []  # they may be in any
    return sorted(set(keys) - found.namespaces.keys())


def _is_there(namespace: int) -> bool:
    try:
        statmount.has_mounts(namespace)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
