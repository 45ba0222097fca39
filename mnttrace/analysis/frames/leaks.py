# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Leaks: mounts that reached other mount namespaces, grouped by cause, worst first.

What is wrong with a mount, and how it came, is not decided here, but by
:mod:`mnttrace.analysis.diagnosis`, as for `why`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from mnttrace.analysis.diagnosis.lives import NONE, Lives
from mnttrace.analysis.diagnosis.story import Story
from mnttrace.analysis.diagnosis.verdicts import HARM, LEFT, WANTED, Verdicts
from mnttrace.analysis.names import labels, starters
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.mount_tables import last_tables

# Of the same harm: directions, the first ones are the worst.
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
    "lost",  # see :mod:`mnttrace.analysis.frames.lost_mounts`
    "escape",
    "container-to-container",
    "host-to-container",
    "race",
    "refused",  # see :mod:`mnttrace.analysis.frames.refusals`
    "other",
)
_CAUSE = ["starter", "reached", "group", "via", "comm"]
# Columns of the result → of the effects that they are taken from.
_OF_MOUNT = {
    "dst_ns": "ns",
    "dst_ns_id": "ns_id",
    "mnt_id_unique": "mnt_id_unique",
    "mountpoint": "mountpoint",
    "fstype": "fstype",
    "source": "source",
}
_OF_ARRIVAL = {
    "seq": "seq",
    "ts": "ts",
    "pid": "pid",
    "tid": "tid",
    "via": "via",
    "src_ns": "copy_of_ns",
    "src_ns_id": "copy_of_ns_id",
    "copy_of_path": "copy_of_path",
    "evidence": "evidence",
}
_OF_CARRIER = {"via_group": "via_group", "via_path": "via_path", "receiver_path": "parent_path"}
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
    "copy_of_via",
    "fstype",
    "source",
    "seq",
    "ts",
    "pid",
    "tid",
    "comm",
    "command",
    "syscall",
    "evidence",
    "via_path",
    "via_seq",
    "receiver_path",
    "mount_ids",
    "orphaned",
    "orphaned_seq",
    "freed",
    "freed_seq",
    "wanted",
]


def leaks(run: Run, story: Story) -> pd.DataFrame:
    """Copies in other namespaces than their originals': one row a cause, worst first.

    Also mounts that namespaces hold, or held for a while: copies that they inherited when they were
    made, and that stayed when the original was unmounted; and copies in the namespace of their
    original, if that is gone.

    A cause is a program in one container, unit, or other namespace (`src_ns`; the first of those
    that it was started in, of `starts`), the peer group through which its mounts were propagated
    (`via_group`) and the namespace that they reached (`dst_ns`). A tree that came as one is one.

    Args:
        run: the recording.
        story: of the whole recording.

    Returns:
        A frame with COLUMNS. `mounts` is the number of mounts, `present` how many were still
        attached at the end, `residue` how many of these have lost their original. `kind`,
        `mountpoint`, `seq` and so on are those of the worst mount, see
        :class:`mnttrace.analysis.diagnosis.verdicts.Verdicts`; of the first one, if several are:
        what `why` says of it. `mount_ids` has the ids of all that are present, comma separated,
        that one's first.

        `via_path` is the mount in `src_ns` through whose peer group it was propagated, `via_seq`
        the operation that made that shared (null: it was before), `receiver_path` its peer or slave
        in `dst_ns`. `copy_of_via` is how the original was attached, see `via` of `effects`: if no
        call was seen, `seq`, `comm` and so on are null, and `tid` is the thread. `direction` is
        like "container→host". `wanted` is whether somebody evidently wants it there.

        For "held" and "race" (`via` is namespace-copy), `orphaned` is when the original (what it is
        a copy of, or what that was one of) was unmounted and `orphaned_seq` by which operation,
        `freed` and `freed_seq` the same of the copy. `freed` is null if the copy is present.
        `freed_seq` is null if no operation is known, as when the namespace ended: `freed` can be
        0.1 s late then, so mounts that were held for less are left out.

        Rows come by what is left, then by `HARM`, direction and time.

    Raises:
        RecordingError: a table cannot be read.
    """
    whole = run.whole
    lives = story.lives
    verdicts = story.judge.attached(_candidates(whole))
    verdicts = verdicts.of(np.flatnonzero(verdicts.kind != ""))
    verdicts = verdicts.of(_chosen(run, verdicts))
    mounts = _mounts(whole, lives, verdicts)
    order = np.lexsort((verdicts.attached, mounts["harm"], ~mounts["present"]))
    counts = _by_cause(mounts.iloc[order])
    worst = verdicts.of(order[counts.pop("row").to_numpy()])
    found = _described(whole, lives, worst)
    for name in counts.columns:
        found[name] = counts[name].array
    found = _with_names(_where_they_are(found, whole), whole)
    found = found.assign(
        gone=found["present"] == 0,
        harm=_harm(worst),
        worst=found["direction"].map(_WORST.index).astype("int64"),
        at=worst.arrived,
    )
    found = found.sort_values(["gone", "harm", "worst", "at"], kind="stable")
    found = found[COLUMNS].reset_index(drop=True)
    found.attrs["warnings"] = run.warnings
    return found


