# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables at a moment in the form of the model, with what is known of each mount."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.model.mounts import Mount, MountId, place_of
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.run import Run

_COLUMNS = ["ns_id", "ns", "mount_id", "mnt_id_unique", "parent_id", "parent_unique", "mountpoint"]
_COLUMNS += ["root", "device", "fstype", "source", "shared", "master", "unbindable", "options"]
_COLUMNS += ["propagation"]


@dataclass(frozen=True)
class Now:
    """All mount namespaces at a moment.

    Attributes:
        tables: for the model. The id of a mount is its unique id; where there is none, as in
            imported tables, ("mount", ns_id, mount_id).
        facts: by that id, the row of :func:`mnttrace.analysis.state.moments.tables_at`.
    """

    tables: Tables
    facts: dict[MountId, Row]

    @cached_property
    def by_number(self) -> dict[tuple[int, int], MountId]:
        """The ids of the mounts, by namespace and mount id."""
        return {(row["ns_id"], row["mount_id"]): id for id, row in self.facts.items()}


def tables_of(frame: pd.DataFrame, locked: frozenset[int] = frozenset()) -> Now:
    """The model's tables of a frame.

    Args:
        frame: as of :func:`mnttrace.analysis.state.moments.tables_at`.
        locked: unique ids of mounts that are locked to their parents.
    """
    facts: dict[MountId, Row] = {}
    by_number: dict[tuple[int, int], MountId] = {}
    for row in rows(frame, _COLUMNS):
        id = _id(row)
        facts[id] = row
        by_number[row["ns_id"], row["mount_id"]] = id
    mounts = [_mount(id, row, facts, by_number, id in locked) for id, row in facts.items()]
    return Now(Tables(mounts), facts)


def locked_mounts(run: Run) -> frozenset[int]:
    """Unique ids of the mounts that were locked to their parents by the last effect on each."""
    effects = run.effects
    known = effects.loc[effects["mnt_id_unique"].notna(), ["mnt_id_unique", "locked"]]
    last = known.drop_duplicates("mnt_id_unique", keep="last")
    return frozenset(int(one) for one in last.loc[last["locked"].fillna(False), "mnt_id_unique"])


def _id(row: Row) -> MountId:
    unique = row["mnt_id_unique"]
    return unique if unique is not None else ("mount", row["ns_id"], row["mount_id"])


def _device(row: Row) -> str:
    """The device; of an imported mount whose device or root is not told, one that none has."""
    if row["device"] and row["root"] != "":
        return str(row["device"])
    return f"not told, of mount {row['mount_id']} in {row['ns_id']}"


def _mount(
    id: MountId,
    row: Row,
    facts: dict[MountId, Row],
    by_number: dict[tuple[int, int], MountId],
    is_locked: bool,
) -> Mount:
    above: Any = by_number.get((row["ns_id"], row["parent_id"]))
    parent = facts.get(above) if above != id else None
    if parent is None:
        # The lowest root has no line: an id that no mount has stands for it.
        above, parent = ("above", row["ns_id"]), {"mountpoint": "/", "root": "/"}
    return Mount(
        id,
        row["ns_id"],
        above,
        place_of(row["mountpoint"], parent["mountpoint"], parent["root"] or "/"),
        _device(row),
        row["root"] or "/",
        row["shared"],
        row["master"],
        bool(row["unbindable"]),
        is_locked,
    )
