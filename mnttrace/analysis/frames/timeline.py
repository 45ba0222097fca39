# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations in order, joined with their effects."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pandas as pd

from mnttrace.analysis.names import labels
from mnttrace.analysis.query.targets import IDENTITY, find, known_mounts
from mnttrace.analysis.run import Run
from mnttrace.errors import BadInput

_FROM_EFFECTS = {
    "seq": "seq",
    "ts": "effect_ts",
    "ns_id": "where_id",
    "action": "action",
    "via": "via",
    "evidence": "evidence",
    "mountpoint": "mountpoint",
    "fstype": "fstype",
    "before": "before",
    "after": "after",
    "mount_id": "mount_id",
    "mnt_id_unique": "mnt_id_unique",
}
_FROM_OPERATIONS = ["seq", "ts", "pid", "comm", "ns_id", "syscall", "path", "flags", "error"]
COLUMNS = ["ts", "seq", "namespace", "process", "syscall", "path", "flags", "error", "action"]
COLUMNS += ["via", "where", "mountpoint", "fstype", "before", "after", "evidence", "mount_id"]
COLUMNS += ["mnt_id_unique"]
_CHANGE_TYPES = ("mount", "mount_setattr")


@dataclass(frozen=True)
class Happened:
    """What happened to a target.

    Attributes:
        operations: rows of `operations`: those with effects on it, those that were called at its
            mount point, those that failed at that path in any namespace; of a namespace, those
            that were made in it.
        effects: rows of `effects` that concern it.
        notes: how the target was understood, where that is not certain, as sentences.
    """

    operations: pd.DataFrame
    effects: pd.DataFrame
    notes: tuple[str, ...] = ()


def happened(run: Run, target: str | None = None) -> Happened:
    """What happened to some mounts or in a namespace, or at all.

    Args:
        run: a recording, or a part of one; with its effects go their operations, from wherever.
        target: as for :func:`mnttrace.analysis.query.targets.find`; None: everything.

    Raises:
        RecordingError: a table cannot be read.
        BadInput: nothing in the recording matches the target.
    """
    operations, effects = run.whole.operations, run.effects
    seqs = set(run.operations["seq"]) | set(effects["seq"].dropna())
    operations = operations[operations["seq"].isin(seqs)]
    if target is None:
        return Happened(operations, effects)
    failed = _failed_at(operations, target)
    try:
        known = known_mounts(run.whole)
        found = find(run.whole, known, target)
    except BadInput:
        if not _failed_at(run.whole.operations, target).any():
            raise
        return Happened(operations[failed], effects.head(0))
    if found.kind == "mount of the path" and _failed_at(run.whole.operations, target).any():
        return Happened(operations[failed], effects.head(0), found.notes)
    if found.kind == "namespace":
        spaces = set(found.mounts["ns_id"])
        is_its = operations["ns_id"].isin(spaces) | operations["ns_target_id"].isin(spaces)
        of_it = effects["ns_id"].isin(spaces) | effects["seq"].isin(operations.loc[is_its, "seq"])
    else:
        known = known.merge(found.mounts[IDENTITY].drop_duplicates())
        is_its = failed | _called_at(operations, known)
        of_it = effects["mnt_id_unique"].isin(known["mnt_id_unique"].dropna())
    is_its |= operations["seq"].isin(effects.loc[of_it, "seq"].dropna())
    return Happened(operations[is_its], effects[of_it], found.notes)


def _called_at(operations: pd.DataFrame, mounts: pd.DataFrame) -> pd.Series:
    """Which operations name the mount point of one of some mounts in its namespace."""
    places = pd.MultiIndex.from_frame(mounts[["ns_id", "mountpoint"]].drop_duplicates())
    asked = pd.MultiIndex.from_frame(operations[["ns_id", "path"]])
    return pd.Series(asked.isin(places), operations.index)


def _failed_at(operations: pd.DataFrame, path: str) -> pd.Series:
    """Which operations failed at a path, in any namespace."""
    is_at: pd.Series = operations["path"] == os.path.normpath(path)
    return (is_at & (operations["error"] != "")).fillna(False).astype(bool)


def idle(run: Run) -> set[int]:
    """The calls that were to change propagation types, succeeded, and changed no mount.

    Returns:
        Numbers of operations; none if the recording would not have each change.
    """
    if run.meta.get("backend") not in ("kernel-hooks", "walk") or run.meta.get("filters"):
        return set()
    operations = run.whole.operations
    is_it = operations["syscall"].isin(_CHANGE_TYPES) & (operations["error"] == "")
    is_it &= (operations["propagation"] != "").fillna(False)
    is_it &= ~operations["seq"].isin(run.whole.effects["seq"])
    return set(operations.loc[is_it, "seq"])


def timeline(run: Run, target: str | None = None) -> pd.DataFrame:
    """One row an effect, and one for each operation without effects, in the order of time.

    Args:
        run: a recording, or a part of one.
        target: mounts or a namespace, as for :func:`mnttrace.analysis.query.targets.find`: only
            what happened to them or in it, and what failed there. None: everything.

    Returns:
        A frame with COLUMNS: `namespace` is the label of the caller's namespace, `process` like
        "mount[17]", `syscall` to `error` are the operation's (null if none caused the effect),
        `action` to `mnt_id_unique` the effect's (null if there is none), `where` is the label of
        the namespace with the effect.

    Raises:
        RecordingError: a table cannot be read.
        BadInput: nothing in the recording matches the target.
    """
    chosen = happened(run, target)
    renamed = chosen.effects[list(_FROM_EFFECTS)].rename(columns=_FROM_EFFECTS)
    both = chosen.operations[_FROM_OPERATIONS].merge(renamed, on="seq", how="outer")
    names = labels(run)
    rows = both.assign(
        ts=both["ts"].fillna(both["effect_ts"]),
        namespace=both["ns_id"].map(names),
        where=both["where_id"].map(names),
        process=both["comm"] + "[" + both["pid"].astype("string[pyarrow]") + "]",
    )
    return rows.sort_values(["ts", "seq"], kind="stable")[COLUMNS].reset_index(drop=True)