def _candidates(run: Run) -> np.ndarray:
    """The effects that attached copies: positions."""
    effects = run.effects
    is_copy = effects["via"].isin(["peer", "slave"]) | effects["copy_of_unique"].notna()
    return np.flatnonzero(is_copy & (effects["action"] == "attach"))


def _chosen(run: Run, verdicts: Verdicts) -> np.ndarray:
    """Which of them belong to a part of a recording."""
    whole, everything = run.whole, np.arange(len(verdicts.kind))
    if run is whole:
        return everything
    effects = whole.effects
    names = {name: _OF_ARRIVAL[name] for name in ("seq", "ts", "src_ns_id", "copy_of_path")}
    frame = _taken(effects, verdicts.arrived, names | {"via_path": "via_path"})
    names = {name: _OF_MOUNT[name] for name in ("dst_ns_id", "mountpoint")}
    frame = frame.join(_taken(effects, verdicts.attached, names))
    return run.chosen("propagations", frame).index.to_numpy()


def _taken(effects: pd.DataFrame, at: np.ndarray, names: dict[str, str]) -> pd.DataFrame:
    """Some columns of some effects, under other names; null where there is no effect."""
    columns = {name: effects[of].array.take(at, allow_fill=True) for name, of in names.items()}
    return pd.DataFrame(columns)


def _harm(verdicts: Verdicts) -> np.ndarray:
    harm = pd.Series(verdicts.kind, dtype=object).map(HARM).to_numpy("int64")
    return np.where(verdicts.wanted, WANTED, harm)


def _mounts(run: Run, lives: Lives, verdicts: Verdicts) -> pd.DataFrame:
    """What mounts are grouped and counted by."""
    at, arrived = verdicts.attached, verdicts.arrived
    operations = run.operations
    by = pd.Index(operations["seq"]).get_indexer(lives.numbers("seq", arrived))
    comms, _ = pd.factorize(operations["comm"])
    spaces, which = np.unique(verdicts.source, return_inverse=True)
    starter = pd.Series(spaces).map(starters(run)).astype("string[pyarrow]")
    started, _ = pd.factorize(starter.fillna(""))
    mounts = pd.DataFrame(
        {
            "mount": lives.numbers("mnt_id_unique", at),
            "parent": lives.numbers("parent_unique", at),
            "source": verdicts.source,
            "starter": started[which],
            "reached": lives.numbers("ns_id", at),
            "group": lives.numbers("via_group", arrived),
            "via": run.effects["via"].cat.codes.to_numpy()[arrived],
            "comm": np.where(by < 0, NONE, np.append(comms, NONE)[by]),
            "present": verdicts.freed == NONE,
            "residue": np.isin(verdicts.kind, LEFT),
            "mount_id": lives.numbers("mount_id", at),
            "harm": _harm(verdicts),
        }
    )
    # A tree came as one: what carried it is the group that its root came through.
    root = _roots(mounts)
    mounts[_CAUSE] = mounts[_CAUSE].iloc[root].set_axis(mounts.index)
    return mounts


