"""Namespaces that were made during the recording, and what became of their propagation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

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


def births(run: Recording) -> pd.DataFrame:
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
    born = effects.loc[is_copy, "ns_id"].unique()
    inside = effects[effects["ns_id"].isin(born)]
    rows = [_row(own) for _, own in inside.groupby("ns_id", sort=False)]
    told = pd.DataFrame(
        rows, columns=[c for c in COLUMNS if c not in ("name", "parent_ns", "call")]
    )
    told = told.astype(_DTYPES)
    names = run.namespaces.set_index("ns_id")
    told["name"] = told["ns_id"].map(names["name"])
    told["parent_ns"] = told["ns_id"].map(names["parent_ns"])
    told["call"] = told["isolated_by"].map(_calls(run.operations.set_index("seq")))
    return told[COLUMNS]


def _row(effects: pd.DataFrame) -> dict[str, object]:
    """The birth of one namespace, from all effects in it."""
    is_copy = effects["via"] == "namespace-copy"
    copied, own = effects[is_copy], effects[~is_copy]
    attached = own.loc[(own["action"] == "attach") & (own["via"] == "direct"), "seq"]
    early = own if attached.empty else own[own["seq"] < attached.iloc[0]]
    early = early[early["mnt_id_unique"].isin(copied["mnt_id_unique"])]
    # A copy in another user namespace is a slave from the beginning: its birth changed it.
    changed = pd.concat([copied, early[early["action"] == "change"]])
    last = changed.drop_duplicates("mnt_id_unique", keep="last").set_index("mnt_id_unique")
    was_shared = copied.set_index("mnt_id_unique")["before"].str.startswith("shared:").fillna(False)
    is_shared = last["propagation"].isin(["shared", "shared-and-slave"])
    lost = last[was_shared.reindex(last.index) & ~is_shared]
    return {
        "ns_id": copied["ns_id"].iloc[0],
        "ns": copied["ns"].iloc[0],
        "seq": copied["seq"].iloc[0],
        "mounts": len(copied),
        "shared_at_birth": int(was_shared.sum()),
        "shared_before_use": int(is_shared.sum()),
        "became": ", ".join(sorted(set(lost["propagation"].astype(str)))),
        "isolated_by": lost["seq"].max() if len(lost) else pd.NA,
    }


def _calls(operations: pd.DataFrame) -> pd.Series:
    """An operation's call in few words: "mount / MS_REC|private"."""
    flags = operations["flags"].str.cat(operations["propagation"].astype("string"), sep="|")
    text = operations["syscall"].astype("string") + " " + operations["path"] + " "
    return text + flags.str.strip("|")
