# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Why a mount or a umount in one mount namespace did not come to another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mnttrace.analysis.model.mounts import Mount, MountId
from mnttrace.analysis.model.tables import Tables

Kind = Literal[
    "sends-nothing",  # the parent where it happened is private
    "sends-nothing-up",  # it is a slave of the other one's group, or shared below it
    "receives-nothing",  # the parent of the copy is private
    "other-group",  # both are in groups, and these have nothing to do with each other
    "locked",  # it came there, and the copy is locked to its parent
    "mounts-on-it",  # it came there, and mounts on the copy keep it
]


@dataclass(frozen=True)
class Barrier:
    """What kept an event from a mount namespace.

    Attributes:
        kind: how.
        mount: the mount that did it: a parent by its propagation type, or the copy itself.
        receiver: the mount that did not get it, where that is private, too.
        others: for "mounts-on-it", those.
    """

    kind: Kind
    mount: Mount
    receiver: Mount | None = None
    others: tuple[Mount, ...] = ()


def on_the_way(tables: Tables, sender: MountId, receiver: MountId) -> Barrier | None:
    """Why what happens under one mount does not come to another one; None if it does.

    Args:
        tables: as they were when it happened.
        sender, receiver: the two mounts.

    Raises:
        KeyError: they are not in the tables.
    """
    from_, to = tables.mounts[sender], tables.mounts[receiver]
    if any(mount.id == receiver for mount, _ in tables.receivers(from_)):
        return None
    if from_.group is None and from_.master is None:
        return Barrier("sends-nothing", from_, to if to.propagation == "private" else None)
    if to.group is None and to.master is None:
        return Barrier("receives-nothing", to)
    if any(mount.id == sender for mount, _ in tables.receivers(to)):
        return Barrier("sends-nothing-up", from_)
    return Barrier("sends-nothing" if from_.group is None else "other-group", from_)


def of_umount(tables: Tables, original: MountId, copy: MountId) -> Barrier | None:
    """Why a umount of one mount did not take a copy of it; None if the tables do not tell.

    Args:
        tables: as they were when the umount began.
        original: what was unmounted.
        copy: a mount at the same place of its parent.

    Raises:
        KeyError: they or their parents are not in the tables.
    """
    mount = tables.mounts[copy]
    barrier = on_the_way(tables, tables.mounts[original].parent, mount.parent)
    if barrier is not None:
        return barrier
    if mount.locked:
        return Barrier("locked", mount)
    on_it = tuple(tables.children(copy))
    return Barrier("mounts-on-it", mount, others=on_it) if on_it else None
