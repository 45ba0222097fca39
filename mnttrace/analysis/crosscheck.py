# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The recorded effects of each operation, compared with the model of shared subtrees.

The model gets the tables as they were when the operation began, and the mounts that the operation
itself attached or detached; it predicts the propagated copies. Where these differ from the recorded
ones, either is wrong: differences are reported, not corrected.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.model.copies import attach
from mnttrace.analysis.model.detach import detach_propagating
from mnttrace.analysis.model.mounts import Refused, Spot
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.replay import Replay, mount_of

Row = dict[str, Any]
Copy = tuple[str, int, str]  # action, namespace, mount point
_COPIES = {"peer", "slave"}
_COLUMNS = ["seq", "monotonic", "ns_id", "action", "via", "mnt_id_unique", "parent_unique"]
_COLUMNS += ["parent_path", "mountpoint", "root", "device", "shared", "master", "unbindable"]
_COLUMNS += ["locked"]


@dataclass(frozen=True)
class CrossCheck:
    """The result.

    Attributes:
        checked: how many operations were compared.
        skipped: how many were not, as others ran at the same time, or as mounts that they worked on
            are not in the tables.
        disagreements: columns `seq`, `action` (attach, detach), `ns_id`, `mountpoint`, `only_in`:
            "recording" for copies that the model does not predict, "model" for copies that were not
            recorded.
    """

    checked: int
    skipped: int
    disagreements: pd.DataFrame


def crosscheck(run: Run) -> CrossCheck:
    """Compare each operation that itself attached or detached mounts with the model.

    Args:
        run: a recording with unique ids of mounts.
    """
    effects = run.effects
    direct = effects[(effects["via"] == "direct") & effects["action"].isin(["attach", "detach"])]
    operations = run.operations.set_index("seq", drop=False)
    operations = operations.assign(alone=_are_alone(operations))
    by_operation: dict[int, list[Row]] = {}
    for row in rows(effects[effects["seq"].isin(direct["seq"])], _COLUMNS):
        by_operation.setdefault(row["seq"], []).append(row)
    # No call ended these namespaces, so they may have ended before it was seen.
    deaths = effects[(effects["via"] == "namespace-death") & effects["seq"].isna()]
    unseen_ends = set(deaths["ns_id"])
    replay = Replay(run)
    found: list[tuple[Any, ...]] = []
    skipped = 0
    for row in rows(operations, ["seq", "monotonic", "ns_id", "alone"]):
        recorded = by_operation.get(row["seq"])
        if recorded is None:
            continue
        tables = replay.to(row["seq"], row["monotonic"])
        predicted = _predicted(tables, recorded, row["ns_id"]) if row["alone"] else None
        if predicted is None:
            skipped += 1
            continue
        seen = Counter(
            (effect["action"], effect["ns_id"], effect["mountpoint"])
            for effect in recorded
            if effect["via"] in _COPIES and effect["action"] in ("attach", "detach")
        )
        missing = Counter(
            {copy: n for copy, n in (predicted - seen).items() if copy[1] not in unseen_ends}
        )
        for only_in, copies in (("recording", seen - predicted), ("model", missing)):
            found += [(row["seq"], *copy, only_in) for copy in copies.elements()]
    columns = ["seq", "action", "ns_id", "mountpoint", "only_in"]
    frame = pd.DataFrame(found, columns=columns).astype({"seq": "UInt64", "ns_id": "UInt64"})
    return CrossCheck(len(by_operation) - skipped, skipped, frame)


def _are_alone(operations: pd.DataFrame) -> pd.Series:
    """Whether no other operation ran at the same time."""
    ordered = operations.sort_values("monotonic", kind="stable")
    begin = ordered["monotonic"].astype("int64")
    end = begin + ordered["latency"].fillna(0).astype("int64")
    before, after = end.cummax().shift(), begin.shift(-1)
    alone = ~(begin <= before) & ~(after <= end)
    return alone.reindex(operations.index)


def _predicted(tables: Tables, effects: list[Row], actor: int) -> Counter[Copy] | None:
    """The copies that an operation attaches or detaches by propagation; None if not known."""
    own = [row for row in effects if row["via"] == "direct" and row["action"] != "change"]
    ids = {row["mnt_id_unique"] for row in own}
    tops = [row for row in own if row["parent_unique"] not in ids]
    if len(tops) != 1 or len({row["action"] for row in own}) != 1:
        return None
    [top] = tops
    try:
        if top["action"] == "attach":
            _attach(tables, own, top, actor)
        else:
            detach_propagating(tables, tables.mounts[top["mnt_id_unique"]].id)
    except (Refused, KeyError):
        tables.undo()
        return None
    return Counter(
        (effect.action, int(str(effect.mount.ns)), path)
        for effect, path in tables.undo_with_effects()
        if effect.via in _COPIES and effect.action in ("attach", "detach")
    )


def _attach(tables: Tables, own: list[Row], top: Row, actor: int) -> None:
    tree = tables.new_tree()
    for row in own:
        mount = mount_of(row, tables)
        parent = None if row is top else mount.parent
        # If no mount has the peer group yet, the operation made it.
        group = mount.group if _is_there(tables, mount.group) else None
        tables.put(mount._replace(ns=tree, parent=parent, group=group))
        tables.note_cause(mount.id, "direct")
    place = mount_of(top, tables).place
    attach(tables, top["mnt_id_unique"], Spot(tables.mounts[top["parent_unique"]].id, place), actor)


def _is_there(tables: Tables, group: int | None) -> bool:
    return bool(tables.members(group) or tables.slaves(group))
