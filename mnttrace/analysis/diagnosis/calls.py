# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recorded calls, tried or carried out on mount tables: rows of the table `operations`.

What changes no mount's place or propagation, as a remount, leaves the tables as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Effect, Refused, Spot
from mnttrace.analysis.model.operation import operation, refusal_of
from mnttrace.analysis.model.tables import Tables
from mnttrace.linux import flags
from mnttrace.linux.flags import MOUNT

# What a row needs. It may have `chroot`, too: the path of the caller's root directory, if that is
# no mount, and is known of a recording that has no `root_path`.
COLUMNS = ["syscall", "ns_id", "root_unique", "root_path", "path", "source_path", "flags_value"]
COLUMNS += ["propagation", "fs_context"]


def refusal(tables: Tables, row: Row) -> Refused | None:
    """Why a call would be refused, None if it would not; the tables stay unchanged.

    Args:
        tables: as they were when the call began.
        row: its COLUMNS; `syscall` is one of TRIED.

    Raises:
        Refused: a path does not resolve.
        KeyError: its namespace, or a mount that it worked on, is not in the tables.
    """
    work = TRIED[row["syscall"]](tables, row)
    return work and refusal_of(tables, work.function, *work.arguments, **work.options)


def carry_out(tables: Tables, row: Row, *, device: str = "") -> list[Effect]:
    """Do to the tables for good what a call does.

    Args:
        tables: to be changed.
        row: its COLUMNS; `syscall` is one of CALLS.
        device: the number of the file system that a mount(2) of a new one mounts.

    Raises:
        Refused: it would be, and the tables are as they were.
        KeyError: its namespace, or a mount that it works on, is not in the tables.
    """
    work = CALLS[row["syscall"]](tables, row)
    if work is None:
        return []
    of_file_system = {"device": device} if work.function is propagation.mount else {}
    return work.function(tables, *work.arguments, **{**work.options, **of_file_system})


def spot_of(tables: Tables, row: Row, column: str) -> Spot:
    """What the path in a column of a call's row resolves to.

    Raises:
        KeyError: its namespace is not in the tables.
        Refused: its root directory is not mounted any more.
    """
    return spot_at(tables, row, row[column])


def spot_at(tables: Tables, row: Row, path: str) -> Spot:
    """What any path like those in a call's row resolves to; raises as :func:`spot_of`."""
    chroot = row["root_path"]
    if chroot in (None, "/"):
        return spot_inside(tables, row, path)
    if f"{path}/".startswith(f"{chroot}/"):
        return spot_inside(tables, row, path[len(chroot) :])
    return tables.resolve(row["ns_id"], path)


def spot_inside(tables: Tables, row: Row, path: str) -> Spot:
    """What a path resolves to from the caller's root directory on; raises as :func:`spot_of`."""
    return tables.resolve(row["ns_id"], path, root=_root(tables, row))


def action_of(row: Row) -> str:
    """What a mount(2) is for, see :func:`mnttrace.linux.flags.mount_action`."""
    return flags.mount_action(row["flags_value"])


def is_type_change(row: Row) -> bool:
    """Whether an operation changes the propagation type of mounts that are there."""
    return row["syscall"] in ("mount", "mount_setattr") and bool(row["propagation"])


def is_recursive(row: Row) -> bool:
    """Whether such a change is one of what is mounted on these, too."""
    flag = MOUNT["MS_REC"] if row["syscall"] == "mount" else flags.AT["AT_RECURSIVE"]
    return bool((row["flags_value"] or 0) & flag)


class _Work(NamedTuple):
    """An operation of the model, with what it is to be given beside the tables."""

    function: Callable[..., list[Effect]]
    arguments: tuple[object, ...]
    options: dict[str, Any]


def has(row: Row, flag: int) -> bool:
    """Whether a flag was given."""
    return bool(row["flags_value"] & flag)


def _root(tables: Tables, row: Row) -> Spot | None:
    root = tables.mounts.get(row["root_unique"])
    if root is not None:
        return Spot(root.id, root.root)
    chroot = row.get("chroot") or row["root_path"]
    return None if chroot is None else tables.resolve(row["ns_id"], chroot)


def _pivot_root(tables: Tables, row: Row) -> _Work:
    spots = spot_of(tables, row, "path"), spot_of(tables, row, "source_path")
    return _Work(propagation.pivot_root, spots, {"root": _root(tables, row)})


def _umount(tables: Tables, row: Row) -> _Work:
    lazy = has(row, flags.UMOUNT["MNT_DETACH"])
    return _Work(propagation.umount, (spot_of(tables, row, "path"),), {"lazy": lazy})


def _mount(tables: Tables, row: Row) -> _Work | None:
    action = action_of(row)
    target = spot_of(tables, row, "path")
    recursive = {"recursive": has(row, MOUNT["MS_REC"])}
    if action == "new":
        return _Work(propagation.mount, (target,), {"device": ""})
    if action == "propagation":
        return _Work(propagation.change, (target, row["propagation"]), recursive)
    if action in ("bind", "move"):
        source = spot_of(tables, row, "source_path")
        if action == "bind":
            return _Work(propagation.bind, (source, target), recursive)
        return _Work(propagation.move, (source, target), {})
    return None


def _move_mount(tables: Tables, row: Row) -> _Work:
    if row["fs_context"] is not None:  # of a file system, or a copy that is nowhere yet
        return _Work(propagation.mount, (spot_of(tables, row, "path"),), {"device": ""})
    spots = spot_of(tables, row, "source_path"), spot_of(tables, row, "path")
    if has(row, flags.MOVE_MOUNT["MOVE_MOUNT_SET_GROUP"]):
        return _Work(propagation.set_group, spots, {})
    beneath = has(row, flags.MOVE_MOUNT["MOVE_MOUNT_BENEATH"])
    return _Work(propagation.move, spots, {"beneath": beneath})


def _open_tree(tables: Tables, row: Row) -> _Work | None:
    if not has(row, flags.OPEN_TREE["OPEN_TREE_CLONE"]):
        return None
    recursive = has(row, flags.AT["AT_RECURSIVE"])
    return _Work(_copy, (spot_of(tables, row, "path"),), {"recursive": recursive})


@operation()
def _copy(tables: Tables, source: Spot, *, recursive: bool) -> None:
    """A detached copy: :func:`propagation.open_tree`, as an operation that can be undone."""
    ns = tables.new_tree()
    for copy in propagation.copied(tables, source, recursive).values():
        tables.put(tables.mounts[copy]._replace(ns=ns))


def _setattr(tables: Tables, row: Row) -> _Work | None:
    if not row["propagation"] or row["fs_context"] is not None:
        return None
    recursive = has(row, flags.AT["AT_RECURSIVE"])
    arguments = spot_of(tables, row, "path"), row["propagation"]
    return _Work(propagation.change, arguments, {"recursive": recursive})


# The calls that can be tried and carried out.
CALLS: dict[str, Callable[[Tables, Row], _Work | None]] = {
    "mount": _mount,
    "mount_setattr": _setattr,
    "move_mount": _move_mount,
    "pivot_root": _pivot_root,
    "umount2": _umount,
}
# Those that can be tried: what some of them make is nowhere until another call puts it there.
TRIED = {**CALLS, "open_tree": _open_tree, "open_tree_attr": _open_tree}
