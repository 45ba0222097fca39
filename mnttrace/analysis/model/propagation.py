# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The model of shared subtrees: what an operation does to the mount tables of all namespaces.

Each function applies one operation of the kernel to
:class:`~mnttrace.analysis.model.tables.Tables` in place and returns its effects, or raises
:class:`~mnttrace.analysis.model.mounts.Refused` with the error that the kernel gives and leaves the
tables as they were. It is Linux 6.18 that is modelled (fs/namespace.c, fs/pnode.c); what other
releases do otherwise is noted there.

Spots come from :meth:`Tables.resolve`. Not in tables, and so not in the model: whether a path
exists and is a directory, permissions, the limit of mounts, expiry, and use by processes unless it
is given.
"""

from __future__ import annotations

from collections.abc import Container, Hashable

from mnttrace.analysis.model.copies import attach, clone, copy_tree
from mnttrace.analysis.model.detach import detach, detach_propagating
from mnttrace.analysis.model.mounts import (
    DELETED,
    Detached,
    Mount,
    MountId,
    Namespace,
    PropagationType,
    Refused,
    Spot,
    is_mounted,
    lies_under,
)
from mnttrace.analysis.model.moves import move, pivot_root, set_group
from mnttrace.analysis.model.operation import is_root, operation, refuse_if, target_of
from mnttrace.analysis.model.tables import Tables

__all__ = [
    "NOT_A_MOUNT",
    "bind",
    "change",
    "close",
    "copied",
    "copy_namespace",
    "end_namespace",
    "fsmount",
    "mount",
    "move",
    "open_tree",
    "pivot_root",
    "remove",
    "set_group",
    "umount",
]

NOT_A_MOUNT = "not the root of a mount"  # why such a umount is refused, in words

# New mounts


@operation()
def mount(
    tables: Tables, target: Spot, device: str, *, root: str = "/", id: MountId = None
) -> None:
    """Mount a filesystem: mount(2) without MS_BIND, MS_MOVE, MS_REMOUNT or a propagation type.

    Args:
        tables: to be changed.
        target: where to.
        device: of the filesystem.
        root: the part of it to mount; some filesystems mount a subdirectory on demand.
        id: the unique id of the new mount, where that is known.
    """
    target = target_of(tables, target)
    on = tables.mounts[target.mount]
    refuse_if(not is_mounted(on), "EINVAL", "the target is in no namespace")
    same = on.device == device and on.root == target.place
    refuse_if(same, "EBUSY", "the same filesystem is mounted there already", on.id)
    attach(tables, _new(tables, device, root, None, id), target, on.ns)


def _new(tables: Tables, device: str, root: str, ns: Namespace, id: MountId) -> MountId:
    mount = Mount(tables.new_id() if id is None else id, ns, None, "/", device, root)
    tables.note_cause(mount.id, "direct")
    return tables.put(mount).id


@operation()
def bind(tables: Tables, source: Spot, target: Spot, *, recursive: bool = False) -> None:
    """Bind a mount to another place: mount(2) with MS_BIND, and MS_REC if recursive."""
    target = target_of(tables, target)
    on = tables.mounts[target.mount]
    refuse_if(not is_mounted(on), "EINVAL", "the target is in no namespace")
    old = tables.mounts[source.mount]
    # Detached trees can be bound since 6.15.
    elsewhere = is_mounted(old) and old.ns != on.ns
    refuse_if(elsewhere, "EINVAL", "the source is in another namespace")
    copies = copied(tables, source, recursive)
    for original, copy in copies.items():
        tables.note_cause(copy, "direct", tables.originals.get(original, original))
    attach(tables, copies[old.id], target, on.ns)


def copied(tables: Tables, source: Spot, recursive: bool) -> dict[MountId, MountId]:
    """A copy of a mount or a tree, not yet attached: __do_loopback(); as copy_tree() returns it."""
    old = tables.mounts[source.mount]
    unbindable = old.unbindable
    refuse_if(unbindable, "EINVAL", "the source is unbindable", old.id, kind="unbindable")
    if recursive:
        return copy_tree(tables, source, namespace_files=True)
    for child in tables.children(old.id):
        hides = child.locked and lies_under(child.place, source.place)
        reason = "it would show what a locked mount hides"
        refuse_if(hides, "EINVAL", reason, child.id, kind="hidden")
    return {old.id: clone(tables, old, source.place).id}


def open_tree(tables: Tables, source: Spot, *, recursive: bool = False) -> MountId:
    """Make a detached copy: open_tree(2) with OPEN_TREE_CLONE, and AT_RECURSIVE if recursive.

    Detached trees are in no namespace, so there are no effects.

    Returns:
        The root of the tree, for :func:`move` and :func:`close`.
    """
    try:
        copies = copied(tables, source, recursive)
    except Refused:
        tables.undo()
        raise
    ns = tables.new_tree()
    for original, copy in copies.items():
        tables.put(tables.mounts[copy]._replace(ns=ns))
        tables.originals[copy] = tables.originals.get(original, original)
    tables.effects()
    return copies[source.mount]


def fsmount(tables: Tables, device: str, *, root: str = "/", id: MountId = None) -> MountId:
    """Make a detached mount of a filesystem: fsmount(2).

    Returns:
        The mount, for :func:`move` and :func:`close`.
    """
    made = _new(tables, device, root, tables.new_tree(), id)
    tables.effects()
    return made


@operation()
def close(tables: Tables, tree: MountId) -> None:
    """Close the descriptor of a detached tree, which ends it if it is still detached."""
    found = tables.mounts.get(tree)
    if found is not None and isinstance(found.ns, Detached) and found.parent is None:
        detach(tables, tree, "direct")


# Umounts


@operation()
def umount(
    tables: Tables, target: Spot, *, lazy: bool = False, busy: Container[MountId] = ()
) -> None:
    """Unmount: umount2(2), with MNT_DETACH if lazy.

    Args:
        tables: to be changed.
        target: the root of a mount; the topmost one there is unmounted, also on "/", where other
            operations work on the mount below it.
        lazy: whether to detach it though it is busy, and all that is mounted on it.
        busy: mounts that processes use.
    """
    target = tables.top(target)  # LOOKUP_MOUNTPOINT in path_lookupat()
    no_mount = not is_root(tables, target)
    refuse_if(no_mount, "EINVAL", NOT_A_MOUNT, kind="no-mount")
    mount = tables.mounts[target.mount]
    refuse_if(not is_mounted(mount), "EINVAL", "it is in no namespace")
    refuse_if(mount.locked, "EINVAL", "the mount is locked", mount.id, kind="locked")
    if mount.id == tables.roots.get(mount.ns) and not lazy:
        return  # the root directory is only remounted read-only: do_umount()
    refuse_if(mount.parent is None, "EINVAL", "it is the root of its namespace")
    if not lazy:
        on_it = [child.id for child in tables.children(mount.id)]
        refuse_if(bool(on_it), "EBUSY", "there are mounts on it", *on_it, kind="mounts-on-it")
        in_use = _in_use(tables, mount, busy)
        refuse_if(in_use, "EBUSY", "processes use it or a copy of it", kind="in-use")
    detach_propagating(tables, mount.id)


def _in_use(tables: Tables, mount: Mount, busy: Container[MountId]) -> bool:
    """Whether a mount, or a copy that would go with it, is in use: propagate_mount_busy()."""
    parent = tables.mounts.get(mount.parent)
    copies = [
        copy
        for receiver, _ in (tables.receivers(parent) if parent else ())
        if (copy := tables.child(Spot(receiver.id, mount.place))) is not None
    ]
    # A copy with mounts on it stays, so its users do not matter; unless they only cover its root.
    going = [
        copy
        for copy in copies
        if not (children := tables.children(copy.id))
        or (len(children) == 1 and children[0].place == copy.root)
    ]
    return any(found.id in busy for found in (mount, *going))


@operation("mountpoint-removed")
def remove(tables: Tables, target: Spot) -> None:
    """Remove a file or directory that may be a mountpoint: rmdir(2), unlink(2), or rename(2) on it.

    All mounts on it in other namespaces are detached, without propagation (since 3.18).

    Args:
        tables: to be changed; the roots of mounts of it end with "//deleted" then.
        target: from :meth:`Tables.resolve` with follow=False.

    Raises:
        Refused: EBUSY, something is mounted on it in the caller's namespace.
    """
    through = tables.mounts[target.mount]
    found = tables.mounted_on(through.device, target.place)
    local = any(mount.ns == through.ns for mount in found)
    refuse_if(local, "EBUSY", "it is a mountpoint")
    for mount in found:
        if mount.id in tables.mounts:
            detach(tables, mount.id, "mountpoint-removed")
    for mount in tables.with_root(through.device, target.place):
        tables.put(mount._replace(root=target.place + DELETED))


# Propagation types


@operation()
def change(tables: Tables, target: Spot, to: PropagationType, *, recursive: bool = False) -> None:
    """Change the propagation type: mount(2) with MS_SHARED and the like, or mount_setattr(2)."""
    no_mount = not is_root(tables, target)
    refuse_if(no_mount, "EINVAL", NOT_A_MOUNT, kind="no-mount")
    found = tables.tree(target.mount) if recursive else [tables.mounts[target.mount]]
    for mount in found:
        _change_one(tables, tables.mounts[mount.id], to)


def _change_one(tables: Tables, mount: Mount, to: PropagationType) -> None:
    """change_mnt_propagation() in fs/pnode.c."""
    if to == "shared":
        group = tables.new_group() if mount.group is None else mount.group
        after = mount._replace(group=group, unbindable=False)
    elif to == "slave":
        # Of its former peers; the last one of a group remains what it was a slave of.
        has_peers = mount.group is not None and len(tables.members(mount.group)) > 1
        after = mount._replace(group=None, master=mount.group if has_peers else mount.master)
    else:
        after = mount._replace(group=None, master=None, unbindable=to == "unbindable")
    if after != mount:
        tables.note_cause(mount.id, "direct")
        tables.put(after)


# Namespaces


@operation("namespace-copy")
def copy_namespace(
    tables: Tables,
    source: Namespace,
    new: Namespace,
    *,
    owner: Hashable = None,
    keeps_unbindable: bool = False,
) -> None:
    """Make a mount namespace: unshare(2) or clone(2) with CLONE_NEWNS.

    unshare(1) then makes all mounts private: that is another operation.

    Args:
        tables: to be changed.
        source: the namespace of the process.
        new: the new one.
        owner: the user namespace of the new one, if that is not the source's: shared mounts are
            copied as slaves then, and all mounts are locked to their parents.
        keeps_unbindable: whether a copy of an unbindable mount is unbindable, as
            Documentation/filesystems/sharedsubtree.rst says. Kernels before 6.17 do that;
            in 6.17 the flag went to a field that clone_mnt() does not copy.
    """
    foreign = owner is not None and owner != tables.owners.get(source)
    tops = [mount for mount in tables.in_namespace(source) if mount.parent not in tables.mounts]
    for top in tops:
        spot = Spot(top.id, top.root)
        copies = copy_tree(tables, spot, slave=foreign, unbindable=True)
        parents = {copies[top.id]: None if top.parent is None else tables.new_id()}
        for old, copy in copies.items():
            mount = tables.mounts[copy]
            parent = parents.get(copy, mount.parent)
            locked = parent is not None and (foreign or tables.mounts[old].locked)
            unbindable = keeps_unbindable and tables.mounts[old].unbindable
            after = mount._replace(ns=new, parent=parent, locked=locked, unbindable=unbindable)
            tables.put(after)
            tables.note_cause(copy, "namespace-copy", old)
        if tables.roots.get(source) in copies:
            tables.roots[new] = copies[tables.roots[source]]
    if foreign or source in tables.owners:
        tables.owners[new] = owner if foreign else tables.owners[source]


@operation("namespace-death")
def end_namespace(tables: Tables, ns: Namespace) -> None:
    """End a mount namespace, as the kernel does when nothing holds it: without propagation."""
    for mount in tables.in_namespace(ns):
        tables.note_cause(mount.id, "namespace-death")
        tables.drop(mount.id)
    tables.roots.pop(ns, None)
    tables.owners.pop(ns, None)
