# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Leaks: mounts that reached other mount namespaces, grouped by cause, worst first."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mnttrace.analysis.frames.propagations import COLUMNS as PROPAGATIONS
from mnttrace.analysis.names import kinds, labels, starters
from mnttrace.analysis.run import Run
from mnttrace.analysis.settings import are_shared
from mnttrace.analysis.state.mount_tables import last_tables

# Directions, from the kinds of the two namespaces; the first ones are the worst.
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
# The kinds of leaks, for `--fail-on`. If several fit, the first one counts.
KINDS = (
    "doubling",  # see :mod:`mnttrace.analysis.frames.doublings`
    "held",
    "residue",
    "escape",
    "container-to-container",
    "host-to-container",
    "race",
    "refused",  # see :mod:`mnttrace.analysis.frames.refusals`
    "other",
)
_BY_DIRECTION = {
    "container→host": "escape",
    "container→container": "container-to-container",
    "host→container": "host-to-container",
}
# Columns that a bind of an inherited mount takes from that mount: where it came from.
_ORIGIN = ["seq", "ts", "pid", "tid", "via", "copy_of", "copy_of_unique", "copy_of_path"]
_ORIGIN += ["copy_of_ns", "copy_of_ns_id"]
_HELD: dict[str, Any] = {
    "orphaned": "datetime64[ns, UTC]",
    "orphaned_seq": "UInt64",
    "freed": "datetime64[ns, UTC]",
    "freed_seq": "UInt64",
}
_CAUSE = ["starter", "dst_ns_id", "via_group", "via", "comm"]
_SEEN_LATE = pd.Timedelta(milliseconds=100)  # the recorder polls for the ends of namespaces
_GROUPED = [
    "src_ns_id",
    *_CAUSE[1:],
    "present",
    "seq",
    "mount_id",
    "mnt_id_unique",
    "receiver_unique",
]
_GROUPED += ["copy_of_unique"]
_CARRIER = ["via_group", "via_unique", "via_path", "receiver_path"]
COLUMNS = [
    "kind",
    "direction",
    "src_name",
    "dst_name",
    "src_ns",
    "dst_ns",
    "src_ns_id",
    "dst_ns_id",
    "via",
    "via_group",
    "mounts",
    "starts",
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
    "via_path",
    "via_seq",
    "receiver_path",
    "mount_ids",
    *_HELD,
]


def leaks(run: Run) -> pd.DataFrame:
    """Copies in other namespaces than their operation's: one row a cause, worst first.

    Also mounts that namespaces hold, or held for a while: copies that they inherited when they were
    made, and that stayed when the original was unmounted.

    A cause is a program in one container, unit, or other namespace (`src_ns`; the first of those
    that it was started in, of `starts`), the peer group through which its mounts were propagated
    (`via_group`) and the namespace that they reached (`dst_ns`). A tree that came as one is one.

    Returns:
        A frame with COLUMNS. `mounts` is the number of mounts, `present` how many were still
        attached at the end, `residue` how many of these have lost their original. `mountpoint`,
        `seq` and so on are those of the first mount that is present, else of the first one.
        `mount_ids` has the ids of all that are present, comma separated.

        `via_path` is the mount in `src_ns` through whose peer group they were propagated, `via_seq`
        the operation that made it shared (null: it was before), `receiver_path` its peer or
        slave in `dst_ns`. `direction` is like "container→host". `kind` is one of KINDS: "held"
        (`via` is namespace-copy), "race" if none of the held ones is present, "residue" if an
        original is gone, else by the direction.

        For "held" and "race", `orphaned` is when the original was unmounted and `orphaned_seq` by
        which operation, `freed` and `freed_seq` the same of the copy. `freed` is null if the copy
        is present. `freed_seq` is null if no operation is known, as when the namespace ended:
        `freed` can be 0.1 s late then, so mounts that were held for less are left out.

    Raises:
        RecordingError: a table cannot be read.
    """
    whole = run.whole
    copies = run.propagations
    # There can be millions of rows: they are grouped by a few columns; of the others only the
    # first row of each group is read.
    elsewhere = (copies["action"] == "attach") & (copies["src_ns_id"] != copies["dst_ns_id"])
    rows = np.flatnonzero(elsewhere.fillna(False).to_numpy(bool))
    inherited = run.chosen("propagations", held(whole))
    narrow = copies[_GROUPED].iloc[rows]
    if len(inherited):
        narrow = pd.concat([narrow, inherited[_GROUPED]], ignore_index=True)
    if narrow.empty:
        none = pd.DataFrame({name: pd.Series(dtype="string[pyarrow]") for name in COLUMNS})
        none.attrs["warnings"] = run.warnings
        return none
    gone = whole.effects.loc[whole.effects["action"] == "detach", "mnt_id_unique"]
    narrow = narrow.assign(residue=narrow["present"] & narrow["copy_of_unique"].isin(gone))
    narrow["starter"] = (
        narrow["src_ns_id"].map(starters(whole)).astype("string[pyarrow]").fillna("")
    )
    # A tree came as one: what carried it is the group that its root came through.
    root = _roots(narrow)
    narrow[_CAUSE] = narrow[_CAUSE].iloc[root].set_axis(narrow.index)
    order = np.lexsort(
        (
            narrow["seq"].to_numpy("int64", na_value=np.iinfo(np.int64).max),
            ~narrow["present"].to_numpy(bool),
        )
    )
    counts = _by_cause(narrow.iloc[order])
    first = order[counts.pop("row").to_numpy()]
    found = _rows_at(first, copies, rows, inherited)
    found[_CARRIER] = _rows_at(root[first], copies, rows, inherited)[_CARRIER]
    for name in counts.columns:
        found[name] = counts[name].array
    found = _where_they_are(found, whole)
    found = _with_via_seq(found, whole)
    found = _with_names(found, whole)
    found["kind"] = _kinds(found)
    worst = found["direction"].map(_WORST.index).astype("int64")
    found = found.assign(worst=worst, gone=found["present"] == 0)
    found = found.sort_values(["gone", "worst", "seq"], kind="stable")
    found = found[COLUMNS].reset_index(drop=True)
    found.attrs["warnings"] = run.warnings
    return found


