# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of all namespaces as they were at a moment, and the difference between two.

Each mount is as the last effect on it left it, or as the first table of its namespace shows it. The
effects of an operation count from the end of its call. The paths below a mount that was moved
follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mnttrace.analysis import settings
from mnttrace.analysis.dataframes import to_frame
from mnttrace.analysis.run import Run
from mnttrace.analysis.times import Moment, moment
from mnttrace.recording.reader import read_coded

_MOUNT = ["ns_id", "ns", "mount_id", "mnt_id_unique", "parent_id", "mountpoint", "root", "device"]
_MOUNT += ["fstype", "source", "shared", "master", "propagation", "unbindable"]
COLUMNS = [*_MOUNT[:5], "parent_unique", *_MOUNT[5:], "options", "super_options", "evidence"]
# The columns of a mount that can change while it stays where it is.
_SETTINGS = ["root", "shared", "master", "propagation", "unbindable", "options"]
# Columns of effects: those that describe a mount, and those that are read of every row.
_DESCRIBE = [*_MOUNT, "parent_unique", "parent_path", "evidence"]
_NEEDED = ["seq", "monotonic", "mnt_id_unique", "action", "via", "before", "after"]
_TEXTS = dict.fromkeys(("fstype", "propagation", "evidence"), "string[pyarrow]")
_MAX = np.iinfo(np.int64).max
_NONE = -1  # in place of a row number


def tables_at(run: Run, history: History, when: Moment) -> pd.DataFrame:
    """The mount tables of all namespaces that were there at a moment.

    Args:
        run: the recording; of a part of one, the rows of the tables that belong to it.
        history: of the whole recording.
        when: a time (UTC, if it has no zone), or seconds since the recording began.

    Returns:
        A row a mount, by namespace and in the order in which the mounts were made, with COLUMNS:
        those of the table `mounts`, `parent_unique`, and `evidence` for where the mount is and its
        groups ("snapshot" if they are from a mount table). Paths begin at the root of the
        namespace. `options` are null if neither an effect nor a table has them; `super_options` are
        from the table that is nearest in time.

    Raises:
        BadInput: it is no time, or not within the recording.
        RecordingError: a table cannot be read.
    """
    wall = moment(run.whole, when).as_unit("ns").value
    found = run.chosen("mounts", history.at(wall - run.meta.get("wall_offset", 0)))
    found.attrs["warnings"] = run.warnings
    return found


def changes_between(run: Run, history: History, start: Moment, end: Moment) -> pd.DataFrame:
    """The difference between the tables of two moments, whatever happened in between.

    Args:
        run, history: as for :func:`tables_at`.
        start, end: the moments.

    Returns:
        A row a difference: `action` (attach, detach, move, change), the mount's columns as of
        :func:`tables_at` (at the later moment; for detach, at the earlier one), and `before` and
        `after` as in the table `effects`. A mount below one that was moved has moved, too.

    Raises:
        BadInput, RecordingError: as for :func:`tables_at`.
    """
    old, new = (_by_mount(tables_at(run, history, when)) for when in (start, end))
    both = old.index.intersection(new.index, sort=False)
    was, now = old.loc[both], new.loc[both]
    has_moved = _differs(was, now, ["parent_id", "mountpoint"])
    has_changed = _differs(was, now, _SETTINGS)
    parts = [
        new.loc[new.index.difference(both, sort=False)].assign(action="attach"),
        old.loc[old.index.difference(both, sort=False)].assign(action="detach"),
        _compared(was[has_moved], now[has_moved], _position).assign(action="move"),
        _compared(was[has_changed], now[has_changed], settings.text).assign(action="change"),
    ]
    texts = dict.fromkeys(("action", "before", "after"), "string[pyarrow]")
    names = ["action", *COLUMNS, "before", "after"]
    found = pd.concat([part.reindex(columns=names).astype(texts) for part in parts])
    found = found.reset_index(drop=True)
    found.attrs["warnings"] = run.warnings
    return found


