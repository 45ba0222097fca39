# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Parts of a recording: rows of its frames by time, namespace or path.

A part only chooses rows. What a row says is computed from the whole recording: whether a copy was
still there at the end, or which operation caused it, does not depend on the choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run
from mnttrace.errors import BadInput

# Columns with the namespaces that a row belongs to; for effects see :func:`_in_namespaces`.
_NAMESPACES = ("ns_id", "ns_target_id", "src_ns_id", "dst_ns_id")
_PATHS = ("path", "source_path", "mountpoint", "copy_of_path", "via_path")


@dataclass(frozen=True)
class Selection:
    """Which rows are chosen; None: all.

    Attributes:
        start, end: from start until before end (UTC).
        namespaces: unique ids.
        under: a path, from the root of the row's own namespace on.
    """

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    namespaces: frozenset[int] | None = None
    under: str | None = None

    def between(self, start: pd.Timestamp, end: pd.Timestamp) -> Selection:
        """A part of this one: rows that are also between two moments."""
        return replace(
            self,
            start=start if self.start is None else max(start, self.start),
            end=end if self.end is None else min(end, self.end),
        )

    def within(self, namespaces: set[int]) -> Selection:
        """A part of this one: rows that are also in, from or to one of these namespaces."""
        chosen = frozenset(namespaces)
        return replace(
            self, namespaces=chosen if self.namespaces is None else chosen & self.namespaces
        )

    def of(self, name: str, frame: pd.DataFrame, run: Run) -> pd.DataFrame:
        """The rows of one frame that are chosen.

        Args:
            name: of the frame, as an attribute of a recording.
            frame: whole.
            run: the whole recording.
        """
        for choose in (self._in_time, self._in_namespaces, self._under):
            mask = choose(name, frame, run)
            if mask is not None:
                frame = frame[mask.fillna(False).astype(bool)]
        return frame

    def _in_time(self, name: str, frame: pd.DataFrame, run: Run) -> pd.Series | None:
        if self.start is None or self.end is None:
            return None
        if "ts" in frame:
            return (frame["ts"] >= self.start) & (frame["ts"] < self.end)
        if name == "snapshots":
            began = _wall(frame["started"], run)
            return (began >= self.start) & (began < self.end)
        for key, of in (("snapshot", "snapshots"), ("seq", "operations")):
            if key in frame:  # it is chosen with its snapshot or operation
                return frame[key].isin(self.of(of, getattr(run, of), run)[key])
        return None

    def _in_namespaces(self, name: str, frame: pd.DataFrame, run: Run) -> pd.Series | None:
        if self.namespaces is None:
            return None
        masks = [frame[column].isin(self.namespaces) for column in _NAMESPACES if column in frame]
        if name == "effects":  # and effects in other namespaces of operations in these
            operations = run.operations
            theirs = operations.loc[operations["ns_id"].isin(self.namespaces), "seq"]
            masks.append(frame["seq"].isin(theirs))
        return _any(masks)

    def _under(self, name: str, frame: pd.DataFrame, run: Run) -> pd.Series | None:
        if self.under is None:
            return None
        folder = self.under.rstrip("/") + "/"
        masks = [
            (frame[column] == self.under) | frame[column].str.startswith(folder)
            for column in _PATHS
            if column in frame
        ]
        if name == "operations":  # and operations with effects there
            effects = run.effects
            there = self._under("effects", effects, run)
            if there is not None:
                masks.append(frame["seq"].isin(effects.loc[there.fillna(False), "seq"]))
        return _any(masks)


def namespaces_called(run: Run, text: str | int, kind: str = "") -> set[int]:
    """The namespaces with a label, name, id, unit, pod or inode number.

    Args:
        run: the whole recording.
        text: one of these; for a container's id the first eight characters or more will do.
        kind: only namespaces of this kind, as "container".

    Raises:
        BadInput: there is none.
    """
    names = run.namespaces
    shown = labels(run).reindex(names["ns_id"]).to_numpy()
    is_it = names["ns"].astype("string[pyarrow]") == str(text)
    is_it |= pd.Series(shown == str(text), index=names.index)
    for column in ("name", "id", "unit", "pod"):
        is_it |= (names[column] == str(text)).fillna(False)
    if len(str(text)) >= 8:
        is_it |= names["id"].str.startswith(str(text)).fillna(False)
    if kind:
        is_it &= (names["kind"] == kind).fillna(False)
    found = set(names.loc[is_it, "ns_id"])
    if not found:
        among = names[names["kind"] == kind] if kind else names
        known = sorted(set(among["name"].dropna()))[:8]
        hint = f"there are {', '.join(map(repr, known))}" if known else "run.namespaces has all"
        raise BadInput(f"no {kind or 'namespace'} in the recording is called {text!r}", hint)
    return found


def _wall(monotonic: pd.Series, run: Run) -> pd.Series:
    wall = monotonic.astype("int64") + run.meta["wall_offset"]
    return pd.Series(pd.to_datetime(wall, unit="ns", utc=True), index=monotonic.index)


def _any(masks: list[Any]) -> pd.Series | None:
    found: pd.Series | None = None
    for mask in masks:
        found = mask if found is None else found | mask
    return found
