"""Namespaces that were made during the recording, and what became of their propagation."""

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

    A namespace begins as a copy of its maker's, and its shared mounts as peers of those that they
    were copied from (as slaves, in another user namespace). What its maker does to it before it
    attaches anything decides what can leak.

    Returns:
        A frame with COLUMNS: `seq` the operation that made it, `mounts` how many were copied,
        `shared_at_birth` how many of these were in peer groups where they were copied from,
        `shared_before_use` how many were in one when the first mount of its own was attached in
        it, `became` what the others had become ("private", "slave" …; "" if none had),
        `isolated_by` the operation that did it and `call` what that was.
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
    lost = last[was_shared & ~is_shared]
    born = copied.groupby("ns_id", sort=False)
    told = born.agg(
        ns=("ns", "first"),
        seq=("seq", "first"),
        mounts=("ns", "size"),
        shared_at_birth=("was_shared", "sum"),
    ).assign(
        shared_before_use=is_shared.groupby(last["ns_id"]).sum(),
        became=_kinds(lost),
        isolated_by=lost.groupby("ns_id")["seq"].max(),
    )
    told = told.reset_index().fillna({"became": ""}).astype(_DTYPES)
    names = run.namespaces.set_index("ns_id")
    told["name"] = told["ns_id"].map(names["name"])
    told["parent_ns"] = told["ns_id"].map(names["parent_ns"])
    calls = _calls(run, told["isolated_by"])
    told["call"] = told["isolated_by"].map(calls).astype("string[pyarrow]")
    return told[COLUMNS]


def _changes_before_use(effects: pd.DataFrame, copied: pd.DataFrame) -> pd.DataFrame:
    """The changes of copied mounts before the first other one was attached where they are."""
    is_change = (effects["action"] == "change") & (effects["via"] != "namespace-copy")
    is_change &= effects["mnt_id_unique"].isin(copied["mnt_id_unique"])
    changes = effects.loc[is_change, _EFFECTS]
    is_use = (effects["action"] == "attach") & (effects["via"] == "direct")
    is_use &= effects["ns_id"].isin(copied["ns_id"].unique())
    used = effects.loc[is_use, ["ns_id", "seq"]].groupby("ns_id")["seq"].first()
    first_use = changes["ns_id"].map(used)
    return changes[first_use.isna() | (changes["seq"] < first_use).fillna(False)]


def _kinds(lost: pd.DataFrame) -> pd.Series:
    """What the mounts of each namespace have become, in words, by `ns_id`."""
    pairs = lost[["ns_id", "propagation"]].astype({"propagation": "string[pyarrow]"})
    pairs = pairs.drop_duplicates().sort_values("propagation")
    return pairs.groupby("ns_id")["propagation"].agg(", ".join).astype("string[pyarrow]")


def _calls(run: Run, seqs: pd.Series) -> pd.Series:
    """The calls of some operations in few words, by number: "mount / MS_REC|private"."""
    operations = run.operations
    found = operations[operations["seq"].isin(seqs)].set_index("seq")
    flags = found["flags"].str.cat(found["propagation"].astype("string"), sep="|")
    text = found["syscall"].astype("string") + " " + found["path"] + " "
    return text + flags.str.strip("|")
