# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces made during the recording, and how they were isolated from their parents."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run
from mnttrace.analysis.settings import are_shared, groups

COLUMNS = [
    "ns_id",
    "ns",
    "name",
    "parent_ns",
    "parent_name",
    "seq",
    "mounts",
    "shared_at_birth",
    "shared_before_use",
    "became",
    "isolated_by",
    "call",
]
_DTYPES = {
    **dict.fromkeys(["ns_id", "seq", "isolated_by"], "UInt64"),
    **dict.fromkeys(["ns", "parent_ns"], "UInt32"),
    **dict.fromkeys(["mounts", "shared_at_birth", "shared_before_use"], "Int64"),
    **dict.fromkeys(["name", "parent_name", "became"], "string[pyarrow]"),
}
_EFFECTS = ["ns_id", "ns", "seq", "mnt_id_unique", "propagation", "shared", "master", "before"]


def births(run: Run) -> pd.DataFrame:
    """One row a namespace that was made.

    A namespace begins as a copy of its parent, with its shared mounts as peers of those that they
    were copied from (as slaves, in another user namespace). How their propagation is changed before
    the first mount is attached there decides what can leak.

    Returns:
        A frame with COLUMNS: `name` and `parent_name` are labels, `seq` the operation that made it,
        `mounts` how many mounts were copied, `shared_at_birth` how many of the originals were
        shared, `shared_before_use` how many of the copies were still peers of these when the first
        mount was attached in the namespace, `became` what the others were to them then: "slave"
        if they receive from them (even if they are shared among their own), "private" if they do
        not; "" if there are none. `isolated_by` is the operation that made them so, and `call` that
        one in words.
    """
    effects = run.effects
    is_copy = (effects["via"] == "namespace-copy") & (effects["action"] == "attach")
    copied = effects.loc[is_copy, _EFFECTS]
    shared = copied[are_shared(copied["before"])]
    states = _with_relations(pd.concat([shared, _changes_before_use(effects, shared)]), shared)
    left = states.drop_duplicates("mnt_id_unique", keep="last")
    is_peer = left["relation"] == "peer"
    since = _since(states)
    born = copied.groupby("ns_id", sort=False)
    found = born.agg(ns=("ns", "first"), seq=("seq", "first"), mounts=("ns", "size")).assign(
        shared_at_birth=shared.groupby("ns_id").size(),
        shared_before_use=is_peer.groupby(left["ns_id"]).sum(),
        became=_kinds(left[~is_peer]),
        isolated_by=left[~is_peer]
        .assign(seq=left["mnt_id_unique"].map(since))
        .groupby("ns_id")["seq"]
        .max(),
    )
    nothing = {"became": "", "shared_at_birth": 0, "shared_before_use": 0}
    found = found.reset_index().fillna(nothing)
    namespaces, names = run.namespaces.set_index("ns_id"), labels(run)
    calls = _calls(run, found["isolated_by"])
    found = found.assign(
        name=found["ns_id"].map(names),
        parent_ns=found["ns_id"].map(namespaces["parent_ns"]),
        parent_name=found["ns_id"].map(namespaces["parent_ns_id"]).map(names),
        call=found["isolated_by"].map(calls).astype("string[pyarrow]"),
    )
    return found.astype(_DTYPES)[COLUMNS]


def _changes_before_use(effects: pd.DataFrame, copied: pd.DataFrame) -> pd.DataFrame:
    """The changes of copied mounts before the first mount was attached in their namespace."""
    is_change = (effects["action"] == "change") & (effects["via"] != "namespace-copy")
    is_change &= effects["mnt_id_unique"].isin(copied["mnt_id_unique"])
    changes = effects.loc[is_change, _EFFECTS]
    is_use = (effects["action"] == "attach") & (effects["via"] == "direct")
    is_use &= effects["ns_id"].isin(copied["ns_id"].unique())
    used = effects.loc[is_use, ["ns_id", "seq"]].groupby("ns_id")["seq"].first()
    first_use = changes["ns_id"].map(used)
    return changes[first_use.isna() | (changes["seq"] < first_use).fillna(False)]


def _with_relations(states: pd.DataFrame, shared: pd.DataFrame) -> pd.DataFrame:
    """With what mounts were to those that they were copied from: peers, slaves, or private."""
    at_birth = pd.Series(groups(shared["before"]).array, pd.Index(shared["mnt_id_unique"]))
    is_peer = (states["shared"] == states["mnt_id_unique"].map(at_birth)).fillna(False)
    relation = pd.Series("private", states.index, dtype="string[pyarrow]")
    relation = relation.mask(states["master"].notna(), "slave").mask(is_peer.astype(bool), "peer")
    return states.assign(relation=relation)


def _since(states: pd.DataFrame) -> pd.Series:
    """The operation that made each mount what it was in the end, by its unique id."""
    before = states.groupby("mnt_id_unique")["relation"].shift()
    made = states[(before.isna() | (before != states["relation"])).fillna(True).astype(bool)]
    last = made.drop_duplicates("mnt_id_unique", keep="last")
    return last.set_index("mnt_id_unique")["seq"]


def _kinds(unshared: pd.DataFrame) -> pd.Series:
    """What the mounts of each namespace became, by `ns_id`."""
    pairs = unshared[["ns_id", "relation"]].drop_duplicates().sort_values("relation")
    return pairs.groupby("ns_id")["relation"].agg(", ".join).astype("string[pyarrow]")


def _calls(run: Run, seqs: pd.Series) -> pd.Series:
    """Some operations in few words, by number: "mount / MS_REC|private"."""
    operations = run.operations
    found = operations[operations["seq"].isin(seqs)].set_index("seq")
    flags = found["flags"].str.cat(found["propagation"].astype("string"), sep="|")
    text = found["syscall"].astype("string") + " " + found["path"] + " "
    return text + flags.str.strip("|")
