# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Two recordings compared: which leaks are new, gone or the same."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.run import Run

# The columns that identify a leak across recordings: no ids, and no operations.
_IDENTITY = ["kind", "direction", "src_name", "dst_name", "via", "mountpoint", "copy_of_path"]
_IDENTITY += ["fstype", "source"]
COLUMNS = ["state", *_IDENTITY, "mounts_before", "mounts_after", "present_before", "present_after"]
# Pids and inode numbers after names; ids of containers; ids of pods; the suffix of a pod of a
# deployment in Kubernetes; numbers after names; names by mktemp(1) and by Python's tempfile.
_CHANGING = "|".join(
    (
        r"\[\d+\]",
        r"\b[0-9a-f]{12,64}\b",
        r"\b[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}\b",
        r"-[0-9a-f]{8,10}-[a-z0-9]{5}\b",
        r"-\d{4,}\b",
        r"\.(?=[A-Za-z0-9]*[A-Z0-9])[A-Za-z0-9]{6}(?![A-Za-z0-9])",
        r"\btmp[a-z0-9_]{8}\b",
    )
)


def compare(before: Run, after: Run) -> pd.DataFrame:
    """Which leaks are new, gone or the same, whatever their ids.

    Args:
        before, after: recordings of the same thing, as before and after a fix.

    Returns:
        A frame with COLUMNS, a row a leak; `state` is "new", "gone" or "same", the new ones first.
        Parts of names and paths that change from run to run (pids, inode numbers, ids of containers
        and pods) are `*`. `mounts_…` is the number of mounts, `present_…` how many were left at the
        end, in each recording. The warnings of both are in `frame.attrs["warnings"]`.

    Raises:
        RecordingError: a table cannot be read.
    """
    sides = [_identified(run, end) for run, end in ((before, "before"), (after, "after"))]
    counts = [column for column in COLUMNS if column.endswith(("_before", "_after"))]
    both = pd.concat(sides, ignore_index=True)
    both[counts] = both[counts].fillna(0).astype("int64")
    both = both.groupby(_IDENTITY, as_index=False)[counts].sum()
    state = pd.Series("same", index=both.index, dtype="string[pyarrow]")
    state = state.mask(both["mounts_before"] == 0, "new").mask(both["mounts_after"] == 0, "gone")
    order = state.map({"new": 0, "gone": 1, "same": 2})
    both = both.assign(state=state, order=order).sort_values(["order", *_IDENTITY])
    found = both[COLUMNS].reset_index(drop=True)
    found.attrs["warnings"] = [
        f"{name}: {text}"
        for name, run in (("before", before), ("after", after))
        for text in run.warnings
    ]
    return found


def _identified(run: Run, end: str) -> pd.DataFrame:
    leaks = run.leaks
    columns = {
        column: leaks[column]
        .astype("string[pyarrow]")
        .fillna("")
        .str.replace(_CHANGING, "*", regex=True)
        for column in _IDENTITY
    }
    counts = {f"{name}_{end}": leaks[name].astype("int64") for name in ("mounts", "present")}
    return pd.DataFrame(columns | counts)
