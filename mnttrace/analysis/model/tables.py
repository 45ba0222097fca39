# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of all mount namespaces together, as the model of shared subtrees works on them.

:class:`Tables` only stores: mounts with the indexes that make an operation cost what it touches,
and a journal, from which the effects of an operation follow, or with which it is undone. The
operations of the kernel are in :mod:`mnttrace.analysis.model.propagation`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Hashable, Iterable, Iterator, Mapping

from mnttrace.analysis.model.mounts import (
    Detached,
    Effect,
    Mount,
    MountId,
    Namespace,
    Refused,
    Spot,
    Via,
    action_of,
    is_mounted,
    joined,
)


class Tables:
    """Mount tables, by the ids of the mounts.

    Args:
        mounts: all of them, of all namespaces.
        roots: by namespace, the mount that is the root directory of its processes; by default the
            topmost one on the root of the namespace.
        owners: by mount namespace, the user namespace that owns it; by default the same for all.

    Attributes:
        mounts: by id; to be changed by :meth:`put` and :meth:`drop` only.
        roots, owners: as above.
        originals: for mounts of detached trees the mounts that they are copies of.
    """

    def __init__(
        self,
        mounts: Iterable[Mount] = (),
        *,
        roots: Mapping[Namespace, MountId] | None = None,
        owners: Mapping[Namespace, Hashable] | None = None,
    ) -> None:
        self.mounts: dict[MountId, Mount] = {mount.id: mount for mount in mounts}
        self.owners: dict[Namespace, Hashable] = dict(owners or {})
        self.originals: dict[MountId, MountId] = {}
        self._children: dict[MountId, dict[str, MountId]] = {}
        # Buckets of ids: by namespace, peer group, master, root, dentry mounted on.
        self._buckets: dict[tuple[Hashable, ...], dict[MountId, None]] = {}
        self._keys: dict[MountId, tuple[tuple[Hashable, ...], ...]] = {}
        self._journal: dict[MountId, Mount | None] = {}
        self._causes: dict[MountId, tuple[Via, MountId]] = {}
        self._roots_before: dict[Namespace, MountId] = {}
        self._last_id = self._last_group = self._last_tree = 0
        for mount in self.mounts.values():
            self._index(mount.id, None, mount)
        self.roots: dict[Namespace, MountId] = {}
        for mount in list(self.mounts.values()):
            if mount.parent not in self.mounts and is_mounted(mount):
                self.roots.setdefault(mount.ns, self.top(Spot(mount.id, mount.root)).mount)
        self.roots.update(roots or {})

    def copy(self) -> Tables:
        """A copy; costs one pass over the indexes."""
        other = Tables()
        other.mounts = dict(self.mounts)
        other.owners = dict(self.owners)
        other.roots = dict(self.roots)
        other.originals = dict(self.originals)
        other._children = {mount: dict(places) for mount, places in self._children.items()}
        other._buckets = {key: dict(bucket) for key, bucket in self._buckets.items()}
        other._keys = dict(self._keys)
        other._last_id, other._last_group = self._last_id, self._last_group
        other._last_tree = self._last_tree
        return other

    # Looking

    def child(self, spot: Spot) -> Mount | None:
        """The mount on a spot, the lowest one of a stack."""
        places = self._children.get(spot.mount)
        return self.mounts[places[spot.place]] if places and spot.place in places else None

    def children(self, mount: MountId) -> list[Mount]:
        """The mounts that are attached to one."""
        return [self.mounts[child] for child in self._children.get(mount, {}).values()]

    def overmount(self, mount: Mount) -> Mount | None:
        """The mount that covers one: that is on its root."""
        return self.child(Spot(mount.id, mount.root))

    def top(self, spot: Spot) -> Spot:
        """The root of the topmost mount stacked on a spot: what a path to the spot resolves to."""
        while (child := self.child(spot)) is not None:
            spot = Spot(child.id, child.root)
        return spot

    def resolve(
        self, ns: Namespace, path: str, *, root: Spot | None = None, follow: bool = True
    ) -> Spot:
        """What a path resolves to, without symbolic links.

        Args:
            ns: the namespace of the process.
            path: from the root directory of the process.
            root: its root directory, if it is not that of the namespace.
            follow: whether to go on to a mount on the last component; rmdir(2) and the like do not.

        Raises:
            KeyError: the namespace is not in the tables.
            Refused: EINVAL, its root directory is not mounted any more.
        """
        if root is None:
            mount = self.mounts.get(self.roots[ns])
            if mount is None:
                raise Refused("EINVAL", "the root directory is not mounted any more")
            root = Spot(mount.id, mount.root)
        spot = root
        names = [name for name in posixpath.normpath(path).split("/") if name not in ("", ".")]
        for number, name in enumerate(names, 1):
            spot = Spot(spot.mount, joined(spot.place, f"/{name}"))
            if follow or number < len(names):
                spot = self.top(spot)
        return spot

    def path(self, mount: MountId) -> str:
        """The mountpoint of a mount as the processes of its namespace see it."""
        found = self.mounts[mount]
        top = self.roots.get(found.ns)
        path = ""
        while found.id != top and (parent := self.mounts.get(found.parent)) is not None:
            if found.place != parent.root:
                below = found.place if parent.root == "/" else found.place[len(parent.root) :]
                path = below + path
            found = parent
        return path or "/"

    def tree(self, root: MountId) -> list[Mount]:
        """A mount and all that is attached to it, each after its parent."""
        found: list[Mount] = []
        pending = [self.mounts[root]]
        while pending:
            mount = pending.pop()
            found.append(mount)
            if mount.id in self._children:
                pending.extend(reversed(self.children(mount.id)))
        return found

    def members(self, group: int | None) -> list[Mount]:
        """The mounts of a peer group."""
        return self._bucket("group", group)

    def slaves(self, group: int | None) -> list[Mount]:
        """The mounts whose master is a peer group."""
        return self._bucket("master", group)

    def in_namespace(self, ns: Namespace) -> list[Mount]:
        """The mounts of a namespace."""
        return self._bucket("ns", ns)

    def with_root(self, device: str, root: str) -> list[Mount]:
        """The mounts of one file or directory of a filesystem."""
        return self._bucket("root", device, root)

    def mounted_on(self, device: str, place: str) -> list[Mount]:
        """The mounts on one file or directory of a filesystem, through whichever mount of that."""
        return self._bucket("dentry", device, place)

    def receivers(self, mount: Mount) -> list[tuple[Mount, Via]]:
        """The other mounts that receive what happens under a mount, peers and near slaves first.

        These are its peers, the slaves of their group, the peers and slaves of these, and so on
        (propagation_next() in fs/pnode.c).
        """
        if mount.group is None:
            return []
        found: list[tuple[Mount, Via]] = [
            (peer, "peer") for peer in self.members(mount.group) if peer.id != mount.id
        ]
        groups = [mount.group]
        for group in groups:  # grows meanwhile
            for slave in self.slaves(group):
                found.append((slave, "slave"))
                if slave.group is not None and slave.group not in groups:
                    groups.append(slave.group)
        return found

    def _bucket(self, *key: Hashable) -> list[Mount]:
        return [self.mounts[mount] for mount in self._buckets.get(key, ())]

    # Changing

    def new_id(self) -> MountId:
        """An id for a mount that the model predicts."""
        self._last_id -= 1
        while self._last_id in self.mounts:
            self._last_id -= 1
        return self._last_id

    def new_group(self) -> int:
        """A number for a peer group that the model predicts."""
        self._last_group -= 1
        while self.members(self._last_group) or self.slaves(self._last_group):
            self._last_group -= 1
        return self._last_group

    def new_tree(self) -> Detached:
        """The namespace of the mounts of a new detached tree."""
        self._last_tree += 1
        return Detached(self._last_tree)

    def put(self, mount: Mount) -> Mount:
        """Store a new or changed mount.

        When a peer group loses its last member so, its slaves get the master that it had
        (transfer_propagation() in fs/pnode.c).
        """
        before = self._store(mount.id, mount)
        if before is not None and before.group != mount.group:
            self._hand_over(before)
        return mount

    def drop(self, mount: MountId) -> None:
        """Remove a mount."""
        before = self._store(mount, None)
        self.originals.pop(mount, None)
        if before is not None:
            self._hand_over(before)

    def set_root(self, ns: Namespace, mount: MountId) -> None:
        """Make a mount the root directory of the processes of a namespace."""
        self._roots_before.setdefault(ns, self.roots[ns])
        self.roots[ns] = mount

    def learn(self, id: MountId, mount: Mount | None) -> None:
        """Store a mount as it was recorded, None if it is gone, without further consequences."""
        self._store(id, mount)
        self._journal.clear()

    def note_cause(self, mount: MountId, via: Via, copy_of: MountId = None) -> None:
        """Note how the running operation reached a mount."""
        self._causes[mount] = via, copy_of

    def cause(self, mount: MountId) -> Via | None:
        """How the running operation reached a mount."""
        return self._causes[mount][0] if mount in self._causes else None

    def effects(self, via: Via = "direct") -> list[Effect]:
        """End the running operation: its effects, those that came by propagation last.

        Mounts of detached trees are in no namespace: what happens to them is no effect. Nor is
        it when a mount is only locked or unlocked.

        Args:
            via: for the mounts of which nothing else was noted.
        """
        found = sorted(self._effects(via), key=lambda effect: effect.via in ("peer", "slave"))
        self._journal.clear()
        self._causes.clear()
        self._roots_before.clear()
        return found

    def changes(self) -> list[tuple[Mount | None, Mount | None]]:
        """The mounts that the running operation touched: as they were, and as they are."""
        return [(before, self.mounts.get(mount)) for mount, before in self._journal.items()]

    def undo_with_effects(self) -> list[tuple[Effect, str]]:
        """Undo the running operation: the effects that it had, with the paths of the mounts."""
        found = list(self._effects("direct"))
        here = {
            effect.mount.id: self.path(effect.mount.id)
            for effect in found
            if effect.action != "detach"
        }
        self.undo()
        return [
            (effect, here.get(effect.mount.id) or self.path(effect.mount.id)) for effect in found
        ]

    def _effects(self, via: Via) -> Iterator[Effect]:
        for mount, before in self._journal.items():
            after = self.mounts.get(mount)
            cause, copy_of = self._causes.get(mount, (via, None))
            was = before if before is not None and is_mounted(before) else None
            now = after if after is not None and is_mounted(after) else None
            action = action_of(was, now)
            if action and (shown := now or was):
                kept = was if action in ("move", "change") else None
                yield Effect(action, shown, kept, cause, copy_of)

    def undo(self) -> None:
        """Undo the running operation."""
        for mount in self._journal:
            self._index(mount, self.mounts.pop(mount, None), None)
        there = {mount: before for mount, before in self._journal.items() if before is not None}
        self.mounts.update(there)
        # The index has what is mounted on: all parents are to be there by then.
        for mount, before in there.items():
            self._index(mount, None, before)
        self.roots.update(self._roots_before)
        self._journal.clear()
        self._causes.clear()
        self._roots_before.clear()

    def rename(
        self,
        mounts: Mapping[MountId, MountId] | None = None,
        groups: Mapping[int, int] | None = None,
    ) -> None:
        """Give mounts and peer groups that the model predicted the names the kernel gave them.

        Args:
            mounts: new ids by old ids.
            groups: new numbers by old numbers; also where old ones are given to others.
        """
        ids = mounts or {}
        numbers: dict[int | None, int] = dict((groups or {}).items())
        touched = {mount.id: mount for old in ids for mount in self._around(old)}
        for number in numbers:
            members = self.members(number) + self.slaves(number)
            touched.update({mount.id: mount for mount in members})
        renamed = [_renamed(mount, ids, numbers) for mount in touched.values()]
        for mount in touched.values():
            self._index(mount.id, self.mounts.pop(mount.id), None)
        self.mounts.update((mount.id, mount) for mount in renamed)
        for mount in renamed:
            self._index(mount.id, None, mount)
        self.roots.update({ns: ids[root] for ns, root in self.roots.items() if root in ids})
        self.originals = {
            ids.get(copy, copy): ids.get(original, original)
            for copy, original in self.originals.items()
        }

    def _around(self, mount: MountId) -> list[Mount]:
        return [self.mounts[mount], *self.children(mount)] if mount in self.mounts else []

    def _hand_over(self, left: Mount) -> None:
        """Give the slaves of a mount's group to its master if it was the last one in there."""
        if left.group is None or self._buckets.get(("group", left.group)):
            return
        for slave in self.slaves(left.group):
            self._store(slave.id, slave._replace(master=left.master))
            self._causes.setdefault(slave.id, ("slave", None))

    def _store(self, mount: MountId, after: Mount | None) -> Mount | None:
        before = self.mounts.get(mount)
        self._journal.setdefault(mount, before)
        if after is None:
            self.mounts.pop(mount, None)
        else:
            self.mounts[mount] = after
        self._index(mount, before, after)
        return before

    def _index(self, mount: MountId, before: Mount | None, after: Mount | None) -> None:
        """Update the indexes for a mount."""
        here = None if before is None else (before.parent, before.place)
        there = None if after is None else (after.parent, after.place)
        if here != there:
            self._rehang(mount, here, there)
        old = self._keys.pop(mount, ())
        new = () if after is None else self._keys_of(after)
        for key in old:
            if key not in new:
                bucket = self._buckets[key]
                del bucket[mount]
                if not bucket:
                    del self._buckets[key]
        for key in new:
            if key not in old:
                self._buckets.setdefault(key, {})[mount] = None
        if new:
            self._keys[mount] = new

    def _rehang(
        self, mount: MountId, here: tuple[MountId, str] | None, there: tuple[MountId, str] | None
    ) -> None:
        if here is not None:
            places = self._children.get(here[0])
            # Another one may be there already: a copy that was slipped beneath it.
            if places is not None and places.get(here[1]) == mount:
                del places[here[1]]
                if not places:
                    del self._children[here[0]]
        if there is not None and there[0] is not None:
            self._children.setdefault(there[0], {})[there[1]] = mount

    def _keys_of(self, mount: Mount) -> tuple[tuple[Hashable, ...], ...]:
        keys: list[tuple[Hashable, ...]] = [
            ("ns", mount.ns),
            ("root", mount.device, mount.root),
        ]
        if mount.group is not None:
            keys.append(("group", mount.group))
        if mount.master is not None:
            keys.append(("master", mount.master))
        if (parent := self.mounts.get(mount.parent)) is not None:
            keys.append(("dentry", parent.device, mount.place))
        return tuple(keys)


def _renamed(
    mount: Mount, ids: Mapping[MountId, MountId], groups: Mapping[int | None, int]
) -> Mount:
    return mount._replace(
        id=ids.get(mount.id, mount.id),
        parent=ids.get(mount.parent, mount.parent),
        group=groups.get(mount.group, mount.group),
        master=groups.get(mount.master, mount.master),
    )
