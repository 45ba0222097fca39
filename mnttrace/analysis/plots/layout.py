"""Where the mounts of a graph are drawn: a column a mount namespace, a row a peer group."""

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
    """Where mounts are.

    Attributes:
        nodes: the mounts that are drawn, with the columns of what was laid out, and: bundle (what
            their row is called), column, row (numbers), like_it (how many other namespaces it
            stands for), more (how many others are at the same place). Indexed by id.
        columns: ns_id of each column → how many others it stands for.
        rows: what each row is called: "peer group 22", "slaves of 22"; "" where it goes on.
        left_out: how many mounts are not drawn.
    """

    nodes: pd.DataFrame
    columns: dict[int, int]
    rows: list[str]
    left_out: int


def lay_out(mounts: pd.DataFrame, weight: pd.Series, order: list[int]) -> Layout:
    """Choose what is drawn, and where.

    Of three and more namespaces that have the same mount points in the same peer groups, with the
    same masters, the first is a column, and the others are one.

    Args:
        mounts: of :func:`groups.mounts_at`, with `stands_out`: whether it has to be drawn, and
            `carried`: whether its group carried something.
        weight: how much each namespace matters, indexed by `ns_id`.
        order: the namespaces, as they are to be shown.
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
    """What shares a row: the members of a peer group; the slaves of one that are in none.

    Two groups can have one number, see :func:`groups.mounts_at`: what follows the tab differs.
    """
    text = mounts[["shared", "master", "group", "over"]].astype("string[pyarrow]")
    peers = "peer group " + text["shared"] + "\t" + text["group"]
    slaves = "slaves of " + text["master"] + "\t" + text["over"]
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
    """The rows, of whole propagation trees, those first in which more is to be seen."""
    known = mounts[mounts["group"].notna()]
    masters = known.groupby("group")["over"].first().dropna().to_dict()
    chains: dict[str, tuple[float, ...]] = {}
    bundles = mounts[["bundle", "group", "over"]].drop_duplicates("bundle")
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
            carried=("carried", "max"),
            places=("mountpoint", "nunique"),
            namespaces=("ns_id", "nunique"),
            mounts=("ns_id", "size"),
        )
    )
    trees = trees[(trees["mounts"] > 1) | trees["stands_out"]]
    trees["places"] = trees["places"] > 1
    keys = ["stands_out", "carried", "places", "namespaces"]
    trees = trees.sort_values(keys, ascending=False, kind="stable")
    place = {root: at for at, root in enumerate(trees.index)}
    inside = [bundle for bundle, chain in chains.items() if chain[0] in place]
    return sorted(inside, key=lambda bundle: (place[chains[bundle][0]], chains[bundle]))


def _chain(group: int, masters: dict[Any, int]) -> tuple[float, ...]:
    """A group after its master's, and so on."""
    chain = [group]
    while (above := masters.get(chain[0])) is not None and above not in chain:
        chain.insert(0, above)
    return tuple(chain)
