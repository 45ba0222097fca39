# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces made during the recording, and how they were isolated from their parents."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.run import Run
from mnttrace.analysis.settings import are_shared

COLUMNS = [
    "ns_id",
    "ns",
    "name",
    "parent_ns",
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
    "ns": "UInt32",
    **dict.fromkeys(["mounts", "shared_at_birth", "shared_before_use"], "Int64"),
    "became": "string[pyarrow]",
}
_EFFECTS = ["ns_id", "ns", "seq", "mnt_id_unique", "propagation", "before"]


def births(run: Run) -> pd.DataFrame:
    """One row a namespace that was made.

    A namespace begins as a copy of its parent, with its shared mounts as peers of those that they
    were copied from (as slaves, in another user namespace). How their propagation is changed before
    the first mount is attached there decides what can leak.

    Returns:
        A frame with COLUMNS: `seq` the operation that made it, `mounts` how many mounts were
        copied, `shared_at_birth` how many of the originals were shared, `shared_before_use` how
        many of the copies still were when the first mount was attached in the namespace, `became`
        the propagation of the others then ("private", "slave" …; "" if there are none),
        `isolated_by` the operation that changed it, and `call` that one in words.
    """
    effects = run.effects
    is_copy = (effects["via"] == "namespace-copy") & (effects["action"] == "attach")
    copied = effects.loc[is_copy, _EFFECTS]
    copied["was_shared"] = are_shared(copied["before"])
    early = _changes_before_use(effects, copied)
    # A copy in another user namespace is a slave from the beginning: its birth changed it.
    last = pd.concat([copied, early]).drop_duplicates("mnt_id_unique", keep="last")
    was_shared = last["mnt_id_unique"].isin(copied.loc[copied["was_shared"], "mnt_id_unique"])
    is_shared = last["propagation"].isin(["shared", "shared-and-slave"])
    unshared = last[was_shared & ~is_shared]
    born = copied.groupby("ns_id", sort=False)
    found = born.agg(
        ns=("ns", "first"),
        seq=("seq", "first"),
        mounts=("ns", "size"),
        shared_at_birth=("was_shared", "sum"),
    ).assign(
        shared_before_use=is_shared.groupby(last["ns_id"]).sum(),
        became=_kinds(unshared),
        isolated_by=unshared.groupby("ns_id")["seq"].max(),
    )
    found = found.reset_index().fillna({"became": ""}).astype(_DTYPES)
    names = run.namespaces.set_index("ns_id")
    found["name"] = found["ns_id"].map(names["name"])
    found["parent_ns"] = found["ns_id"].map(names["parent_ns"])
    calls = _calls(run, found["isolated_by"])
    found["call"] = found["isolated_by"].map(calls).astype("string[pyarrow]")
    return found[COLUMNS]


def _changes_before_use(effects: pd.DataFrame, copied: pd.DataFrame) -> pd.DataFrame:
    """The changes of the propagation type of copied mounts, before the first mount was attached in
    their namespace."""
    is_change = (effects["action"] == "change") & (effects["via"] != "namespace-copy")
    is_change &= effects["mnt_id_unique"].isin(copied["mnt_id_unique"])
    both = pd.concat([copied[_EFFECTS], effects.loc[is_change, _EFFECTS]])
    before = both.groupby("mnt_id_unique")["propagation"].shift().astype("string[pyarrow]")
    # A remount changes other things.
    is_typed = before.notna() & (before != both["propagation"].astype("string[pyarrow]"))
    changes = both[is_typed.fillna(False)]
    is_use = (effects["action"] == "attach") & (effects["via"] == "direct")
    is_use &= effects["ns_id"].isin(copied["ns_id"].unique())
    used = effects.loc[is_use, ["ns_id", "seq"]].groupby("ns_id")["seq"].first()
    first_use = changes["ns_id"].map(used)
    return changes[first_use.isna() | (changes["seq"] < first_use).fillna(False)]


def _kinds(unshared: pd.DataFrame) -> pd.Series:
    """The propagation types that the mounts of each namespace have now, by `ns_id`."""
    pairs = unshared[["ns_id", "propagation"]].astype({"propagation": "string[pyarrow]"})
    pairs = pairs.drop_duplicates().sort_values("propagation")
    return pairs.groupby("ns_id")["propagation"].agg(", ".join).astype("string[pyarrow]")


def _calls(run: Run, seqs: pd.Series) -> pd.Series:
    """Some operations in few words, by number: "mount / MS_REC|private"."""
    operations = run.operations
    found = operations[operations["seq"].isin(seqs)].set_index("seq")
    flags = found["flags"].str.cat(found["propagation"].astype("string"), sep="|")
    text = found["syscall"].astype("string") + " " + found["path"] + " "
    return text + flags.str.strip("|")