def _roots(copies: pd.DataFrame) -> np.ndarray:
    """For each copy the position of the root of its tree: of copies on copies, by one program."""
    first = np.flatnonzero(~copies["mnt_id_unique"].duplicated())
    known = pd.Index(copies["mnt_id_unique"].iloc[first])
    found = known.get_indexer(copies["receiver_unique"])
    parent = np.where(found < 0, -1, first[found])
    keys = ["starter", "comm", "dst_ns_id"]
    program = copies.groupby(keys, dropna=False, observed=True).ngroup().to_numpy()
    root: np.ndarray = np.arange(len(copies))
    is_inner = (parent >= 0) & (program[parent] == program)
    root[is_inner] = parent[is_inner]
    while not np.array_equal(further := root[root], root):
        root = further
    return root


def _by_cause(copies: pd.DataFrame) -> pd.DataFrame:
    """How many copies each cause has, and `row`, the position of its first one."""
    groups = copies.groupby(_CAUSE, dropna=False, observed=True, sort=False)
    codes = groups.ngroup().to_numpy()  # in the order in which they come
    _, first = np.unique(codes, return_index=True)
    present, residue = (copies[name].to_numpy(dtype=bool) for name in ("present", "residue"))
    left = codes[present]
    order = np.argsort(left, kind="stable")
    ids = copies["mount_id"].to_numpy()[present][order].astype(str)
    ends = np.searchsorted(left[order], np.arange(len(first) + 1))
    return pd.DataFrame(
        {
            "row": first,
            "mounts": np.bincount(codes),
            "starts": groups["src_ns_id"].nunique().to_numpy(),
            "present": np.bincount(codes, present).astype("int64"),
            "residue": np.bincount(codes, residue).astype("int64"),
            "mount_ids": pd.array(
                [",".join(ids[start:end]) for start, end in pairwise(ends)], "string[pyarrow]"
            ),
        }
    )


def _rows_at(
    places: np.ndarray, copies: pd.DataFrame, rows: np.ndarray, inherited: pd.DataFrame
) -> pd.DataFrame:
    """All columns of some copies: of propagated ones (at `rows`), then of inherited ones."""
    is_propagated = places < len(rows)
    propagated = copies.iloc[rows[places[is_propagated]]]
    nothing = {
        name: pd.Series(index=propagated.index, dtype=dtype) for name, dtype in _HELD.items()
    }
    parts = [propagated.assign(**nothing).set_index(np.flatnonzero(is_propagated))]
    if len(inherited):
        kept = inherited.iloc[places[~is_propagated] - len(rows)]
        parts.append(kept.set_index(np.flatnonzero(~is_propagated)))
    whole: pd.DataFrame = pd.concat(parts)
    return whole.sort_index()


def _kinds(found: pd.DataFrame) -> pd.Series:
    kind = found["direction"].map(_BY_DIRECTION).fillna("other")
    kind = kind.mask(found["residue"] > 0, "residue")
    was_held = found["via"] == "namespace-copy"
    kind = kind.mask(was_held, "held").mask(was_held & (found["present"] == 0), "race")
    return kind.astype("string[pyarrow]")


def _where_they_are(copies: pd.DataFrame, run: Run) -> pd.DataFrame:
    """With the mount points of the last tables: mounts may have moved since, as a container's root
    does."""
    tables = last_tables(run)
    there = tables[~tables["gone"] & tables["mnt_id_unique"].notna()]
    now = there.drop_duplicates("mnt_id_unique").set_index("mnt_id_unique")["mountpoint"]
    moved = copies["mnt_id_unique"].map(now).astype("string[pyarrow]")
    return copies.assign(mountpoint=moved.fillna(copies["mountpoint"]))


