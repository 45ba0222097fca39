# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The last mount tables of a recording, put together from its snapshots."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mnttrace.analysis.run import Run

# What a mount and its clones have in common.
_CLONED = ["device", "fstype", "source"]
_FOR_EVER = np.iinfo(np.int64).max


def last_tables(run: Run) -> pd.DataFrame:
    """The mounts of each namespace as in its last table, also of namespaces that have ended.

    Returns:
        Rows of the table `mounts`, one a mount, in the order of the tables, with a column `gone`:
        whether the namespace was found to have ended.
    """
    mounts = run.mounts
    snapshots = run.snapshots.set_index("snapshot")
    died = mounts["snapshot"].map(snapshots["reason"].astype("string[pyarrow]")) == "gone"
    gone = mounts.loc[died, "ns_id"].unique()
    living = mounts[~died]
    last = living.drop_duplicates(["ns_id", "mount_id"], keep="last")
    last = last[last["change"] != "removed"]
    return last.assign(gone=last["ns_id"].isin(gone)).reset_index(drop=True)


def covered(table: pd.DataFrame) -> set[int]:
    """The mounts of one namespace that their paths do not lead to, as others are mounted over them.

    Args:
        table: the rows of that namespace of :func:`last_tables`.

    Returns:
        Their mount ids.
    """
    on = _on(table)
    paths = zip(table["mount_id"], table["mountpoint"], strict=True)
    # What is no path, as a forged table can have, leads nowhere.
    return {one for one, path in paths if _leads_to(on, path) not in (one, None)}


def mount_at(table: pd.DataFrame, path: str) -> int | None:
    """The mount that a path leads to in one namespace, without symbolic links.

    Args:
        table: the mounts of that namespace, with mount_id, parent_id and mountpoint.
        path: a normal path.

    Returns:
        Its mount id; None if there are no mounts.
    """
    return _leads_to(_on(table), path)


_On = dict[tuple[int | None, str], int]


def _on(table: pd.DataFrame) -> _On:
    """The last mount at each place of a mount; the first mounts have parents that are not there."""
    ids, parents = table["mount_id"].to_list(), table["parent_id"].to_list()
    known = set(ids)
    return {
        (parent if parent in known and parent != one else None, place): one
        for one, parent, place in zip(ids, parents, table["mountpoint"], strict=True)
    }


def _leads_to(on: _On, path: str) -> int | None:
    """From the first mount on, component by component."""
    at: int | None = None
    names = path.split("/") if path != "/" else [""]
    for end in range(1, len(names) + 1):
        place = "/".join(names[:end]) or "/"
        while (upper := on.get((at, place))) is not None:
            at = upper
    return at


def peer_groups(run: Run, tables: pd.DataFrame) -> pd.DataFrame:
    """The members and slaves of peer groups, but for groups with a single one.

    Numbers of groups are used again. Members of one group are clones of each other, so they have
    one device, type and source (clone_mnt() in fs/namespace.c), and the times in which they were
    there hang together. What has a number later, or another file system, is of another group.

    Args:
        run: the recording.
        tables: of :func:`last_tables`.

    Returns:
        A row a member or slave: group, life (0 for the first group of that number, and so on), role
        (peer or slave), ns_id, ns, mountpoint, mount_id, fstype, source, and since and until, from
        when to when there were such mounts: null if before the recording, or still.
    """
    tables = tables.assign(**_lifetimes(run, tables))
    kept = [*_CLONED, "since", "until", "ns_id", "ns", "mountpoint", "mount_id"]
    parts = [
        tables.loc[tables[tag].notna(), [tag, *kept]]
        .rename(columns={tag: "group"})
        .assign(role=role)
        for tag, role in (("shared", "peer"), ("master", "slave"))
    ]
    members = pd.concat(parts, ignore_index=True)
    members = members.sort_values(["group", *_CLONED, "since"], kind="stable")
    same = members.groupby(["group", *_CLONED], observed=True, dropna=False, sort=False)
    reached = same["until"].cummax().groupby(same.ngroup()).shift(fill_value=-1)
    is_first = reached < members["since"]
    members["life"] = is_first.groupby(members["group"]).cumsum()
    lives = members.groupby(["group", "life"])
    bounds = {"since": lives["since"].transform("min"), "until": lives["until"].transform("max")}
    sizes = lives["mount_id"].transform("size")
    # In the order of time: until here they are in that of their file systems.
    order = members.assign(since=bounds["since"]).drop_duplicates(["group", "life"])
    order = order.sort_values(["group", "since", "life"]).set_index(["group", "life"])
    numbers = order.groupby("group").cumcount()
    members["life"] = numbers.reindex(pd.MultiIndex.from_frame(members[["group", "life"]])).array
    for name, found in bounds.items():
        known = found.where((found > 0) & (found < _FOR_EVER))
        wall = known.astype("Int64") + run.meta.get("wall_offset", 0)
        members[name] = pd.to_datetime(wall, unit="ns", utc=True)
    members = members[sizes > 1].sort_values(["group", "life", "role", "ns_id"], kind="stable")
    columns = ["group", "life", "role", "ns_id", "ns", "mountpoint", "mount_id", "fstype", "source"]
    return members[[*columns, "since", "until"]].reset_index(drop=True)


def _lifetimes(run: Run, tables: pd.DataFrame) -> dict[str, pd.Series]:
    """From when to when mounts were there, CLOCK_MONOTONIC in ns: from 0 on if they were before the
    recording, and without an end if they still are."""
    effects = run.effects
    made = effects[effects["action"] == "attach"].drop_duplicates("mnt_id_unique")
    since = tables["mnt_id_unique"].map(made.set_index("mnt_id_unique")["monotonic"])
    died = effects[effects["via"] == "namespace-death"]
    until = tables["ns_id"].map(died.groupby("ns_id")["monotonic"].max())
    return {
        "since": since.astype("Int64").fillna(0).astype("int64"),
        "until": until.where(tables["gone"]).astype("Int64").fillna(_FOR_EVER).astype("int64"),
    }
