# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What happened to single mounts, and by which operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis.lives import NONE, Lives
from mnttrace.analysis.diagnosis.verdicts import Judge
from mnttrace.analysis.frames.removals import removed
from mnttrace.analysis.run import Run

_MANY = 16  # rows: more are made faster together

Columns = dict[str, pd.api.extensions.ExtensionArray]


class Story:
    """The effects on each mount and the operations behind them, found when they are asked for.

    Args:
        run: the whole recording.

    Attributes:
        lives: the effects on many mounts at once.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._effects = run.effects
        self._operations = run.operations
        self.lives = Lives(run)
        # Copies have their originals and carriers in common.
        self._kept: dict[int, Row] = {}
        self._kept_operations: dict[int, Row] = {}

    def load(self, at: np.ndarray) -> None:
        """Make ready effects that will be asked for, and their operations: one by one takes long.

        Args:
            at: their positions; NONE for none.
        """
        wanted = {one for one in at.tolist() if one != NONE and one not in self._kept}
        new = np.array(sorted(wanted), int)
        if not len(new):
            return
        self._kept.update(zip(new.tolist(), _rows(self._effect_columns, new), strict=True))
        seqs = np.unique(self.lives.numbers("seq", new))
        seqs = np.array([one for one in seqs.tolist() if one not in self._kept_operations], int)
        places = np.searchsorted(self._seqs, seqs).clip(max=max(0, len(self._seqs) - 1))
        found = places[self._seqs[places] == seqs] if len(self._seqs) else places[:0]
        for row in _rows(self._operation_columns, self._by_seq[found]):
            self._kept_operations[row["seq"]] = row | {"removed": self._removed.get(row["seq"])}

    def of(self, mount: object) -> list[Row]:
        """The effects on a mount, in order.

        Args:
            mount: its unique id; of anything else there are none.
        """
        if not isinstance(mount, int):
            return []
        at = self.lives.of(mount)
        self.load(at)
        return [self._kept[one] for one in at.tolist()]

    def effect(self, at: int) -> Row | None:
        """The effect at a position, see :class:`mnttrace.analysis.diagnosis.lives.Lives`."""
        if at == NONE:
            return None
        if at not in self._kept:
            self.load(np.array([at]))
        return self._kept[at]

    def operation(self, seq: int | None) -> Row | None:
        """An operation by its number, None for none; with `removed`, the mount points that it
        removed."""
        if seq is not None and seq not in self._kept_operations:
            place = np.searchsorted(self._seqs, seq)
            if place == len(self._seqs) or self._seqs[place] != seq:
                return None
            [row] = _rows(self._operation_columns, self._by_seq[[place]])
            self._kept_operations[seq] = row | {"removed": self._removed.get(seq)}
        return None if seq is None else self._kept_operations[seq]

    def attached(self, mount: object) -> Row | None:
        """The effect that attached a mount; None if it was there before, or if it is not known."""
        return self.effect(self.lives.attached(ids([mount]))[0])

    def detached(self, mount: object) -> Row | None:
        """The effect that detached it."""
        return self.effect(self.lives.detached(ids([mount]))[0])

    def lost(self, mount: object) -> Row | None:
        """The effect that took a mount from a namespace that did not ask for it; None if it is
        there, or went otherwise: :meth:`mnttrace.analysis.diagnosis.verdicts.Judge.lost`."""
        return self.effect(self.judge.lost(ids([mount]))[0])

    def typed_since(self, mount: object, until: int | None = None) -> Row | None:
        """The effect since which a mount has the propagation type that it had at a moment.

        Args:
            mount: its unique id.
            until: the number of the operation at whose beginning it had the type; None: at the end.

        Returns:
            None if it had that type before the recording began.
        """
        return self._since(mount, until, lambda row: row["propagation"], _type)

    def slave_since(self, mount: object, until: int | None = None) -> Row | None:
        """The same for being a slave, shared or not."""
        return self._since(
            mount, until, lambda row: row["master"] is not None, lambda text: "slave" in _type(text)
        )

    def _since(
        self,
        mount: object,
        until: int | None,
        now: Callable[[Row], object],
        before: Callable[[str], object],
    ) -> Row | None:
        """The effect since which something of a mount is so.

        Args:
            mount, until: as for :meth:`typed_since`.
            now: what it is after an effect.
            before: the same of the text of before one.
        """
        found: Row | None = None
        last: object = None
        for row in self.of(mount):
            if until is not None and row["seq"] is not None and row["seq"] >= until:
                break
            if row["action"] in ("attach", "change") and now(row) != last:
                # The first one shows whether it changed anything.
                is_first = last is None and row["action"] == "change"
                same = is_first and before(row["before"]) == now(row)
                found, last = (found if same else row), now(row)
        return found

    @cached_property
    def judge(self) -> Judge:
        """What gives verdicts on mounts."""
        return Judge(self._run, self.lives)

    @cached_property
    def _removed(self) -> dict[int, str]:
        return removed(self._run)

    @cached_property
    def _effect_columns(self) -> Columns:
        return {str(name): self._effects[name].array for name in self._effects}

    @cached_property
    def _operation_columns(self) -> Columns:
        return {str(name): self._operations[name].array for name in self._operations}

    @cached_property
    def _by_seq(self) -> np.ndarray:
        order: np.ndarray = np.argsort(self._operations["seq"].to_numpy("int64"), kind="stable")
        return order

    @cached_property
    def _seqs(self) -> np.ndarray:
        seqs: np.ndarray = self._operations["seq"].to_numpy("int64")[self._by_seq]
        return seqs


def ids(mounts: Iterable[object]) -> np.ndarray:
    """Unique ids as an array; NONE for what is none."""
    return np.array([one if isinstance(one, int) else NONE for one in mounts], "int64")


def _rows(columns: Columns, at: np.ndarray) -> list[Row]:
    """Some rows, as of :func:`mnttrace.analysis.dataframes.rows`."""
    if len(at) < _MANY:
        return [_row(columns, one) for one in at.tolist()]
    return list(rows(pd.DataFrame({name: column.take(at) for name, column in columns.items()})))


def _row(columns: Columns, at: int) -> Row:
    """One row; a slice of a frame takes far longer to make."""
    row: Row = {}
    for name, column in columns.items():
        value = column[at]
        if value is pd.NA or value is pd.NaT:
            value = None
        row[name] = value.item() if isinstance(value, np.generic) else value
    return row


def _type(settings: str | None) -> str:
    """The propagation type in the settings of a mount (:mod:`mnttrace.analysis.settings`)."""
    tags = (settings or "").split(" ")
    is_shared = tags[0].startswith("shared:")
    is_slave = any(tag.startswith("master:") for tag in tags)
    if is_shared:
        return "shared-and-slave" if is_slave else "shared"
    return "slave" if is_slave else tags[0]
