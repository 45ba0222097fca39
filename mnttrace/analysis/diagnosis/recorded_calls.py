# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recorded calls, done again on tables that may be others than those that they had.

Where the recorded effects show what a call worked on, that is taken, as paths are not always known
from the root of the namespace.
"""

from __future__ import annotations

from collections.abc import Iterator

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import (
    Effect,
    Mount,
    MountId,
    Namespace,
    Refused,
    Spot,
    lies_under,
)
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.state.replay import mount_of
from mnttrace.linux.flags import MOUNT, UMOUNT

WorkedOn = tuple[str, str] | None
"""A directory or a file: its device, and its path within the file system."""


def birth(tables: Tables, born: list[Row]) -> list[Effect]:
    """A namespace is made: a copy of another one."""
    new, source = born[0]["ns_id"], born[0]["copy_of_ns_id"]
    is_foreign = any(
        row["locked"] and not tables.mounts[row["copy_of_unique"]].locked
        for row in born
        if row["copy_of_unique"] in tables.mounts
    )
    return propagation.copy_namespace(
        tables,
        source,
        new,
        owner=("owner", new) if is_foreign else None,
        keeps_unbindable=any(row["unbindable"] for row in born),
    )


def call(tables: Tables, row: Row, recorded: list[Row]) -> list[Effect]:
    """Any other call that succeeded: its effects now.

    Args:
        tables: to be changed.
        row: of `operations`.
        recorded: its rows of `effects`.

    Raises:
        KeyError: what it worked on is not there.
        Refused: it would be.
    """
    own = [one for one in recorded if one["via"] == "direct"]
    attached = [one for one in own if one["action"] == "attach"]
    detached = [one for one in own if one["action"] == "detach"]
    removed = [one for one in recorded if one["via"] == "mountpoint-removed"]
    if removed:
        return _remove(tables, row, removed[0])
    if attached:
        return _attach(tables, row, attached)
    if detached and row["syscall"] == "umount2":
        return _umount(tables, row, _top(detached))
    moved = [
        one for one in own if one["action"] == "move" and one["mnt_id_unique"] in tables.mounts
    ]
    if row["syscall"] == "pivot_root" and len(moved) > 1:
        return _pivot_root(tables, moved)
    if row["syscall"] in calls.CALLS:
        return calls.carry_out(tables, row)
    return []


def _pivot_root(tables: Tables, moved: list[Row]) -> list[Effect]:
    """The old root was moved onto the new one, and that to where the old one was."""
    ids = {one["mnt_id_unique"] for one in moved}
    new = next(one for one in moved if one["parent_unique"] not in ids)
    old = next(one for one in moved if one is not new)
    spots = [_root_of(tables, one["mnt_id_unique"]) for one in (new, old)]
    on = _place_of(tables, old)
    if on.mount not in tables.mounts:
        raise KeyError(on.mount)
    return propagation.pivot_root(tables, spots[0], on, root=spots[1])


def _root_of(tables: Tables, mount: MountId) -> Spot:
    return Spot(mount, tables.mounts[mount].root)


def _place_of(tables: Tables, effect: Row) -> Spot:
    """Where an effect put its mount."""
    mount = mount_of(effect, tables)
    return Spot(mount.parent, mount.place)


def spot_of_change(tables: Tables, row: Row, recorded: list[Row]) -> Spot:
    """What a change of the propagation type worked on: the mount at the path of which just that
    changes which did.

    Of several at one path it can be a lower one: a program that is in it calls it ".".
    """
    mount = tables.mounts.get(row["path_unique"])
    if mount is not None:
        return Spot(mount.id, mount.root)
    found = calls.spot_of(tables, row, "path")
    changed = {one["mnt_id_unique"] for one in recorded if one["via"] == "direct"}
    if _changing(tables, found.mount, row) != changed:
        path = tables.path(found.mount)
        for other in tables.in_namespace(row["ns_id"]):
            if tables.path(other.id) == path and _changing(tables, other.id, row) == changed:
                return Spot(other.id, other.root)
    return found


def _changing(tables: Tables, mount: MountId, row: Row) -> set[MountId]:
    """The mounts that get another propagation type."""
    tree = tables.tree(mount) if calls.is_recursive(row) else [tables.mounts[mount]]
    match row["propagation"]:
        case "slave":
            return {one.id for one in tree if one.group is not None}
        case "shared":
            return {one.id for one in tree if one.group is None}
        case to:
            return {one.id for one in tree if one.propagation != to}


def worked_on(tables: Tables, effects: list[Effect]) -> WorkedOn:
    """What a call that had effects attached a mount to, or unmounted."""
    for effect in effects:
        mount = effect.mount
        if effect.via == "direct" and effect.action == "attach":
            return tables.mounts[mount.parent].device, mount.place
        if effect.via == "direct" and effect.action == "detach":
            return mount.device, mount.root
    return None


def _top(effects: list[Row]) -> Row:
    """The one of some mounts that is on none of them."""
    ids = {one["mnt_id_unique"] for one in effects}
    return next((one for one in effects if one["parent_unique"] not in ids), effects[0])


def _attach(tables: Tables, row: Row, attached: list[Row]) -> list[Effect]:
    top = _top(attached)
    if top["parent_unique"] not in tables.mounts:
        return calls.carry_out(tables, row, device=top["device"])
    mount = mount_of(top, tables)
    target = Spot(mount.parent, mount.place)
    if top["copy_of_unique"] is None:
        return propagation.mount(tables, target, mount.device, root=mount.root, id=mount.id)
    source = _source(tables, row, mount) or Spot(
        tables.mounts[top["copy_of_unique"]].id, mount.root
    )
    recursive = len(attached) > 1 or bool(row["flags_value"] & MOUNT["MS_REC"])
    return propagation.bind(tables, source, target, recursive=recursive)


def _source(tables: Tables, row: Row, mount: Mount) -> Spot | None:
    """What was bound, by its path, if that shows what the new mount does."""
    if not row["source_path"]:
        return None
    try:
        spot = calls.spot_of(tables, row, "source_path")
    except (Refused, KeyError):
        return None
    same = tables.mounts[spot.mount].device == mount.device and spot.place == mount.root
    return spot if same else None


def _umount(tables: Tables, row: Row, top: Row) -> list[Effect]:
    mount = tables.mounts.get(top["mnt_id_unique"])
    if mount is None:
        return calls.carry_out(tables, row)
    lazy = bool(row["flags_value"] & UMOUNT["MNT_DETACH"])
    return propagation.umount(tables, Spot(mount.id, mount.root), lazy=lazy)


def _remove(tables: Tables, row: Row, removed: Row) -> list[Effect]:
    parent = tables.mounts[removed["parent_unique"]]
    place = mount_of(removed, tables).place
    for through in _with_directory(tables, row["ns_id"], parent, place):
        return propagation.remove(tables, Spot(through.id, place))
    return []


def _with_directory(tables: Tables, ns: Namespace, parent: Mount, place: str) -> Iterator[Mount]:
    for mount in tables.in_namespace(ns):
        if mount.device == parent.device and lies_under(place, mount.root):
            yield mount