def _roots(mounts: pd.DataFrame) -> np.ndarray:
    """For each copy the position of the root of its tree: of copies on copies, by one program."""
    first = np.flatnonzero(~mounts["mount"].duplicated())
    known = pd.Index(mounts["mount"].iloc[first])
    found = known.get_indexer(mounts["parent"])
    parent = np.where(found < 0, -1, first[found]) if len(first) else found
    program = mounts.groupby(["starter", "comm", "reached"], sort=False).ngroup().to_numpy()
    root: np.ndarray = np.arange(len(mounts))
    is_inner = (parent >= 0) & (program[parent] == program)
    root[is_inner] = parent[is_inner]
    while not np.array_equal(further := root[root], root):
        root = further
    return root


def _by_cause(copies: pd.DataFrame) -> pd.DataFrame:
    """How many copies each cause has, and `row`, the position of its first one."""
    groups = copies.groupby(_CAUSE, sort=False)
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
            "starts": groups["source"].nunique().to_numpy(),
            "present": np.bincount(codes, present).astype("int64"),
            "residue": np.bincount(codes, residue).astype("int64"),
            "mount_ids": pd.array(
                [",".join(ids[start:end]) for start, end in pairwise(ends)], "string[pyarrow]"
            ),
        }
    )


def _described(run: Run, lives: Lives, worst: Verdicts) -> pd.DataFrame:
    """How some mounts came, and when they were orphaned and freed."""
    effects = run.effects
    carriers = lives.carriers(worst.arrived)
    since = lives.shared_since(carriers)
    made = lives.attached(lives.numbers("copy_of_unique", worst.arrived))
    was_held = lives.is_via(worst.arrived, "namespace-copy")
    orphaned = np.where(was_held, worst.orphaned, NONE)
    freed = np.where(was_held, worst.freed, NONE)
    parts = [
        _taken(effects, worst.attached, _OF_MOUNT),
        _taken(effects, worst.arrived, _OF_ARRIVAL),
        _taken(effects, carriers, _OF_CARRIER),
        _taken(effects, since, {"via_seq": "seq"}),
        _taken(effects, made, {"copy_of_via": "via"}),
        _taken(effects, orphaned, {"orphaned": "ts", "orphaned_seq": "seq"}),
        _taken(effects, freed, {"freed": "ts", "freed_seq": "seq"}),
    ]
    found = pd.concat(parts, axis="columns")
    operations = run.operations
    by = pd.Index(operations["seq"]).get_indexer(lives.numbers("seq", worst.arrived))
    calls = _taken(operations, by, {"comm": "comm", "syscall": "syscall"})
    return found.assign(
        comm=calls["comm"],
        syscall=calls["syscall"],
        kind=pd.array(worst.kind, "string[pyarrow]"),
        direction=pd.array(worst.direction, "string[pyarrow]"),
        wanted=worst.wanted,
    )


def _where_they_are(copies: pd.DataFrame, run: Run) -> pd.DataFrame:
    """With the mount points of the last tables: mounts may have moved since, as a container's root
    does."""
    tables = last_tables(run)
    there = tables[~tables["gone"] & tables["mnt_id_unique"].notna()]
    now = there.drop_duplicates("mnt_id_unique").set_index("mnt_id_unique")["mountpoint"]
    moved = copies["mnt_id_unique"].map(now).astype("string[pyarrow]")
    return copies.assign(mountpoint=moved.fillna(copies["mountpoint"]))


def _with_names(found: pd.DataFrame, run: Run) -> pd.DataFrame:
    processes = run.processes.drop_duplicates("pid", keep="last").set_index("pid")
    name = labels(run)
    for end in ("src", "dst"):
        inode = "mnt:[" + found[f"{end}_ns"].astype("string[pyarrow]") + "]"
        label = found[f"{end}_ns_id"].map(name).astype("string[pyarrow]")
        found[f"{end}_name"] = label.fillna(inode)
    found["command"] = found["pid"].map(processes["command"])
    return found
