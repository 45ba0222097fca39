# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The last mount tables of a recording, put together from its snapshots."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.run import Run


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


def peer_groups(tables: pd.DataFrame) -> pd.DataFrame:
    """The members and slaves of peer groups, but for groups with a single one.

    Args:
        tables: of :func:`last_tables`.

    Returns:
        A row a member or slave: group, role (peer or slave), ns_id, ns, mountpoint, mount_id.
    """
    parts = [
        tables.loc[tables[tag].notna(), [tag, "ns_id", "ns", "mountpoint", "mount_id"]]
        .rename(columns={tag: "group"})
        .assign(role=role)
        for tag, role in (("shared", "peer"), ("master", "slave"))
    ]
    members = pd.concat(parts, ignore_index=True)
    sizes = members.groupby("group")["mount_id"].transform("size")
    members = members[sizes > 1].sort_values(["group", "role", "ns_id"], kind="stable")
    columns = ["group", "role", "ns_id", "ns", "mountpoint", "mount_id"]
    return members[columns].reset_index(drop=True)
