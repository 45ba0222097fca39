# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Lost mounts: what a umount or a removal elsewhere took from a namespace, grouped by cause.

Which mounts are lost is not decided here, but by :mod:`mnttrace.analysis.diagnosis`, as for `why`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mnttrace.analysis.diagnosis.lives import NONE, Lives
from mnttrace.analysis.diagnosis.story import Story
from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.mount_tables import last_tables

# Columns of the result, taken from the effects by which mounts went.
_OF_EFFECT = {
    "ns_id": "ns_id",
    "ns": "ns",
    "mountpoint": "mountpoint",
    "fstype": "fstype",
    "source": "source",
    "mnt_id_unique": "mnt_id_unique",
    "seq": "seq",
    "ts": "ts",
    "tid": "tid",
    "via": "via",
    "via_group": "via_group",
    "copy_of_path": "copy_of_path",
    "src_ns": "copy_of_ns",
    "src_ns_id": "copy_of_ns_id",
    "evidence": "evidence",
}
COLUMNS = ["kind", "name", "src_name", *_OF_EFFECT, "mounts", "missing", "made_seq", "pid", "comm"]


def lost_mounts(run: Run, story: Story) -> pd.DataFrame:
    """Mounts that a namespace lost by what was done elsewhere.

    Args:
        run: the whole recording.
        story: of that.

    Returns:
        A row for each operation and namespace that lost mounts by it, in order, with COLUMNS:
        `kind` is "lost"; `mounts` how many mounts went; `missing` whether the namespace is there at
        the end, and nothing is mounted at `mountpoint`; the others are of the topmost of them:
        `made_seq` is the operation that attached it (null: it was there before), `seq` that which
        took it, by the process `pid` and `comm`, or else its thread is `tid`; `via` as in
        `effects`; `copy_of_path`, `src_name`, `src_ns`, `src_ns_id`: with which mount it went, or,
        if a mount point was removed, of which mount it is a copy; `name` the label of the
        namespace.
    """
    effects, operations, lives = run.effects, run.operations, story.lives
    at = _lost(run, story)
    found = pd.DataFrame(
        {name: effects[of].array.take(at, allow_fill=True) for name, of in _OF_EFFECT.items()}
    )
    found["at"] = at
    found["made_seq"] = effects["seq"].array.take(_attached(lives, at), allow_fill=True)
    # What no call did stands for itself.
    found["act"] = found["seq"].astype("Int64").fillna(-1 - found["at"])
    found["depth"] = found["mountpoint"].str.rstrip("/").str.count("/")
    found = found.sort_values(["depth", "at"], kind="stable")
    groups = found.groupby(["act", "ns_id"], sort=False)
    found = found.assign(mounts=groups["at"].transform("size"))
    found = found[~found.duplicated(["act", "ns_id"])].sort_values("at", kind="stable")
    by = pd.Index(operations["seq"]).get_indexer(found["seq"].astype("Int64").fillna(NONE))
    names = labels(run)
    found = found.assign(
        kind=pd.array(["lost"] * len(found), "string[pyarrow]"),
        missing=_are_missing(run, found),
        name=found["ns_id"].map(names).astype("string[pyarrow]"),
        src_name=found["src_ns_id"].map(names).astype("string[pyarrow]"),
        pid=operations["pid"].array.take(by, allow_fill=True),
        comm=operations["comm"].array.take(by, allow_fill=True),
    )
    return found[COLUMNS].reset_index(drop=True)


def _lost(run: Run, story: Story) -> np.ndarray:
    """The effects by which mounts were lost: positions, in order."""
    effects = run.effects
    elsewhere = effects["via"].isin(["peer", "slave", "mountpoint-removed"])
    gone = np.flatnonzero(elsewhere & (effects["action"] == "detach"))
    found = story.judge.lost(story.lives.numbers("mnt_id_unique", gone))
    return np.unique(found[found != NONE])


def _attached(lives: Lives, at: np.ndarray) -> np.ndarray:
    return lives.attached(lives.numbers("mnt_id_unique", at))


def _are_missing(run: Run, lost: pd.DataFrame) -> pd.Series:
    tables = last_tables(run)
    there = tables.loc[~tables["gone"], ["ns_id", "mountpoint"]]
    again = pd.MultiIndex.from_frame(lost[["ns_id", "mountpoint"]]).isin(
        pd.MultiIndex.from_frame(there)
    )
    return lost["ns_id"].isin(there["ns_id"]) & ~again
