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

from mnttrace.analysis.run import Run

# Columns with the namespaces that a row belongs to; for effects see :func:`_in_namespaces`.
_NAMESPACES = ("ns_id", "ns_target_id", "src_ns_id", "dst_ns_id")
_PATHS = ("path", "source_path", "mountpoint", "copy_of_path", "via_path")


@dataclass(frozen=True)
class Selection:
    """Which rows are chosen; None: all.

    Attributes:
        start, end: from start until before end (UTC); no end: until the last.
        namespaces: unique ids.
        under: a path, from the root of the row's own namespace on.
    """

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    namespaces: frozenset[int] | None = None
    under: str | None = None

    def between(self, start: pd.Timestamp, end: pd.Timestamp | None) -> Selection:
        """A part of this one: rows that are also between two moments, or from one on."""
        ends = [one for one in (self.end, end) if one is not None]
        return replace(
            self,
            start=start if self.start is None else max(start, self.start),
            end=min(ends, default=None),
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
        if self.start is None:
            return None
        when = _wall(frame["started"], run) if name == "snapshots" else frame.get("ts")
        if when is not None:
            return (when >= self.start) & (self.end is None or when < self.end)
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


def _wall(monotonic: pd.Series, run: Run) -> pd.Series:
    wall = monotonic.astype("int64") + run.meta["wall_offset"]
    return pd.Series(pd.to_datetime(wall, unit="ns", utc=True), index=monotonic.index)


def _any(masks: list[Any]) -> pd.Series | None:
    found: pd.Series | None = None
    for mask in masks:
        found = mask if found is None else found | mask
    return found