def held(run: Run) -> pd.DataFrame:
    """Mounts that namespaces inherited and kept after the original was unmounted.

    Returns:
        Rows with the columns of :mod:`mnttrace.analysis.frames.propagations`, `via` namespace-copy
        and `seq` the operation that made the namespace; and orphaned, orphaned_seq, freed and
        freed_seq, as of :func:`leaks`.
    """
    effects = run.effects
    is_attach, via = effects["action"] == "attach", effects["via"]
    gone = effects.loc[effects["action"] == "detach", ["mnt_id_unique", "via", "ts", "seq"]]
    gone = gone.drop_duplicates("mnt_id_unique", keep="last").set_index("mnt_id_unique")
    unmounted = gone.index[gone["via"].isin(["direct", "peer", "slave"])]
    is_orphan = is_attach & (via == "namespace-copy") & effects["copy_of_unique"].isin(unmounted)
    orphans = _last_of_each(effects[is_orphan])
    if orphans.empty:
        return orphans.reindex(columns=[*PROPAGATIONS, *_HELD])
    # And binds of these, as a container's volumes are.
    is_bound = is_attach & (via == "direct") & effects["copy_of_unique"].notna()
    bound = _last_of_each(effects[is_bound])
    copies, source = [orphans], orphans["mnt_id_unique"]
    while len(source):
        more = bound[bound["copy_of_unique"].isin(source)]
        first = pd.concat(copies).loc[more["copy_of_unique"].to_numpy()]
        copies.append(more.assign(**{name: first[name].array for name in _ORIGIN}))
        source = more["mnt_id_unique"]
    found = pd.concat(copies)
    for end, of in (("orphaned", "copy_of_unique"), ("freed", "mnt_id_unique")):
        for name, column in ((end, "ts"), (f"{end}_seq", "seq")):
            found[name] = found[of].map(gone[column]).astype(_HELD[name])
    # A copy that went with the original, or before it, was not held. The time of an operation is
    # exact; the end of a namespace is seen a little late, so the order is not certain then.
    together = (found["freed_seq"] == found["orphaned_seq"]).fillna(False)
    longer = found["freed"] - found["orphaned"]
    least = longer.where(found["freed_seq"].notna(), longer - _SEEN_LATE)
    found = found[found["freed"].isna() | ((least > pd.Timedelta(0)) & ~together)]
    operations = run.operations[["seq", "syscall", "comm"]]
    operations = operations[operations["seq"].isin(found["seq"])].set_index("seq")
    found = found.rename(columns={"ns": "dst_ns", "ns_id": "dst_ns_id"}).assign(
        src_ns=found["copy_of_ns"],
        src_ns_id=found["copy_of_ns_id"],
        syscall=found["seq"].map(operations["syscall"].astype("string[pyarrow]")),
        comm=found["seq"].map(operations["comm"]),
        receiver_path=found["parent_path"],
        receiver_unique=found["parent_unique"],
        present=found["freed"].isna(),
    )
    return found[[*PROPAGATIONS, *_HELD]]


def _last_of_each(effects: pd.DataFrame) -> pd.DataFrame:
    last = effects.drop_duplicates("mnt_id_unique", keep="last")
    return last.set_index("mnt_id_unique", drop=False)


def _with_via_seq(found: pd.DataFrame, run: Run) -> pd.DataFrame:
    """With the operations that made shared the mounts through which copies were propagated."""
    effects = run.effects
    is_made = (effects["action"] == "attach") | (
        (effects["action"] == "change") & ~are_shared(effects["before"])
    )
    is_made &= effects["shared"].notna() & effects["seq"].notna()
    is_made &= effects["mnt_id_unique"].isin(found["via_unique"])
    made = effects.loc[is_made, ["mnt_id_unique", "seq"]].astype("int64").sort_values("seq")
    made = made.rename(columns={"mnt_id_unique": "via_unique", "seq": "via_seq"})
    asked = found[["via_unique", "seq"]].dropna().astype("int64").reset_index()
    since = pd.merge_asof(
        asked.sort_values("seq"), made, left_on="seq", right_on="via_seq", by="via_unique"
    )
    column = since.set_index("index")["via_seq"].astype("UInt64")
    return found.assign(via_seq=column.reindex(found.index))


def _with_names(found: pd.DataFrame, run: Run) -> pd.DataFrame:
    processes = run.processes.drop_duplicates("pid", keep="last").set_index("pid")
    kind, name = kinds(run), labels(run)
    sides = {}
    for end in ("src", "dst"):
        ns = found[f"{end}_ns_id"]
        sides[end] = ns.map(kind).astype("string[pyarrow]").fillna("other")
        inode = "mnt:[" + found[f"{end}_ns"].astype("string[pyarrow]") + "]"
        found[f"{end}_name"] = ns.map(name).astype("string[pyarrow]").fillna(inode)
    found["direction"] = sides["src"] + "→" + sides["dst"]
    found["command"] = found["pid"].map(processes["command"])
    return found