class History:
    """What happened to each mount, to make the tables of any moment.

    Args:
        run: the recording.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tables = _table_rows(run)
        # Few of the descriptions are asked for: they stay in Arrow until then.
        with ThreadPoolExecutor(1) as reader:
            described = reader.submit(read_coded, run.directory, "effects", _DESCRIBE)
            self._order(read_coded(run.directory, "effects", _NEEDED))
        self._described = described.result()

    def _order(self, effects: pa.Table) -> None:
        """Find which mount each effect is about, what kind it is, and from when it counts."""
        self._ends = _ends(self._run, effects)
        first = _first_rows(self._run, self._tables)
        # With numbers for mounts the last effect on each is found in one pass.
        known = first["mnt_id_unique"].to_numpy("int64", na_value=0)
        numbers = _numbers(np.concatenate([_integers(effects["mnt_id_unique"]), known]))
        self._count = numbers.max(initial=_NONE) + 1
        self._numbers, first["number"] = np.split(numbers, [len(effects)])
        # A mount that was attached was not there before.
        is_made = np.zeros(self._count + 1, bool)
        is_made[self._numbers[_is(effects["action"], "attach")]] = True
        is_made[_NONE] = False
        self._first = first[~is_made[first["number"]]]
        self._is_detach = _is(effects["action"], "detach")
        is_setting = _is(effects["action"], "change") & ~_is(effects["via"], "super-block")
        is_setting |= _is(effects["via"], "namespace-copy")
        self._settings = np.flatnonzero(is_setting & effects["after"].is_valid().to_numpy())
        self._texts = effects.select(["before", "after"])

    def at(self, when: int) -> pd.DataFrame:
        """The tables at a moment, as of :func:`tables_at`.

        Args:
            when: CLOCK_MONOTONIC, ns.
        """
        last = self._last(np.flatnonzero(self._ends <= when))
        is_shown = np.zeros(len(self._ends), bool)
        is_shown[last[last != _NONE]] = True
        is_shown &= ~self._is_detach
        changed = _frame(self._described.filter(is_shown))
        is_there = (self._first["since"] <= when) & (_at(last, self._first["number"]) == _NONE)
        parts = [
            self._first[is_there].drop(columns="since"),
            changed.assign(number=self._numbers[is_shown]),
        ]
        tables = pd.concat([part.astype(_TEXTS) for part in parts], ignore_index=True)
        tables = tables[~tables["ns_id"].isin(self._gone(when))]
        tables = tables.sort_values(["ns_id", "mnt_id_unique", "mount_id"], ignore_index=True)
        tables = _with_paths(self._with_options(tables, when))
        return tables[COLUMNS]

    def _last(self, rows: np.ndarray) -> np.ndarray:
        """The last of some effects on each mount, by its number; `rows` are in order."""
        last = np.full(self._count, _NONE)
        numbers = self._numbers[rows]
        # If an index occurs several times, numpy keeps the last value.
        last[numbers[numbers != _NONE]] = rows[numbers != _NONE]
        return last

    def _gone(self, when: int) -> pd.Series:
        """The namespaces that were found to have ended."""
        snapshots = self._run.snapshots
        is_gone = (snapshots["reason"] == "gone") & (snapshots["started"] <= when)
        return snapshots.loc[is_gone, "ns_id"]

    def _with_options(self, tables: pd.DataFrame, when: int) -> pd.DataFrame:
        """With options, those after the last change, else before the next one, else of a table; and
        with the columns that only tables have."""
        rows = self._settings
        is_past = self._ends[rows] <= when
        options = pd.Series(pd.NA, tables.index, dtype="string[pyarrow]")
        for column, last in (
            ("after", self._last(rows[is_past])),
            ("before", self._last(rows[~is_past][::-1])),
        ):
            asked = _at(last, tables["number"])
            asked = pa.array(asked, mask=asked == _NONE)
            found = _frame(self._texts.select([column]).take(asked))[column]
            options = options.fillna(settings.options(found))
        shown = self._nearest_tables(when).reindex(tables["mnt_id_unique"]).set_index(tables.index)
        return tables.assign(
            options=options.fillna(tables["options"]).fillna(shown["options"]),
            super_options=shown["super_options"].fillna(tables["super_options"]),
            root=tables["root"].fillna(shown["root"]),
        )

    def _nearest_tables(self, when: int) -> pd.DataFrame:
        """Options and root of each mount in the table nearest in time, by unique id."""
        known = self._tables[self._tables["mnt_id_unique"].notna()]
        distance = (known["seen"] - when).abs()
        nearest = known.iloc[distance.argsort(kind="stable")].drop_duplicates("mnt_id_unique")
        return nearest.set_index("mnt_id_unique")[["options", "super_options", "root"]]


def _at(values: np.ndarray, numbers: pd.Series) -> np.ndarray:
    """The values at some indexes, -1 for -1."""
    found: np.ndarray = np.append(values, _NONE)[numbers.to_numpy()]
    return found


def _frame(coded: pa.Table) -> pd.DataFrame:
    """Rows of `read_coded` as a frame."""
    fields = [
        pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in coded.schema
    ]
    texts = coded.cast(pa.schema(fields))
    return to_frame(zip(texts.column_names, texts.columns, strict=True))


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of integers as an array, 0 for null."""
    whole = pc.fill_null(column, 0) if column.null_count else column
    found: np.ndarray = whole.to_numpy().view(np.int64)
    return found


