# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of a recording in the form of the model, operation by operation.

They begin with the first snapshots; the recorded effects are applied in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.model.mounts import Mount, joined
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.run import Run

_MOUNTS = ["snapshot", "ns_id", "mount_id", "mnt_id_unique", "parent_id", "device", "root"]
_MOUNTS += ["mountpoint", "shared", "master", "unbindable"]
_EFFECTS = ["seq", "monotonic", "ns_id", "action", "mnt_id_unique", "parent_unique", "parent_path"]
_EFFECTS += ["mountpoint", "root", "device", "shared", "master", "unbindable", "locked"]


class Replay:
    """Goes forward through a recording, from operation to operation.

    Args:
        run: the recording; its mounts need unique ids.
        moments: the operations that will be asked for, with `seq`, `monotonic` and `ns_id`; None:
            all. Mounts that come and go between two of them are left out.
        narrow: only the namespace `ns_id` of each operation will be looked at.

    Attributes:
        tables: as they are now.
    """

    def __init__(self, run: Run, moments: pd.DataFrame | None = None, narrow: bool = False) -> None:
        mounts, effects = run.mounts, run.effects
        if moments is not None:
            if narrow:
                mounts = mounts[mounts["ns_id"].isin(moments["ns_id"])]
            effects = effects[_matter(effects, moments, narrow)]
        self.tables = Tables(_first_tables(run.snapshots, mounts))
        self._effects = rows(effects, _EFFECTS)
        self._next = next(self._effects, None)

    def to(self, seq: int, monotonic: int) -> Tables:
        """Go forward to the moment when an operation began.

        Args:
            seq: its number; effects of operations with lower numbers are applied.
            monotonic: CLOCK_MONOTONIC, ns; effects without an operation, seen before, are, too.
        """
        while self._next is not None and _is_before(self._next, seq, monotonic):
            self._apply(self._next)
            self._next = next(self._effects, None)
        return self.tables

    def _apply(self, row: Row) -> None:
        unique = row["mnt_id_unique"]
        is_gone = row["action"] == "detach"
        self.tables.learn(unique, None if is_gone else mount_of(row, self.tables))


def mount_of(effect: Row, tables: Tables) -> Mount:
    """The mount of an effect, as it was after the effect.

    Args:
        effect: a row of the table `effects`.
        tables: they have its parent.
    """
    parent = tables.mounts.get(effect["parent_unique"])
    path, above = effect["mountpoint"], effect["parent_path"] or "/"
    below = path if above == "/" else path[len(above) :]
    return Mount(
        effect["mnt_id_unique"],
        effect["ns_id"],
        effect["parent_unique"],
        joined(parent.root if parent else "/", below),
        effect["device"] or "",
        effect["root"] or "/",
        effect["shared"],
        effect["master"],
        bool(effect["unbindable"]),
        bool(effect["locked"]),
    )


def _is_before(effect: Row, seq: int, monotonic: int) -> bool:
    if effect["seq"] is not None:
        return bool(effect["seq"] < seq)
    return effect["monotonic"] is None or bool(effect["monotonic"] < monotonic)


def _matter(effects: pd.DataFrame, moments: pd.DataFrame, narrow: bool) -> np.ndarray[Any, Any]:
    """Which effects matter at some moments: not those after the last one, nor those on mounts that
    come and go between two."""
    # How many effects come before each moment: up to the first that `_is_before` does not hold for.
    seq = effects["seq"].fillna(0).to_numpy(np.uint64)
    seen = effects["monotonic"].fillna(0).where(effects["seq"].isna(), 0).to_numpy(np.uint64)
    before = np.minimum(
        np.searchsorted(np.maximum.accumulate(seq), moments["seq"].to_numpy(np.uint64)),
        np.searchsorted(np.maximum.accumulate(seen), moments["monotonic"].to_numpy(np.uint64)),
    )
    theirs = moments["ns_id"] if narrow else moments["ns_id"] * 0
    which = pd.Index(theirs.unique())
    namespaces = which.get_indexer(effects["ns_id"] if narrow else effects["ns_id"] * 0)
    # The moments of each namespace, and between which two of them each effect is.
    size = len(effects) + 1
    borders = np.sort(which.get_indexer(theirs) * size + np.maximum.accumulate(before))
    interval = np.searchsorted(borders, namespaces * size + np.arange(len(effects)), side="right")
    is_seen = np.append(borders, -2 * size)[interval] // size == namespaces
    # In which interval each mount came (-1: in none) and went (-2: in none).
    mounts = effects["mnt_id_unique"]
    number, known = pd.factorize(mounts)
    comes, goes = np.full(len(known) + 1, -1), np.full(len(known) + 1, -2)
    came = ~mounts.duplicated() & (effects["action"] == "attach") & is_seen
    went = ~mounts.duplicated(keep="last") & (effects["action"] == "detach") & is_seen
    comes[number[came]], goes[number[went]] = interval[came], interval[went]
    matter: np.ndarray[Any, Any] = is_seen & (comes != goes)[number]
    return matter


def _first_tables(snapshots: pd.DataFrame, mounts: pd.DataFrame) -> Iterator[Mount]:
    """The mounts of the namespaces that were there when the recording began."""
    first = snapshots.loc[snapshots["reason"] == "start", "snapshot"]
    found = mounts[mounts["snapshot"].isin(first) & mounts["mnt_id_unique"].notna()]
    # The lines of a table follow each other.
    for _, table in groupby(rows(found, _MOUNTS), lambda row: row["snapshot"]):
        lines = {row["mount_id"]: row for row in table}
        for row in lines.values():
            parent = lines.get(row["parent_id"])
            above = parent["mountpoint"] if parent else "/"
            below = row["mountpoint"] if above == "/" else row["mountpoint"][len(above) :]
            yield Mount(
                row["mnt_id_unique"],
                row["ns_id"],
                # The lowest root has no line, so this id stands for it. It is no number: mounts
                # have positive ones, and copies that the model predicts negative ones.
                parent["mnt_id_unique"] if parent else ("above", row["ns_id"]),
                joined(parent["root"] if parent else "/", below),
                row["device"],
                row["root"],
                row["shared"],
                row["master"],
                bool(row["unbindable"]),
            )
