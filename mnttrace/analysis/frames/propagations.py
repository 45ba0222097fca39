# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Propagated copies: what an operation attached or detached elsewhere than where it was asked.

A copy is attached, or detached, under a peer or slave of the mount that the operation worked under
(Documentation/filesystems/sharedsubtree.rst).
"""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.run import Run

# Column of the result → where it comes from.
_FROM_OPERATION = {"syscall": "syscall", "comm": "comm", "ns": "src_ns", "ns_id": "src_ns_id"}
_FROM_EFFECT = {
    "ns": "dst_ns",
    "ns_id": "dst_ns_id",
    "parent_path": "receiver_path",
    "parent_unique": "receiver_unique",
}
COLUMNS = [
    "seq",
    "ts",
    "pid",
    "tid",
    "comm",
    "syscall",
    "src_ns",
    "dst_ns",
    "src_ns_id",
    "dst_ns_id",
    "action",
    "mount_id",
    "mnt_id_unique",
    "mountpoint",
    "root",
    "source",
    "fstype",
    "via",
    "evidence",
    "copy_of",
    "copy_of_unique",
    "copy_of_path",
    "shared",
    "master",
    "via_group",
    "via_unique",
    "via_path",
    "receiver_path",
    "receiver_unique",
    "present",
]


def propagations(run: Run) -> pd.DataFrame:
    """Every copy that an operation attached or detached elsewhere, in order.

    Returns:
        A frame with COLUMNS: `src_ns` is the namespace of the operation, `dst_ns` that of the copy
        (they can be one), `via` peer or slave, `via_group` the peer group through which it was
        propagated, `via_path` the mount in `src_ns` that the operation worked under and
        `receiver_path` its peer or slave in `dst_ns` (`receiver_unique` its unique id),
        `present` whether the copy was still attached at the end of the recording. Namespaces are
        inode numbers, `…_id` unique ids.

    Raises:
        RecordingError: a table cannot be read.
    """
    effects = run.effects
    is_copy = effects["via"].isin(["peer", "slave"]) & effects["action"].isin(["attach", "detach"])
    # There can be millions of rows: no merge, which would hold all of them twice.
    wanted = [name for name in effects.columns if _FROM_EFFECT.get(name, name) in COLUMNS]
    found = effects.loc[is_copy & effects["seq"].notna(), wanted].reset_index(drop=True)
    operations = run.operations
    cause = pd.Index(operations["seq"]).get_indexer(found["seq"])
    gone = effects.loc[effects["action"] == "detach", "mnt_id_unique"]
    found = found.rename(columns=_FROM_EFFECT).assign(
        present=(found["action"] == "attach") & ~found["mnt_id_unique"].isin(gone),
        **{
            name: operations[column].array.take(cause, allow_fill=True)
            for column, name in _FROM_OPERATION.items()
        },
    )
    return found[COLUMNS]
