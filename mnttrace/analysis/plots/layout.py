# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The layout of a graph of mounts: a column a mount namespace, a row a peer group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

COLUMNS = 9
ROWS = 30
_STACK = 3  # mounts of one peer group in one namespace


@dataclass(frozen=True)
class Layout:
    """Where the mounts are drawn.

    Attributes:
        nodes: the mounts that are drawn, with the columns that they had, and: bundle (the name of
            their row), column, row (numbers), like_it (how many other namespaces its namespace
            stands for), more (how many others are at the same place). Indexed by id.
        columns: ns_id of each column → how many others it stands for.
        rows: the name of each row: "peer group 22", "slaves of 22"; "" if it continues the last.
        left_out: how many mounts are not drawn.
    """

    nodes: pd.DataFrame
    columns: dict[int, int]
    rows: list[str]
    left_out: int


def lay_out(mounts: pd.DataFrame, weight: pd.Series, order: list[int]) -> Layout:
    """Choose which mounts are drawn, and where.

    Namespaces with the same mount points in the same peer groups and with the same masters are
    alike: of three and more, the first is one column, and the second stands for the others.

    Args:
        mounts: of :func:`groups.mounts_at`, with `stands_out`: whether it must be drawn, and
            `propagates`: whether mounts were propagated through its group.
        weight: how much each namespace matters, indexed by `ns_id`.
        order: the namespaces, in the order to show them.
    """
    mounts = mounts.assign(bundle=_bundles(mounts))
    columns = _columns(mounts, weight, order)
    inside = mounts[mounts["ns_id"].isin(columns)]
    rank = _ranked(inside)
    inside = inside[inside["bundle"].isin(rank)]
    column = inside["ns_id"].map({ns_id: at for at, ns_id in enumerate(columns)})
    inside = inside.assign(column=column.astype("int64"))
    inside = inside.sort_values(
        ["column", "stands_out", "mountpoint"], ascending=[True, False, True], kind="stable"
    )
    cell = inside.groupby(["bundle", "ns_id"])
    stack = cell.cumcount()
    more = cell["column"].transform("size") - _STACK
    inside = inside.assign(stack=stack, more=more.where(stack == _STACK - 1, 0).clip(lower=0))
    inside = inside[stack < _STACK]
    tall = inside.groupby("bundle")["stack"].max() + 1
    rows: list[str] = []
    first: dict[str, int] = {}
    for bundle in rank:
        if len(rows) + tall[bundle] > ROWS:
            break
        first[bundle] = len(rows)
        rows += [bundle.partition("\t")[0], *[""] * (int(tall[bundle]) - 1)]
    nodes = inside[inside["bundle"].isin(first)]
    nodes = nodes.assign(
        row=(nodes["bundle"].map(first).astype("int64") + nodes["stack"]).astype("int64"),
        like_it=nodes["ns_id"].map(columns).astype("int64"),
    )
    stand_for = int((nodes["more"] + 1).mul(nodes["like_it"] + 1).sum())
    return Layout(nodes, columns, rows, len(mounts) - stand_for)


def _bundles(mounts: pd.DataFrame) -> pd.Series:
    """The row of each mount: one for the members of a peer group, one for its slaves in no group.

    Two groups can have one number, see :func:`groups.mounts_at`: the text after the tab differs.
    """
    text = mounts[["shared", "master", "group", "master_group"]].astype("string[pyarrow]")
    peers = "peer group " + text["shared"] + "\t" + text["group"]
    slaves = "slaves of " + text["master"] + "\t" + text["master_group"]
    return peers.fillna(slaves).fillna("private")


def _columns(mounts: pd.DataFrame, weight: pd.Series, order: list[int]) -> dict[int, int]:
    """The namespaces that are drawn → how many others each stands for."""
    stands_out = mounts.groupby("ns_id")["stands_out"].any()
    spot = mounts["bundle"] + " " + mounts["mountpoint"].fillna("")
    # Sums of hashes are equal where the sets of mounts are.
    has = pd.util.hash_pandas_object(spot, index=False).groupby(mounts["ns_id"]).sum()
    alike: dict[tuple[int, bool], list[int]] = {}
    for ns_id in order:
        alike.setdefault((int(has[ns_id]), bool(stands_out[ns_id])), []).append(ns_id)
    heads: dict[int, int] = {}
    for group in alike.values():
        heads |= dict.fromkeys(group[:2], 0)
        if len(group) > 2:
            heads[group[1]] = len(group) - 2
    matters = pd.Series(
        [
            math.inf if stands_out[head] else float(weight.get(head, 0)) + others
            for head, others in heads.items()
        ],
        index=list(heads),
        dtype="float64",
    )
    chosen = set(matters.nlargest(COLUMNS).index)
    return {ns_id: heads[ns_id] for ns_id in order if ns_id in chosen}


def _ranked(mounts: pd.DataFrame) -> list[str]:
    """The rows, of whole propagation trees, the most interesting first."""
    known = mounts[mounts["group"].notna()]
    masters = known.groupby("group")["master_group"].first().dropna().to_dict()
    chains: dict[str, tuple[float, ...]] = {}
    bundles = mounts[["bundle", "group", "master_group"]].drop_duplicates("bundle")
    for bundle, group, over in bundles.itertuples(index=False):
        if pd.notna(group):
            chains[bundle] = _chain(group, masters)
        elif pd.notna(over):
            chains[bundle] = (*_chain(over, masters), math.inf)
        else:
            chains[bundle] = (math.inf,)
    tree = mounts["bundle"].map({bundle: chain[0] for bundle, chain in chains.items()})
    trees = (
        mounts.assign(tree=tree)
        .groupby("tree")
        .agg(
            stands_out=("stands_out", "max"),
            propagates=("propagates", "max"),
            places=("mountpoint", "nunique"),
            namespaces=("ns_id", "nunique"),
            mounts=("ns_id", "size"),
        )
    )
    trees = trees[(trees["mounts"] > 1) | trees["stands_out"]]
    trees["places"] = trees["places"] > 1
    keys = ["stands_out", "propagates", "places", "namespaces"]
    trees = trees.sort_values(keys, ascending=False, kind="stable")
    place = {root: at for at, root in enumerate(trees.index)}
    inside = [bundle for bundle, chain in chains.items() if chain[0] in place]
    return sorted(inside, key=lambda bundle: (place[chains[bundle][0]], chains[bundle]))


def _chain(group: int, masters: dict[Any, int]) -> tuple[float, ...]:
    """A group, preceded by its master, the master of that, and so on."""
    chain = [group]
    while (above := masters.get(chain[0])) is not None and above not in chain:
        chain.insert(0, above)
    return tuple(chain)
