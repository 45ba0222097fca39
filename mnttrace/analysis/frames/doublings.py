# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Binds that grow: a tree that is bound recursively below itself, again and again.

Each bind copies what the last one made, so the mounts double with every restart of the program. If
the tree is shared each copy is propagated to all others, too, and they grow faster: until the
kernel refuses more with ENOSPC (`fs.mount-max`, proc_sys_fs(5)).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mnttrace.analysis.run import Run
from mnttrace.analysis.state.mount_tables import last_tables
from mnttrace.linux.flags import MOUNT

COLUMNS = ["ns_id", "ns", "comm", "source_path", "path", "operations", "made", "total", "left"]
_DTYPES: dict[str, Any] = dict.fromkeys(COLUMNS, "string[pyarrow]") | {
    "ns_id": "UInt64",
    "ns": "UInt32",
    "total": "Int64",
    "left": "Int64",
}
_BINDS = 3  # at least as many, each of more mounts than the one before
_GROWTH = 1.5  # at least so many times as many mounts as the one before


def doublings(run: Run) -> pd.DataFrame:
    """The binds of one source into one namespace that made more and more mounts.

    Returns:
        A row a program, source and namespace, with COLUMNS: `operations` are the numbers of the
        binds, `made` how many mounts each made in its own namespace, as "21, 42, 84", `path` the
        target of the last one, `total` how many mounts the namespace has at the end, `left` how
        many more such binds `fs.mount-max` allows at most, null if that is not known.
    """
    effects, operations = run.effects, run.operations
    binds = operations[_are_binds(operations)]
    is_made = (effects["action"] == "attach") & effects["seq"].isin(binds["seq"])
    own = effects.loc[is_made, ["seq", "ns_id"]].merge(binds[["seq", "ns_id"]])
    counts = own.groupby("seq").size()
    binds = binds[binds["seq"].isin(counts.index)]
    binds = binds.assign(made=binds["seq"].map(counts))
    found = []
    keys = ["ns_id", "ns", "comm", "source_path"]
    for key, group in binds.groupby(keys, observed=True, sort=False):
        sizes = group["made"].to_list()
        grows = len(sizes) >= _BINDS and all(
            later >= _GROWTH * earlier for earlier, later in pairwise(sizes)
        )
        if grows:
            total = _mounts_at_end(run, group["ns_id"].iloc[-1])
            numbers = ", ".join(map(str, group["seq"])), ", ".join(map(str, sizes))
            left = _left(run.meta.get("mount_max"), total, sizes[-1] / sizes[-2])
            found.append((*key, group["path"].iloc[-1], *numbers, total, left))
    return pd.DataFrame(found, columns=COLUMNS).astype(_DTYPES)


def _are_binds(operations: pd.DataFrame) -> pd.Series:
    """Which operations can be binds: mount(2) with MS_BIND, and move_mount(2) of what open_tree(2)
    made."""
    has_flag = operations["flags_value"].fillna(0).to_numpy("uint64") & np.uint64(MOUNT["MS_BIND"])
    is_bind: pd.Series = (operations["syscall"] == "mount") & (has_flag != 0)
    is_bind |= operations["syscall"] == "move_mount"
    return is_bind


def _mounts_at_end(run: Run, ns_id: int) -> int:
    tables = last_tables(run)
    return int((tables["ns_id"] == ns_id).sum())


def _left(most: int | None, total: int, growth: float) -> int | None:
    if most is None or not total:
        return None
    return max(0, math.floor(math.log(most / total) / math.log(growth)))
