"""Leaks: copies that reached other mount namespaces, grouped by cause, worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

# What a namespace is, for directions; the first ones are the worst.
_WORST = (
    "container→host",
    "container→container",
    "container→other",
    "other→host",
    "other→container",
    "other→other",
    "host→container",
    "host→other",
    "host→host",
)
_CAUSE = ["src_ns_id", "dst_ns_id", "carried_by", "via", "comm"]
COLUMNS = [
    "direction",
    "src_name",
    "dst_name",
    "src_ns",
    "dst_ns",
    "src_ns_id",
    "dst_ns_id",
    "via",
    "carried_by",
    "mounts",
    "present",
    "residue",
    "mountpoint",
    "copy_of_path",
    "fstype",
    "source",
    "seq",
    "ts",
    "pid",
    "comm",
    "command",
    "syscall",
    "evidence",
    "carrier_path",
    "carrier_seq",
    "receiver_path",
    "mount_ids",
]


def leaks(run: Recording) -> pd.DataFrame:
    """Copies in other namespaces than their operation's: one row a cause, worst first.

    A cause is a program in one namespace (`src_ns`), the peer group that carried what it mounted
    (`carried_by`) and the namespace that it came to (`dst_ns`).

    Returns:
        A frame with COLUMNS: `mounts` is how many came, `present` how many were still attached at
        the end, `residue` how many of those whose original is gone; `mountpoint`, `seq` and so on
        are of the first that is still there, else of the first. `carrier_path` leads, in
        `src_ns`, to the mount whose peer group carried them, `carrier_seq` is the operation that
        attached it (null: it was there before), `receiver_path` leads to its peer or slave in
        `dst_ns`. `direction` is like "container→host"; `mount_ids` are those of all that are
        present, comma separated.

    Raises:
        RecordingError: a table cannot be read.
    """
    copies = run.propagations
    copies = copies[(copies["action"] == "attach") & (copies["src_ns_id"] != copies["dst_ns_id"])]
    if copies.empty:
        return pd.DataFrame({name: pd.Series(dtype="string[pyarrow]") for name in COLUMNS})
    effects = run.effects
    gone = set(effects.loc[effects["action"] == "detach", "mnt_id_unique"])
    copies = copies.assign(
        residue=copies["present"] & copies["copy_of_unique"].isin(gone),
        first=~copies["present"].astype(bool),
    ).sort_values(["first", "seq"], kind="stable")
    groups = copies.groupby(_CAUSE, dropna=False, observed=True, sort=False)
    found = groups.first().reset_index()
    counts = groups.agg(mounts=("seq", "size"), n=("present", "sum"), m=("residue", "sum"))
    found["mounts"] = counts["mounts"].to_numpy()
    found["present"] = counts["n"].to_numpy().astype("int64")
    found["residue"] = counts["m"].to_numpy().astype("int64")
    found["mount_ids"] = [
        ",".join(map(str, group.loc[group["present"], "mount_id"])) for _, group in groups
    ]
    found = _with_carriers(found, run)
    found = _with_names(found, run)
    order = found["direction"].map(_WORST.index).astype("int64")
    found = found.assign(order=order, gone=found["present"] == 0)
    found = found.sort_values(["gone", "order", "seq"], kind="stable")
    return found[COLUMNS].reset_index(drop=True)


def _with_carriers(found: pd.DataFrame, run: Recording) -> pd.DataFrame:
    """Who attached the mounts whose groups carried."""
    attached = run.effects[run.effects["action"] == "attach"]
    attached = attached.drop_duplicates("mnt_id_unique", keep="last").set_index("mnt_id_unique")
    return found.assign(carrier_seq=found["carrier_unique"].map(attached["seq"]))


def _with_names(found: pd.DataFrame, run: Recording) -> pd.DataFrame:
    home = run.meta.get("home_ns_id")
    namespaces = run.namespaces.set_index("ns_id")
    processes = run.processes.drop_duplicates("pid", keep="last").set_index("pid")
    kind = namespaces["kind"].astype("string[pyarrow]")
    kind = kind.where(kind.isin(["container", "host"]), "other")
    sides = {}
    for end in ("src", "dst"):
        ns = found[f"{end}_ns_id"]
        is_home = ns == home
        sides[end] = ns.map(kind).fillna("other").mask(is_home, "host")
        name = ns.map(namespaces["name"].astype("string[pyarrow]"))
        inode = "mnt:[" + found[f"{end}_ns"].astype("string[pyarrow]") + "]"
        found[f"{end}_name"] = name.mask(is_home, "host").fillna(inode)
    found["direction"] = sides["src"] + "→" + sides["dst"]
    found["command"] = found["pid"].map(processes["command"])
    return found