def _numbers(mounts: np.ndarray) -> np.ndarray:
    """Small numbers in place of unique ids, -1 for 0."""
    known = mounts[mounts != 0]
    low, high = known.min(initial=_MAX), known.max(initial=0)
    # The kernel counts unique ids up, so mostly the distance from the first one will do.
    numbers = mounts - low if high - low < 8 * len(known) else pd.factorize(mounts)[0]
    numbers[mounts == 0] = _NONE
    return numbers


def _is(column: pa.ChunkedArray, text: str) -> np.ndarray:
    """Where a column of `read_coded` has a text."""
    parts = [pc.equal(one.indices, one.dictionary.index(text)) for one in column.chunks]
    found: np.ndarray = pa.chunked_array(parts, pa.bool_()).fill_null(False).to_numpy()
    return found


def _ends(run: Run, effects: pa.Table) -> np.ndarray:
    """When each effect begins to count: at the end of its call, or when seen; CLOCK_MONOTONIC."""
    operations = read_coded(run.directory, "operations", ["seq", "latency"])
    seqs, caused = _integers(operations["seq"]), _integers(effects["seq"])
    # The latency of an operation that is missing is not known: 0.
    latency = np.zeros(max(seqs.max(initial=0), caused.max(initial=0)) + 1, np.int64)
    latency[seqs] = _integers(operations["latency"])
    latency[0] = 0
    ends: np.ndarray = latency[caused]
    ends += _integers(effects["monotonic"])
    return ends


def _table_rows(run: Run) -> pd.DataFrame:
    """The rows of mount tables that show a mount, with when they were read (`seen`)."""
    snapshots = run.snapshots.set_index("snapshot")
    rows = run.mounts[run.mounts["change"] != "removed"]
    at = rows["snapshot"]
    return rows.assign(
        seen=at.map(snapshots["started"]).astype("Int64"), reason=at.map(snapshots["reason"])
    )


def _first_rows(run: Run, rows: pd.DataFrame) -> pd.DataFrame:
    """The mounts that were there before anything was recorded of their namespaces."""
    first = rows[rows["change"] == "initial"].copy()
    if first["mnt_id_unique"].isna().any():
        first = _with_unique(run, first)
    above = first["mountpoint"].array.take(_rows_of_parents(first), allow_fill=True)
    since = first["seen"].mask(first["reason"] == "start", np.iinfo(np.int64).min)
    first = first.assign(parent_path=above, since=since, evidence="snapshot")
    return first[[*_MOUNT, "parent_path", "options", "super_options", "evidence", "since"]]


