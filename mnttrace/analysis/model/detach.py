# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mounts that a umount detaches.

As umount_tree() in fs/namespace.c and propagate_umount() in fs/pnode.c do it since 6.17, see
Documentation/filesystems/propagate_umount.txt. Commit f0d0ba19985d brought this ("Rewrite of
propagate_umount()"): before, a mount that covered a copy could end up elsewhere.
"""

from __future__ import annotations

from mnttrace.analysis.model.mounts import Mount, MountId, Spot, Via
from mnttrace.analysis.model.tables import Tables


def detach(tables: Tables, root: MountId, via: Via) -> None:
    """Detach a mount and all that is attached to it, without propagation."""
    for mount in tables.tree(root):
        tables.note_cause(mount.id, via)
        tables.drop(mount.id)


def detach_propagating(tables: Tables, root: MountId) -> None:
    """Detach a mount, all that is attached to it, and their copies, except those that must stay.

    The mounts that covered a detached copy then lie on what the copy was attached to.
    """
    tree = {mount.id: mount for mount in tables.tree(root)}
    # Copies of the mount itself are unlocked, whether they go or not: propagate_mount_unlock().
    for copy, _ in _copies(tables, tables.mounts[root]):
        if copy.locked and copy.id not in tree:
            tables.put(copy._replace(locked=False))
    candidates = _candidates(tables, tree)
    going = _acceptable(tables, tree, {id: tables.mounts[id] for id in candidates})
    gone = tree | going
    uncovered = [
        over
        for mount in going.values()
        if (over := tables.overmount(mount)) is not None and over.id not in gone
    ]
    landings = {mount.id: _landing(tables, mount, gone) for mount in uncovered}
    for id in tree:
        tables.note_cause(id, "direct")
        tables.drop(id)
    for id in going:
        tables.note_cause(id, *candidates[id])
        tables.drop(id)
    for id, (bottom, spot) in landings.items():
        tables.note_cause(id, candidates[bottom][0])
        tables.put(tables.mounts[id]._replace(parent=spot.mount, place=spot.place))


def _copies(tables: Tables, mount: Mount) -> list[tuple[Mount, Via]]:
    """The mounts at the place of a mount under all receivers of its parent, and how a umount of it
    comes to each."""
    parent = tables.mounts.get(mount.parent)
    receivers = tables.receivers(parent) if parent else []
    found = [(tables.child(Spot(one.id, mount.place)), via) for one, via in receivers]
    return [(copy, via) for copy, via in found if copy is not None]


def _candidates(tables: Tables, tree: dict[MountId, Mount]) -> dict[MountId, tuple[Via, MountId]]:
    """The copies of a tree's mounts, with how the umount comes to each, and of which mount it is.

    Of several that come to it, that is the first with the same root; if none has that, the first.
    """
    found: dict[MountId, tuple[Via, MountId]] = {}
    for mount in tree.values():
        for copy, via in _copies(tables, mount):
            if copy.id in tree:
                continue
            _, first = found.setdefault(copy.id, (via, mount.id))
            if _is_alike(copy, mount) and not _is_alike(copy, tree[first]):
                found[copy.id] = via, mount.id
    return found


def _is_alike(one: Mount, other: Mount) -> bool:
    return (one.device, one.root) == (other.device, other.root)


def _acceptable(
    tables: Tables, tree: dict[MountId, Mount], candidates: dict[MountId, Mount]
) -> dict[MountId, Mount]:
    """The candidates that are detached.

    A candidate stays if a mount that stays is on it anywhere but on its root, since that one would
    have no place (trim_one()). A locked one stays unless its parent goes, since its umount would
    show what it hides (handle_locked()).
    """
    bears: dict[MountId, bool] = {}  # whether a mount in the tree of a mount stays
    stays: dict[MountId, bool] = {}
    goes: dict[MountId, bool] = {}

    def look(mount: Mount) -> None:
        staying = [child for child in tables.children(mount.id) if bears_one(child)]
        over = tables.overmount(mount)
        stays[mount.id] = any(over is None or child.id != over.id for child in staying)
        bears[mount.id] = stays[mount.id] or bool(staying)

    def bears_one(mount: Mount) -> bool:
        if mount.id in tree:
            return False
        return mount.id not in candidates or bears[mount.id]

    def decide(mount: Mount) -> None:
        unlocked = not mount.locked or goes.get(mount.parent, False)
        goes[mount.id] = not stays[mount.id] and unlocked

    ordered = _parents_first(tables, candidates)
    for mount in reversed(ordered):
        look(mount)
    for mount in ordered:
        decide(mount)
    return {mount.id: mount for mount in ordered if goes[mount.id]}


def _parents_first(tables: Tables, mounts: dict[MountId, Mount]) -> list[Mount]:
    ordered: dict[MountId, Mount] = {}
    for mount in mounts.values():
        chain = []
        current: Mount | None = mount
        while current is not None and current.id in mounts and current.id not in ordered:
            chain.append(current)
            current = tables.mounts.get(current.parent)
        ordered.update((link.id, link) for link in reversed(chain))
    return list(ordered.values())


def _landing(tables: Tables, mount: Mount, gone: dict[MountId, Mount]) -> tuple[MountId, Spot]:
    """Where a mount lies when the stack beneath it is gone, and the lowest mount of that stack."""
    bottom = mount
    while bottom.parent in gone:
        bottom = tables.mounts[bottom.parent]
    return bottom.id, Spot(bottom.parent, bottom.place)
