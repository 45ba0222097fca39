"""Which mounts a umount takes along.

As umount_tree() in fs/namespace.c and propagate_umount() in fs/pnode.c have it since 6.17, by the
rules of Documentation/filesystems/propagate_umount.txt. Commit f0d0ba19985d brought them ("Rewrite
of propagate_umount()"), for before a mount that covered a copy could come to lie elsewhere.
"""

from __future__ import annotations

from mnttrace.analysis.model.mounts import Mount, MountId, Spot, Via
from mnttrace.analysis.model.tables import Tables


def detach(tables: Tables, root: MountId, via: Via) -> None:
    """Detach a mount and all that is attached to it, without propagation."""
    for mount in tables.tree(root):
        tables.blame(mount.id, via)
        tables.drop(mount.id)


def detach_propagating(tables: Tables, root: MountId) -> None:
    """Detach a mount and all that is attached to it, and their copies as far as nothing forbids.

    The mounts that covered such a copy come to lie on what it was attached to.
    """
    tree = {mount.id: mount for mount in tables.tree(root)}
    candidates = _candidates(tables, tree)
    # Copies of the mount itself are unlocked, whether they go or not: propagate_mount_unlock().
    for id, (_, original) in candidates.items():
        if original == root and tables.mounts[id].locked:
            tables.put(tables.mounts[id]._replace(locked=False))
    going = _acceptable(tables, tree, {id: tables.mounts[id] for id in candidates})
    gone = tree | going
    uncovered = [
        over
        for mount in going.values()
        if (over := tables.overmount(mount)) is not None and over.id not in gone
    ]
    landings = {mount.id: _landing(tables, mount, gone) for mount in uncovered}
    for id in tree:
        tables.blame(id, "direct")
        tables.drop(id)
    for id in going:
        tables.blame(id, *candidates[id])
        tables.drop(id)
    for id, (bottom, spot) in landings.items():
        tables.blame(id, candidates[bottom][0])
        tables.put(tables.mounts[id]._replace(parent=spot.mount, place=spot.place))


def _candidates(tables: Tables, tree: dict[MountId, Mount]) -> dict[MountId, tuple[Via, MountId]]:
    """What lies at the places of a tree's mounts in all that gets propagation from their parents.

    With how the umount comes to it, and which mount of the tree it is the copy of.
    """
    found: dict[MountId, tuple[Via, MountId]] = {}
    for mount in tree.values():
        parent = tables.mounts.get(mount.parent)
        for receiver, via in tables.receivers(parent) if parent else ():
            copy = tables.child(Spot(receiver.id, mount.place))
            if copy is not None and copy.id not in tree:
                found.setdefault(copy.id, (via, mount.id))
    return found


def _acceptable(
    tables: Tables, tree: dict[MountId, Mount], candidates: dict[MountId, Mount]
) -> dict[MountId, Mount]:
    """Those of the candidates that go.

    One stays if something that stays is on it anywhere but on its root: that would have no place
    to go to (trim_one()). And a locked one stays unless what it is locked to goes: else it would
    show what it hides (handle_locked()).
    """
    bears: dict[MountId, bool] = {}  # whether something in the tree of a mount stays
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
    """Where a mount comes to lie when the stack beneath it goes, and the lowest one of that."""
    bottom = mount
    while bottom.parent in gone:
        bottom = tables.mounts[bottom.parent]
    return bottom.id, Spot(bottom.parent, bottom.place)
