# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Copies of mounts: of trees that are bound, and copies by propagation of trees that are attached.

As clone_mnt(), copy_tree() and attach_recursive_mnt() in fs/namespace.c and propagate_mnt() in
fs/pnode.c do it in Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mnttrace.analysis.model.mounts import (
    DELETED,
    Mount,
    MountId,
    Namespace,
    Refused,
    Spot,
    Via,
    is_mounted,
    lies_under,
)
from mnttrace.analysis.model.tables import Tables


def is_namespace_file(root: str) -> bool:
    """Whether a root is the file of a mount namespace (in nsfs); such mounts are seldom copied."""
    return root.startswith("mnt:[")


def clone(
    tables: Tables, old: Mount, root: str, *, slave: bool = False, shared: bool = False
) -> Mount:
    """A copy of one mount, not attached to anything yet.

    Args:
        tables: gets it.
        old: what to copy.
        root: of the copy.
        slave: make it a slave of a shared mount, not a peer. The copy of a slave is always one
            of the same master.
        shared: make it shared if it is not by being a peer.
    """
    group = None if slave else old.group
    master = old.group if slave and old.group is not None else old.master
    if shared and group is None:
        group = tables.new_group()
    return tables.put(Mount(tables.new_id(), None, None, "/", old.device, root, group, master))


def copy_tree(
    tables: Tables,
    source: Spot,
    *,
    slave: bool = False,
    shared: bool = False,
    unbindable: bool = False,
    namespace_files: bool = False,
) -> dict[MountId, MountId]:
    """A copy of the tree of mounts under a spot, not attached to anything yet.

    Args:
        tables: gets it.
        source: a mount, and what of its filesystem the copy's root is.
        slave, shared: as in :func:`clone`, for each mount.
        unbindable: copy unbindable mounts too, else they are left out with all that is on them.
        namespace_files: the same for mounts of mount namespaces.

    Returns:
        The ids of the copies by what they are copies of, the root first.

    Raises:
        Refused: EINVAL, the root itself would be left out; EPERM, one that is locked would.
    """
    root, rest = _worth_copying(tables, source, unbindable, namespace_files)
    copies = {root.id: clone(tables, root, source.place, slave=slave, shared=shared).id}
    for old in rest:
        new = clone(tables, old, old.root, slave=slave, shared=shared)
        copies[old.id] = new.id
        tables.put(new._replace(parent=copies[old.parent], place=old.place, locked=old.locked))
    return copies


def _worth_copying(
    tables: Tables, source: Spot, unbindable: bool, namespace_files: bool
) -> tuple[Mount, list[Mount]]:
    root = tables.mounts[source.mount]
    if root.unbindable and not unbindable:
        raise Refused("EINVAL", "the source is unbindable", root.id, kind="unbindable")
    if is_namespace_file(source.place) and not namespace_files:
        raise Refused("EINVAL", "the mount of a mount namespace cannot be copied here")
    found = []
    pending = [child for child in tables.children(root.id) if lies_under(child.place, source.place)]
    pending.reverse()
    while pending:
        mount = pending.pop()
        if mount.unbindable and not unbindable:
            if mount.locked:
                reason = "a mount in the tree is unbindable, and locked"
                raise Refused("EPERM", reason, mount.id, kind="unbindable")
        elif not is_namespace_file(mount.root) or namespace_files:
            found.append(mount)
            pending.extend(reversed(tables.children(mount.id)))
    return root, found


def attach(tables: Tables, tree: MountId, target: Spot, actor: Namespace) -> None:
    """Attach a tree of mounts to a spot, and copies of it wherever that propagates to.

    If the spot's mount is shared, all mounts of the tree become shared, too.

    Args:
        tables: to be changed.
        tree: the root of a new tree, of a detached one, or of one that is moved.
        target: where to; nothing is mounted there but what the tree is to be slipped beneath.
        actor: the namespace of the process that does it.

    Raises:
        Refused: ENOENT, what the tree has for a root was removed; EINVAL, copies are needed, and
            the root is the mount of a mount namespace.
    """
    receiver = tables.mounts[target.mount]
    if _top(tables, tables.mounts[tree]).root.endswith(DELETED):
        raise Refused("ENOENT", "what is to be attached was removed", kind="removed")
    copies: list[tuple[MountId, Mount]] = []
    if receiver.group is not None:
        plan = _Plan.of(tables, receiver, target.place)
        for mount in tables.tree(tree):
            if mount.group is None:
                tables.put(mount._replace(group=tables.new_group(), unbindable=False))
        copies = _propagate(tables, tree, plan)
    _hang(tables, tree, target, actor)
    for copy, where in reversed(copies):
        _hang(tables, copy, Spot(where.id, target.place), actor)


