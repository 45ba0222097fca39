# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The operations of the model that put a mount elsewhere: moves, and pivot_root.

As do_move_mount(), do_set_group() and pivot_root() in fs/namespace.c have it in Linux 6.18.
"""

from __future__ import annotations

from mnttrace.analysis.model.copies import attach
from mnttrace.analysis.model.mounts import (
    DELETED,
    Detached,
    Mount,
    MountId,
    Refused,
    RefusedAsShared,
    Spot,
    is_mounted,
    lies_under,
)
from mnttrace.analysis.model.operation import is_root, operation, refuse_if, target_of
from mnttrace.analysis.model.tables import Tables


@operation()
def move(tables: Tables, source: Spot, target: Spot, *, beneath: bool = False) -> None:
    """Move a mount: mount(2) with MS_MOVE, or move_mount(2).

    Args:
        tables: to be changed.
        source: the root of a mount, also of a detached tree.
        target: where to.
        beneath: whether to put it beneath the mount there (MOVE_MOUNT_BENEATH, since 6.5).
    """
    refuse_if(not is_root(tables, source), "EINVAL", "the source is not the root of a mount")
    target = tables.top(target) if beneath else target_of(tables, target)
    old, to = tables.mounts[source.mount], tables.mounts[target.mount]
    if isinstance(old.ns, Detached):
        refuse_if(old.parent is not None, "EINVAL", "the source is not the root of its tree")
        refuse_if(old.ns == to.ns, "EINVAL", "source and target are in the same detached tree")
    else:
        refuse_if(old.parent is None, "EINVAL", "the source is the root of its namespace")
        refuse_if(old.locked, "EINVAL", "the source is locked", old.id)
        parent = tables.mounts.get(old.parent)
        if parent is not None and parent.group is not None:
            raise RefusedAsShared("EINVAL", "the parent of the source is shared", parent.id)
        refuse_if(old.ns != to.ns, "EINVAL", "the target is in another namespace")
    if beneath:
        target = _beneath(tables, source, target)
    to_shared = tables.mounts[target.mount].group is not None
    unbindable = (
        [mount.id for mount in tables.tree(old.id) if mount.unbindable] if to_shared else []
    )
    refuse_if(
        bool(unbindable), "EINVAL", "unbindable mounts cannot come to a shared mount", *unbindable
    )
    refuse_if(_contains(tables, old, target.mount), "ELOOP", "the target is within the source")
    tree = [mount.id for mount in tables.tree(old.id)]
    for id in tree:
        tables.note_cause(id, "direct", tables.originals.get(id))
    attach(tables, old.id, target, to.ns)
    if is_mounted(to):
        for id in tree:
            tables.originals.pop(id, None)


def _beneath(tables: Tables, source: Spot, target: Spot) -> Spot:
    """The spot beneath the mount on another one: can_move_mount_beneath()."""
    old, to = tables.mounts[source.mount], tables.mounts[target.mount]
    parent = tables.mounts.get(to.parent)
    refuse_if(to.parent is None, "EINVAL", "the mount there is the root of its namespace")
    refuse_if(not is_root(tables, target), "EINVAL", "the target is not the root of a mount")
    refuse_if(to.locked, "EINVAL", "the mount there is locked", to.id)
    refuse_if(tables.child(source) is not None, "EINVAL", "the source is covered")
    refuse_if(tables.roots.get(to.ns) == to.id, "EINVAL", "the mount there is the root directory")
    if parent is None or parent.parent is None:
        raise Refused("EINVAL", "the mount there is on the root of its namespace")
    refuse_if(_contains(tables, to, old.id), "EINVAL", "the source is on the mount there")
    spot = Spot(parent.id, to.place)
    for covered in (to, old) if is_mounted(old) else (to,):
        covers = _would_cover(tables, spot, covered)
        refuse_if(covers, "EINVAL", "a propagated copy would cover it")
    return spot


def _would_cover(tables: Tables, spot: Spot, mount: Mount) -> bool:
    """Whether what is mounted on a spot is propagated onto a mount's root.

    propagation_would_overmount() in fs/pnode.c.
    """
    on = tables.mounts[spot.mount]
    if on.group is None or (mount.device, mount.root) != (on.device, spot.place):
        return False
    found: Mount | None = mount
    while found is not None:
        if found.group == on.group:
            return True
        found = next(iter(tables.members(found.master)), None)
    return False


def _contains(tables: Tables, mount: Mount, other: MountId) -> bool:
    """Whether one mount is another, or somewhere under it: mount_is_ancestor()."""
    found = tables.mounts.get(other)
    while found is not None and found.id != mount.id:
        found = tables.mounts.get(found.parent)
    return found is not None


@operation()
def set_group(tables: Tables, source: Spot, target: Spot) -> None:
    """Put a mount into the groups of another one: MOVE_MOUNT_SET_GROUP (since 5.15)."""
    for spot in (source, target):
        refuse_if(not is_root(tables, spot), "EINVAL", "not the root of a mount")
    old, to = tables.mounts[source.mount], tables.mounts[target.mount]
    within = old.device == to.device and lies_under(to.root, old.root)
    refuse_if(not within, "EINVAL", "the target is not within what the source mounts")
    for child in tables.children(old.id):
        hides = child.locked and lies_under(child.place, to.root)
        refuse_if(hides, "EINVAL", "a locked mount is there")
    for mount, wanted in ((old, True), (to, False)):
        grouped = mount.group is not None or mount.master is not None
        refuse_if(grouped != wanted, "EINVAL", "only from a shared mount or a slave to another")
    unbindable = to.unbindable and old.group is None
    tables.put(to._replace(group=old.group, master=old.master, unbindable=unbindable))


@operation()
def pivot_root(tables: Tables, new_root: Spot, put_old: Spot, *, root: Spot | None = None) -> None:
    """Make a mount the root directory: pivot_root(2).

    Args:
        tables: to be changed, with the root directory of the namespace if it was the old one.
        new_root: the new root directory.
        put_old: where to put the old one.
        root: the old one, if it is not the root directory of the namespace.
    """
    new = tables.mounts[new_root.mount]
    if root is None:
        mount = tables.mounts[tables.roots[new.ns]]
        root = Spot(mount.id, mount.root)
    put_old = target_of(tables, put_old)
    old, on = tables.mounts[root.mount], tables.mounts[put_old.mount]
    parents = tables.mounts.get(new.parent), tables.mounts.get(old.parent)
    names = "the mount that put_old is on", "the parent of the new root", "the parent of the root"
    for name, mounted in zip(names, (on, *parents), strict=True):
        if mounted is not None and mounted.group is not None:
            reason = f"{name}, {tables.path(mounted.id)}, is shared"
            raise RefusedAsShared("EINVAL", reason, mounted.id)
    refuse_if(new.ns != old.ns, "EINVAL", "the new root is in another namespace")
    refuse_if(new.locked, "EINVAL", "the new root is locked", new.id)
    refuse_if(new_root.place.endswith(DELETED), "ENOENT", "the new root was removed")
    refuse_if(old.id in (new.id, on.id), "EBUSY", "the new root or put_old is on the old root")
    for spot, mounted in ((root, old), (new_root, new)):
        refuse_if(not is_root(tables, spot), "EINVAL", "not the root of a mount")
        refuse_if(mounted.parent is None, "EINVAL", "the root of its namespace")
    refuse_if(not _reaches(tables, new_root, put_old), "EINVAL", "put_old is not under new_root")
    refuse_if(not _reaches(tables, root, new_root), "EINVAL", "new_root is not under the root")
    # The old root is moved last: a mount that is at its new place by then stays there.
    new = tables.put(new._replace(parent=old.parent, place=old.place, locked=old.locked))
    tables.put(old._replace(parent=on.id, place=put_old.place, locked=False))
    if tables.roots.get(new.ns) == old.id:
        tables.set_root(new.ns, new.id)


def _reaches(tables: Tables, root: Spot, spot: Spot) -> bool:
    """Whether one spot is under another: is_path_reachable()."""
    while spot.mount != root.mount:
        mount = tables.mounts[spot.mount]
        if mount.parent not in tables.mounts:
            return False
        spot = Spot(mount.parent, mount.place)
    return lies_under(spot.place, root.place)
