# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Binds that grow: of one source, again and again, each of more mounts than the one before.

A tree that is bound recursively below itself doubles with every restart of the program, since each
bind copies what the last one made. If source and targets are in one peer group, each bind is copied
to the places of all earlier ones, recursive or not. Where it is sent to other namespaces it grows
there, though each start of the program has a namespace of its own. It ends when the kernel refuses
more with ENOSPC (`fs.mount-max`, proc_sys_fs(5)).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mnttrace.analysis.names import labels, starters
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.mount_tables import last_tables
from mnttrace.linux.flags import MOUNT

_FOUND = ["ns_id", "ns", "comm", "source_path", "path", "targets", "starts", "operations", "made"]
_FOUND += ["total", "left", "group", "is_below"]
COLUMNS = [*_FOUND, "name"]
_DTYPES: dict[str, Any] = dict.fromkeys(_FOUND, "string[pyarrow]") | {
    "ns_id": "UInt64",
    "ns": "UInt32",
    "starts": "Int64",
    "total": "Int64",
    "left": "Int64",
    "group": "Int64",
    "is_below": "boolean",
}
_BINDS = 3  # at least as many, each of more mounts than the one before
_GROWTH = 1.5  # at least so many times as many mounts as the one before


def doublings(run: Run) -> pd.DataFrame:
    """The binds of one source that made more and more mounts in one namespace.

    Returns:
        A row a program, source and namespace with the mounts, with COLUMNS: `operations` are the
        numbers of the binds, `made` how many mounts each made in that namespace, as "21, 42, 84",
        `path` the target of the last one, `targets` all of them, as ", " between them, `starts` how
        many namespaces they were done in, `total` how many mounts the namespace has at the end,
        `left` how many more such binds `fs.mount-max` allows at most, null if that is not known;
        `group` the peer group through which the last one was copied, null if it was not,
        `is_below` whether a target is below the source; `name` the label of the namespace.
    """
    effects, operations = run.effects, run.operations
    binds = operations[_are_binds(operations)]
    is_made = (effects["action"] == "attach") & effects["seq"].isin(binds["seq"])
    made = effects.loc[is_made, ["seq", "ns_id", "ns", "via_group"]]
    counts = made.groupby(["seq", "ns_id"], sort=False).agg(
        made=("ns", "size"), ns=("ns", "first"), group=("via_group", "last")
    )
    counts = counts.reset_index().merge(
        binds[["seq", "comm", "source_path", "path", "ns_id"]].rename(columns={"ns_id": "by"}),
        on="seq",
    )
    counts = counts.assign(
        starter=counts["by"].map(starters(run)).astype("string[pyarrow]").fillna("")
    ).sort_values("seq")
    keys = ["ns_id", "ns", "comm", "source_path"]
    groups = [*keys, "starter"]
    found = [
        (*key[:4], *_row(run, _growing(group)))
        for key, group in _with_growth(counts, groups).groupby(groups, observed=True, sort=False)
    ]
    frame = pd.DataFrame(found, columns=_FOUND).astype(_DTYPES)
    return frame.assign(name=frame["ns_id"].map(labels(run)).astype("string[pyarrow]"))


def _with_growth(binds: pd.DataFrame, groups: list[str]) -> pd.DataFrame:
    """The binds of those groups of which each of the last made more than the one before."""
    grouped = binds.groupby(groups, observed=True, sort=False)
    grows = binds["made"] >= _GROWTH * grouped["made"].shift()
    number = grouped.ngroup()
    is_last = grouped.cumcount(ascending=False) < _BINDS - 1
    enough = grows[is_last].groupby(number[is_last]).agg(["size", "all"])
    growing = enough.index[enough["all"] & (enough["size"] == _BINDS - 1)]
    return binds[number.isin(growing)]


def _growing(binds: pd.DataFrame) -> pd.DataFrame:
    """The last binds of a group, as far back as each made more than the one before."""
    sizes = binds["made"].to_list()
    count = 1
    for earlier, later in reversed(list(pairwise(sizes))):
        if later < _GROWTH * earlier:
            break
        count += 1
    return binds.tail(count)


def _row(run: Run, binds: pd.DataFrame) -> tuple[Any, ...]:
    """The columns from `path` on."""
    source, sizes = binds["source_path"].iloc[-1], binds["made"].to_list()
    targets = list(dict.fromkeys(binds["path"]))
    total = _mounts_at_end(run, binds["ns_id"].iloc[-1])
    return (
        targets[-1],
        ", ".join(targets),
        binds["by"].nunique(),
        ", ".join(map(str, binds["seq"])),
        ", ".join(map(str, sizes)),
        total,
        _left(run.meta.get("mount_max"), total, sizes[-1] / sizes[-2]),
        binds["group"].iloc[-1],
        any(target.startswith(source.rstrip("/") + "/") for target in targets),
    )


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
