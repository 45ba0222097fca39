# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mounts that peer groups and masters join, at one moment of a recording."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.mount_tables import last_tables

_COLUMNS = ["ns_id", "parent_unique", "parent_path", "mountpoint", "shared", "master"]
_COLUMNS += ["fstype", "source", "device"]
_DEEPEST = 1000  # parents of parents; more are a circle


def mounts_at(run: Run, seq: int | None = None, *, before: bool = False) -> pd.DataFrame:
    """The mounts of all namespaces, from the tables and the effects since.

    Numbers of peer groups are used again: each means one group at one moment only, and the end of a
    namespace can be seen late. But the members and slaves of a group are copies of one mount, and
    have its file system, so `group` and `master_group` identify groups by both.

    Args:
        run: the recording.
        seq: number of an operation: as they were when it had ended. None: as they were at the end
            of the recording.
        before: as they were when that operation began.

    Returns:
        A row a mount: ns_id, parent_unique, parent_path, mountpoint (as it was when the mount was
        last changed, see :func:`paths`), shared, master, fstype, source, device, group (a number
        for the peer group and file system), master_group (the same for the master); indexed by the
        unique id, or by a negative number where there is none.
    """
    effects = run.effects
    tables = run.mounts
    if seq is not None:
        operation = run.operations.set_index("seq").loc[seq]
        is_before = effects["monotonic"] <= operation["monotonic"]
        counts = effects["seq"] < seq if before else effects["seq"] <= seq
        effects = effects[counts.fillna(is_before).fillna(False)]
        started = run.snapshots.set_index("snapshot")["started"]
        at = tables["snapshot"].map(started).astype("UInt64")
        tables = tables[(at <= operation["monotonic"]).fillna(False) | _is_first(run)]
    tables = _of_tables(tables)
    tables = tables[~tables["mnt_id_unique"].isin(effects["mnt_id_unique"])]
    found = pd.concat([_last(tables), _last(effects)])
    # Signed, as mounts without a unique id get negative numbers.
    found = found.astype({"mnt_id_unique": "Int64", "parent_unique": "Int64"})
    return _with_groups(pd.concat([found.set_index("mnt_id_unique"), _without_ids(run)]))


def _last(effects: pd.DataFrame) -> pd.DataFrame:
    """The last effect on each mount, unless it was detached."""
    unique = effects["mnt_id_unique"]
    is_last = unique.notna() & ~unique.duplicated(keep="last") & (effects["action"] != "detach")
    return effects.loc[is_last, ["mnt_id_unique", *_COLUMNS]]


def _is_first(run: Run) -> pd.Series:
    first = run.snapshots.loc[run.snapshots["reason"] == "start", "snapshot"]
    return run.mounts["snapshot"].isin(first)


def _of_tables(tables: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table `mounts` in the form of effects; parents are of the same snapshot."""
    parents = tables[["snapshot", "mount_id", "mnt_id_unique", "mountpoint"]].rename(
        columns={
            "mount_id": "parent_id",
            "mnt_id_unique": "parent_unique",
            "mountpoint": "parent_path",
        }
    )
    parents = parents.drop_duplicates(["snapshot", "parent_id"])
    found = tables.merge(parents, on=["snapshot", "parent_id"], how="left")
    action = (found["change"] == "removed").map({True: "detach", False: "attach"})
    return found.assign(action=action)[["mnt_id_unique", "action", *_COLUMNS]]


def _without_ids(run: Run) -> pd.DataFrame:
    """The last tables of kernels without unique ids, and of imported ones."""
    tables = last_tables(run)
    tables = tables[tables["mnt_id_unique"].isna() & ~tables["gone"]].reset_index(drop=True)
    none = pd.Series(pd.NA, tables.index, dtype="Int64")
    found = tables.assign(parent_unique=none, parent_path="/")[_COLUMNS]
    return found.set_index((-1 - found.index).astype("Int64"))


def _with_groups(mounts: pd.DataFrame) -> pd.DataFrame:
    device = mounts["device"].fillna("")
    ends = [pd.DataFrame({"number": mounts[tag], "device": device}) for tag in ("shared", "master")]
    both = pd.concat(ends)
    codes = both.groupby(["number", "device"]).ngroup().where(both["number"].notna())
    codes = codes.astype("Int64")
    return mounts.assign(group=codes.iloc[: len(mounts)], master_group=codes.iloc[len(mounts) :])


def joined(mounts: pd.DataFrame) -> pd.DataFrame:
    """The mounts that have a peer, a slave or a master among them."""
    peers = mounts.groupby("group")["ns_id"].transform("size")
    is_master = mounts["group"].isin(mounts["master_group"].dropna())
    has_master = (
        mounts["master_group"].isin(mounts["group"].dropna()) & mounts["master_group"].notna()
    )
    return mounts[(peers > 1).fillna(False) | is_master | has_master]


def paths(mounts: pd.DataFrame, some: pd.Index) -> dict[Any, str]:
    """The paths of mounts from the roots of their namespaces, following parents that moved.

    Args:
        mounts: of :func:`mounts_at`.
        some: the ids of the mounts to find.
    """
    columns = ["parent_unique", "parent_path", "mountpoint"]
    wanted = mounts.loc[some, columns]
    known: dict[Any, dict[str, Any]] = {}
    while len(wanted):
        known |= dict(zip(wanted.index, rows(wanted), strict=True))
        parents = pd.Index(wanted["parent_unique"].dropna().unique()).difference(list(known))
        wanted = mounts.loc[mounts.index.intersection(parents), columns]
    return {one: _path(one, known) for one in some}


def _path(one: Any, known: dict[Any, dict[str, Any]]) -> str:
    below: list[str] = []
    for _ in range(_DEEPEST):
        row = known[one]
        path, above = row["mountpoint"] or "?", row["parent_path"] or "/"
        parent = row["parent_unique"]
        if parent not in known or parent == one or not path.startswith(above):
            below.append(path)
            break
        below.append(path if above == "/" else path[len(above) :])
        one = parent
    return "/" + "/".join(part.strip("/") for part in reversed(below) if part.strip("/"))
