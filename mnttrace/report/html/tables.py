# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The tables of the page, as data for its script."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.frames.births import births
from mnttrace.analysis.frames.refusals import refused
from mnttrace.analysis.frames.removals import removed
from mnttrace.analysis.names import labels
from mnttrace.analysis.state.mount_tables import last_tables
from mnttrace.report.calls import call_text
from mnttrace.report.text import safe

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

MOST = 20_000  # rows of a table on a page


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        name: its title.
        exported: the table of `mnttrace export` that has all rows.
        columns: the first rows; text is escaped, numbers are nullable integers.
        total: how many rows there are.
    """

    name: str
    exported: str
    columns: pd.DataFrame
    total: int

    def data(self) -> dict[str, Any]:
        """The data for the script: the names of columns, which are numbers, and the rows."""
        filled = self.columns.astype(object).where(self.columns.notna(), None)
        numbers = [pd.api.types.is_integer_dtype(kind) for kind in self.columns.dtypes]
        return {
            "columns": list(self.columns.columns),
            "numbers": numbers,
            "rows": filled.to_numpy().tolist(),
        }


def tables(run: Recording) -> list[Table]:
    """Operations, propagations, namespaces and failures.

    Raises:
        RecordingError: a table cannot be read.
    """
    return [_operations(run), _propagations(run), _namespaces(run), _failures(run)]


def _operations(run: Recording) -> Table:
    found = run.operations
    first = found.head(MOST)
    caused = run.effects["seq"].value_counts()
    copies = run.propagations["seq"].value_counts()
    columns = _calls(run, first)
    columns["effects"] = first["seq"].map(caused).fillna(0).astype("Int64")
    columns["elsewhere"] = first["seq"].map(copies).fillna(0).astype("Int64")
    columns["µs"] = (first["latency"] / 1000).round().astype("Int64")
    columns["call"] = columns.pop("call")  # the longest comes last
    return Table("Operations", "operations", columns, len(found))


def _failures(run: Recording) -> Table:
    found = run.operations[run.operations["error"] != ""]
    first = found.head(MOST)
    refusals = {one.seq: one for one in refused(run, MOST)}
    reasons = {seq: one.reason for seq, one in refusals.items()}
    in_the_way = {seq: one.in_the_way for seq, one in refusals.items()}
    columns = _calls(run, first)
    columns["error"] = _text(first["error"])
    columns["because"] = _text(first["seq"].map(reasons))
    columns["in the way"] = _text(first["seq"].map(in_the_way))
    columns["call"] = columns.pop("call")
    return Table("Failures", "operations", columns, len(found))


def _calls(run: Recording, operations: pd.DataFrame) -> pd.DataFrame:
    """The columns that all tables of operations have."""
    names, gone = labels(run), removed(run.whole)
    return pd.DataFrame(
        {
            "operation": operations["seq"],
            "time": _times(operations["ts"]),
            "process": _processes(operations["comm"], operations["tid"]),
            "namespace": _text(operations["ns_id"].map(names)),
            "call": [
                call_text(row | {"removed": gone.get(row["seq"])}) for row in rows(operations)
            ],
        }
    )


def _propagations(run: Recording) -> Table:
    found = run.propagations
    first = found.head(MOST)
    names = labels(run)
    columns = pd.DataFrame(
        {
            "operation": first["seq"],
            "time": _times(first["ts"]),
            "process": _processes(first["comm"], first["tid"]),
            "from": _text(first["src_ns_id"].map(names)),
            "to": _text(first["dst_ns_id"].map(names)),
            "action": _text(first["action"]),
            "mount point": _text(first["mountpoint"]),
            "file system": _text(first["fstype"]),
            "via": _text(first["via"]),
            "group": first["via_group"],
            "through": _text(first["via_path"]),
            "receiver": _text(first["receiver_path"]),
            "evidence": _text(first["evidence"]),
            "present": _text(first["present"].map({True: "yes", False: "no"})),
        }
    )
    return Table("Propagations", "propagations", columns, len(found))


def _namespaces(run: Recording) -> Table:
    found = run.namespaces
    first = found.head(MOST)
    names = labels(run)
    mounts = last_tables(run)
    made = births(run).set_index("ns_id")
    state = mounts.drop_duplicates("ns_id").set_index("ns_id")["gone"]
    columns = pd.DataFrame(
        {
            "name": _text(first["ns_id"].map(names)),
            "kind": _text(first["kind"]),
            "inode": first["ns"],
            "mounts": first["ns_id"].map(mounts["ns_id"].value_counts()).astype("Int64"),
            "made by": first["seq"],
            "copy of": _text(first["parent_ns_id"].map(names)),
            "shared mounts": first["ns_id"].map(made["shared_before_use"]).astype("Int64"),
            "gone": _text(first["ns_id"].map(state).map({True: "yes", False: "no"})),
            "pid": first["pid"],
            "runtime": _text(first["runtime"]),
            "image": _text(first["image"]),
            "pod": _text(first["pod"]),
            "command": _text(first["command"]),
        }
    )
    return Table("Namespaces", "namespaces", columns, len(found))


def _text(values: Iterable[Any]) -> list[str]:
    return ["" if pd.isna(value) else safe(value) for value in values]


def _processes(comm: pd.Series, tid: pd.Series) -> list[str]:
    return _text(comm.astype("string") + "[" + tid.astype("string") + "]")


def _times(when: pd.Series) -> list[str]:
    """Times of day in UTC; with dates if there are several."""
    is_one_day = when.dt.date.nunique() < 2
    return _text(when.dt.strftime("%H:%M:%S.%f" if is_one_day else "%Y-%m-%d %H:%M:%S.%f"))