def _with_unique(run: Run, first: pd.DataFrame) -> pd.DataFrame:
    """With the numbers that effects have in place of unique ids, where the kernel has none.

    Mounts that were attached while their table was read, after its unique ids, are left out.
    """
    names = ["ns_id", "mount_id", "mnt_id_unique", "action", "monotonic"]
    effects = _frame(read_coded(run.directory, "effects", names))
    effects = effects.drop_duplicates(["ns_id", "mount_id"]).set_index(["ns_id", "mount_id"])
    effects = effects.reindex(pd.MultiIndex.from_frame(first[["ns_id", "mount_id"]]))
    effects = effects.set_axis(first.index)
    ended = first["snapshot"].map(run.snapshots.set_index("snapshot")["ended"])
    is_unknown, is_attach = first["mnt_id_unique"].isna(), effects["action"] == "attach"
    given = effects["mnt_id_unique"].where(is_unknown & ~is_attach)
    first = first.assign(mnt_id_unique=first["mnt_id_unique"].fillna(given))
    is_later = (is_unknown & is_attach & (effects["monotonic"] <= ended)).fillna(False)
    return first[~is_later]


def _rows_of_parents(tables: pd.DataFrame) -> np.ndarray:
    """The row of each mount's parent in its namespace, -1 where it has none there."""
    if tables.empty:
        return np.empty(0, np.int64)
    spaces = pd.factorize(tables["ns_id"])[0].astype(np.int64) << 32
    own = spaces + tables["mount_id"].to_numpy("int64", na_value=0)
    above = spaces + tables["parent_id"].to_numpy("int64", na_value=0)
    order = np.argsort(own, kind="stable")
    found = order[np.searchsorted(own, above, sorter=order).clip(max=len(own) - 1)]
    is_there = (own[found] == above) & (own != above)
    return np.where(is_there, found, _NONE)


def _with_paths(tables: pd.DataFrame) -> pd.DataFrame:
    """With the unique ids of the parents, and paths that follow the mounts that were moved."""
    parent = _rows_of_parents(tables)
    unique = tables["mnt_id_unique"].array.take(parent, allow_fill=True)
    unique = pd.Series(unique, tables.index).fillna(tables["parent_unique"])
    paths = tables["mountpoint"].to_numpy(object)
    were = tables["parent_path"].to_numpy(object, na_value="")
    done = parent == _NONE
    while not done.all():
        ready = np.flatnonzero(~done & done[parent])
        if not len(ready):
            break  # a circle of parents: the recording has a gap there
        has_moved = ready[paths[parent[ready]] != were[ready]]
        above = paths[parent[has_moved]]
        paths[has_moved] = list(map(_moved, paths[has_moved], were[has_moved], above))
        done[ready] = True
    mountpoint = pd.Series(paths, tables.index, dtype="string[pyarrow]")
    return tables.assign(parent_unique=unique, mountpoint=mountpoint)


def _moved(path: str, was: str, now: str) -> str:
    """A path below another one, after that one has changed."""
    if path == was:
        return now
    beginning = was.rstrip("/")
    if not was or not path.startswith(beginning + "/"):
        return path  # its parent's path is not known
    return now.rstrip("/") + path[len(beginning) :]


def _by_mount(tables: pd.DataFrame) -> pd.DataFrame:
    return tables.set_index(
        [tables["ns_id"], tables["mnt_id_unique"].fillna(tables["mount_id"].astype("UInt64"))]
    )


def _differs(was: pd.DataFrame, now: pd.DataFrame, columns: list[str]) -> np.ndarray:
    found = np.zeros(len(now), bool)
    for name in columns:
        is_other = (was[name] != now[name]).fillna(False)
        found |= (is_other | (was[name].isna() != now[name].isna())).to_numpy(bool)
    return found


def _compared(
    was: pd.DataFrame, now: pd.DataFrame, text: Callable[[pd.DataFrame], pd.Series]
) -> pd.DataFrame:
    return now.assign(before=text(was), after=text(now))


def _position(tables: pd.DataFrame) -> pd.Series:
    """Like "/mnt on 22"."""
    return tables["mountpoint"] + " on " + tables["parent_id"].astype("string[pyarrow]")