class _Plan(NamedTuple):
    """The mounts of one peer group that get a copy, and the groups that are slaves of it.

    A slave that is not shared is planned for as a group of its own.
    """

    receivers: list[Mount]
    shared: bool
    slaves: list[_Plan]

    @classmethod
    def of(cls, tables: Tables, mount: Mount, place: str) -> _Plan:
        """For what is attached to a shared mount at a place."""
        peers = [peer for peer in tables.members(mount.group) if peer.id != mount.id]
        return cls(_wanting(peers, place), True, cls._below(tables, mount.group, place))

    @classmethod
    def _below(cls, tables: Tables, group: int | None, place: str) -> list[_Plan]:
        groups: dict[MountId, list[Mount]] = {}
        for slave in tables.slaves(group):
            # Numbers of groups and ids of mounts can be the same.
            name = (slave.id,) if slave.group is None else slave.group
            groups.setdefault(name, []).append(slave)
        return [
            cls(
                _wanting(slaves, place),
                slaves[0].group is not None,
                cls._below(tables, slaves[0].group, place) if slaves[0].group is not None else [],
            )
            for slaves in groups.values()
        ]


def _wanting(mounts: Iterable[Mount], place: str) -> list[Mount]:
    """The mounts that get a copy: the place is within them, and they are in a namespace.

    need_secondary() in fs/pnode.c. In 6.15 alone detached trees got copies, too, until commit
    3b5260d12b1f ("Don't propagate mounts into detached trees").
    """
    return [mount for mount in mounts if is_mounted(mount) and lies_under(place, mount.root)]


def _propagate(tables: Tables, tree: MountId, plan: _Plan) -> list[tuple[MountId, Mount]]:
    """Copies of a tree, each with the mount that it is for, in the order in which they are made."""
    made: list[tuple[MountId, Mount]] = []

    def copy(source: MountId, receiver: Mount, slave: bool, shared: bool, via: Via) -> MountId:
        root = tables.mounts[source].root
        copies = copy_tree(tables, Spot(source, root), slave=slave, shared=shared)
        for old, new in copies.items():
            originals[new] = originals.get(old, old)
            tables.note_cause(new, via, originals[new])
        made.append((copies[source], receiver))
        return copies[source]

    def go_down(plan: _Plan, master: MountId) -> None:
        source = master
        for receiver in plan.receivers:
            # The first of a group is a slave of the nearest copy above, the others its peers.
            if source is master:
                source = copy(master, receiver, True, plan.shared, "slave")
            else:
                source = copy(source, receiver, False, True, "slave")
        for slaves in plan.slaves:
            go_down(slaves, source)

    originals: dict[MountId, MountId] = {}
    for receiver in plan.receivers:
        copy(tree, receiver, False, True, "peer")
    for slaves in plan.slaves:
        go_down(slaves, tree)
    return made


def _hang(tables: Tables, tree: MountId, target: Spot, actor: Namespace) -> None:
    """Attach a tree to a spot; a mount that is there already lies on top of it then."""
    receiver = tables.mounts[target.mount]
    covered = tables.child(target)
    foreign = tables.owners.get(receiver.ns) != tables.owners.get(actor)
    for mount in tables.tree(tree):
        after = mount._replace(ns=receiver.ns)
        if mount.id == tree:
            after = after._replace(parent=receiver.id, place=target.place)
        elif foreign:
            after = after._replace(locked=True)
        if after != mount:
            tables.put(after)
    if covered is not None and covered.id != tree:
        top = _top(tables, tables.mounts[tree])
        tables.put(covered._replace(parent=top.id, place=top.root))
        tables.note_cause(covered.id, tables.cause(tree) or "direct")


def _top(tables: Tables, mount: Mount) -> Mount:
    """The topmost of the mounts that cover one."""
    while (over := tables.overmount(mount)) is not None:
        mount = over
    return mount
