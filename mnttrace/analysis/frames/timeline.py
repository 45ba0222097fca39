# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations in order, joined with their effects."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.names import labels
from mnttrace.analysis.query.targets import IDENTITY, find, known_mounts
from mnttrace.analysis.run import Run

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


def timeline(run: Run, target: str | None = None) -> pd.DataFrame:
    """One row an effect, and one for each operation without effects, in the order of time.

    Args:
        run: a recording, or a part of one.
        target: mounts or a namespace, as for :func:`mnttrace.analysis.query.targets.find`: only
            what happened to them or in it. None: everything.

    Returns:
        A frame with COLUMNS: `namespace` is the label of the caller's namespace, `process` like
        "mount[17]", `syscall` to `error` are the operation's (null if none caused the effect),
        `action` to `mnt_id_unique` the effect's (null if there is none), `where` is the label of
        the namespace with the effect.

    Raises:
        RecordingError: a table cannot be read.
        BadInput: nothing in the recording matches the target.
    """
    effects = run.effects[list(_FROM_EFFECTS)].rename(columns=_FROM_EFFECTS)
    operations = run.operations[_FROM_OPERATIONS]
    both = operations.merge(effects, on="seq", how="outer")
    if target is not None:
        found = find(run.whole, target)
        if found.kind == "namespace":
            spaces = set(found.mounts["ns_id"])
            both = both[both["ns_id"].isin(spaces) | both["where_id"].isin(spaces)]
        else:
            known = known_mounts(run.whole).merge(found.mounts[IDENTITY].drop_duplicates())
            both = both[both["mnt_id_unique"].isin(known["mnt_id_unique"].dropna())]
    names = labels(run)
    rows = both.assign(
        ts=both["ts"].fillna(both["effect_ts"]),
        namespace=both["ns_id"].map(names),
        where=both["where_id"].map(names),
        process=both["comm"] + "[" + both["pid"].astype("string[pyarrow]") + "]",
    )
    return rows.sort_values(["ts", "seq"], kind="stable")[COLUMNS].reset_index(drop=True)
