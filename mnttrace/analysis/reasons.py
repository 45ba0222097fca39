"""Why operations failed, where the mount tables of that moment tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.mounts import Refused, Spot
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.replay import Replay, rows

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

Row = dict[str, Any]
# The errors that tables can account for.
_ERRORS = {"EINVAL", "EBUSY", "ELOOP"}
_COLUMNS = ["seq", "monotonic", "syscall", "error", "ns_id", "root_unique", "path", "source_path"]
_COLUMNS += ["flags", "propagation"]


def reasons(run: Recording) -> dict[int, str]:
    """Operation → why it failed, for those that the rules of shared subtrees refuse.

    The operation is tried on the tables as they were when it began; where the model refuses it
    with the same error as the kernel did, its reason is the kernel's.
    """
    operations = run.operations
    failed = operations[operations["error"].isin(_ERRORS) & operations["syscall"].isin(_TRIALS)]
    found = {}
    replay = Replay(run)
    for row in rows(failed, _COLUMNS):
        reason = _reason(replay.to(row["seq"], row["monotonic"]), row)
        if reason:
            found[row["seq"]] = reason
    return found


def _reason(tables: Tables, row: Row) -> str:
    try:
        _TRIALS[row["syscall"]](tables.copy(), row)
    except Refused as refused:
        return refused.reason if refused.errno == row["error"] else ""
    except KeyError:
        return ""  # what it worked on is not in the tables
    if row["syscall"] == "umount2" and row["error"] == "EBUSY":
        return "processes use it: as working or root directory, or through open files"
    return ""


def _spot(tables: Tables, row: Row, column: str) -> Spot:
    root = tables.mounts.get(row["root_unique"])
    return tables.resolve(
        row["ns_id"], row[column], root=Spot(root.id, root.root) if root else None
    )


def _pivot_root(tables: Tables, row: Row) -> None:
    root = tables.mounts.get(row["root_unique"])
    propagation.pivot_root(
        tables,
        _spot(tables, row, "path"),
        _spot(tables, row, "source_path"),
        root=Spot(root.id, root.root) if root else None,
    )


def _umount(tables: Tables, row: Row) -> None:
    lazy = "MNT_DETACH" in row["flags"]
    propagation.umount(tables, _spot(tables, row, "path"), lazy=lazy)


def _mount(tables: Tables, row: Row) -> None:
    flags = row["flags"].split("|")
    target = _spot(tables, row, "path")
    recursive = "MS_REC" in flags
    if "MS_REMOUNT" in flags:
        return
    if "MS_BIND" in flags:
        propagation.bind(tables, _spot(tables, row, "source_path"), target, recursive=recursive)
    elif row["propagation"]:
        propagation.change(tables, target, row["propagation"], recursive=recursive)
    elif "MS_MOVE" in flags:
        propagation.move(tables, _spot(tables, row, "source_path"), target)


def _move_mount(tables: Tables, row: Row) -> None:
    propagation.move(
        tables,
        _spot(tables, row, "source_path"),
        _spot(tables, row, "path"),
        beneath="MOVE_MOUNT_BENEATH" in row["flags"],
    )


_TRIALS: dict[str, Callable[[Tables, Row], None]] = {
    "mount": _mount,
    "move_mount": _move_mount,
    "pivot_root": _pivot_root,
    "umount2": _umount,
}
