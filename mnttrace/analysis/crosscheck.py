"""What was recorded of each operation, against what the model of shared subtrees says it must do.

The model is given the tables as they were when the operation began, and the mounts that the
operation attached or detached itself; it says which copies come or go along. Where the two differ,
one of them is wrong: that is told, and nothing is put right.
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
What = tuple[str, int, str]  # action, namespace, mount point
_COPIES = {"peer", "slave"}
_COLUMNS = ["seq", "monotonic", "ns_id", "action", "via", "mnt_id_unique", "parent_unique"]
_COLUMNS += ["parent_path", "mountpoint", "root", "device", "shared", "master", "unbindable"]
_COLUMNS += ["locked"]


@dataclass(frozen=True)
class CrossCheck:
    """What came of it.

    Attributes:
        checked: how many operations were compared.
        skipped: how many were not: others changed mounts at the same time, or what they
            worked on is not in the tables.
        disagreements: columns `seq`, `action` (attach, detach), `ns_id`, `mountpoint`, `said_by`:
            "recording" for what the model does not know of, "model" for what was not recorded.
    """

    checked: int
    skipped: int
    disagreements: pd.DataFrame


def crosscheck(run: Run) -> CrossCheck:
    """Compare each operation that attached or detached mounts itself with the model.

    Args:
        run: with unique ids of mounts.
    """
    effects = run.effects
    direct = effects[(effects["via"] == "direct") & effects["action"].isin(["attach", "detach"])]
    operations = run.operations.set_index("seq", drop=False)
    operations = operations.assign(alone=_are_alone(operations))
    by_operation: dict[int, list[Row]] = {}
    for row in rows(effects[effects["seq"].isin(direct["seq"])], _COLUMNS):
        by_operation.setdefault(row["seq"], []).append(row)
    # These may have been gone earlier than was told: no call ended them.
    deaths = effects[(effects["via"] == "namespace-death") & effects["seq"].isna()]
    unseen_ends = set(deaths["ns_id"])
    replay = Replay(run)
    found: list[tuple[Any, ...]] = []
    skipped = 0
    for row in rows(operations, ["seq", "monotonic", "ns_id", "alone"]):
        told = by_operation.get(row["seq"])
        if told is None:
            continue
        tables = replay.to(row["seq"], row["monotonic"])
        predicted = _predicted(tables, told, row["ns_id"]) if row["alone"] else None
        if predicted is None:
            skipped += 1
            continue
        recorded = Counter(
            (effect["action"], effect["ns_id"], effect["mountpoint"])
            for effect in told
            if effect["via"] in _COPIES and effect["action"] in ("attach", "detach")
        )
        missing = Counter(
            {what: n for what, n in (predicted - recorded).items() if what[1] not in unseen_ends}
        )
        for said_by, more in (("recording", recorded - predicted), ("model", missing)):
            found += [(row["seq"], *what, said_by) for what in more.elements()]
    columns = ["seq", "action", "ns_id", "mountpoint", "said_by"]
    frame = pd.DataFrame(found, columns=columns).astype({"seq": "UInt64", "ns_id": "UInt64"})
    return CrossCheck(len(by_operation) - skipped, skipped, frame)


def _are_alone(operations: pd.DataFrame) -> pd.Series:
    """Whether no other operation was under way meanwhile."""
    ordered = operations.sort_values("monotonic", kind="stable")
    begin = ordered["monotonic"].astype("int64")
    end = begin + ordered["latency"].fillna(0).astype("int64")
    before, after = end.cummax().shift(), begin.shift(-1)
    alone = ~(begin <= before) & ~(after <= end)
    return alone.reindex(operations.index)


def _predicted(tables: Tables, told: list[Row], actor: int) -> Counter[What] | None:
    """The copies that come or go along with an operation's own mounts; None where that cannot be
    said."""
    own = [row for row in told if row["via"] == "direct" and row["action"] != "change"]
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
        tables.take_back()
        return None
    return Counter(
        (effect.action, int(str(effect.mount.ns)), path)
        for effect, path in tables.foretold()
        if effect.via in _COPIES and effect.action in ("attach", "detach")
    )


def _attach(tables: Tables, own: list[Row], top: Row, actor: int) -> None:
    tree = tables.new_tree()
    for row in own:
        mount = mount_of(row, tables)
        parent = None if row is top else mount.parent
        # A number that no mount has yet is that of a group made by the operation itself.
        group = mount.group if _is_there(tables, mount.group) else None
        tables.put(mount._replace(ns=tree, parent=parent, group=group))
        tables.blame(mount.id, "direct")
    place = mount_of(top, tables).place
    attach(tables, top["mnt_id_unique"], Spot(tables.mounts[top["parent_unique"]].id, place), actor)


def _is_there(tables: Tables, group: int | None) -> bool:
    return bool(tables.members(group) or tables.slaves(group))
