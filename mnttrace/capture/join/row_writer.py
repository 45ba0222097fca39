# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Writes operations and effects: those that are wanted, with the processes that did them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.outbox import Outbox
from mnttrace.capture.join.registry import IdentityRegistry
from mnttrace.capture.join.requests import IdentifyThread
from mnttrace.capture.join.selection import Selection
from mnttrace.recording.rows import EffectRow, OperationRow


@dataclass(slots=True)
class Counts:
    """How much was written: operations, effects of them and without one."""

    operations: int = 0
    effects: int = 0


class RowWriter:
    """Writes rows of the tables `operations` and `effects`.

    Args:
        selection: decides what is written.
        registry: the processes and namespaces that were seen.
        out: takes rows and questions.

    Attributes:
        counts: how much was written until now.
        is_held: whether effects without a call are to wait, as a survey of all namespaces goes on.
    """

    def __init__(self, selection: Selection, registry: IdentityRegistry, out: Outbox) -> None:
        self.counts = Counts()
        self.is_held = False
        self._selection = selection
        self._registry = registry
        self._out = out

    def call(self, call: CallEnded, effects: list[EffectRow]) -> bool:
        """Write an operation, and the effects that were found with it; whether it is wanted."""
        is_wanted = self._selection.wants_all
        if not is_wanted:
            cgroup = self._registry.cgroup(call.row["pid"])
            is_wanted = self._selection.wants_call(call, effects, cgroup)
        if is_wanted:
            self._operation(call.row)
        self._effects(self._wanted(effects))
        return is_wanted

    def without_call(self, effects: list[EffectRow]) -> Generator[None, None, None]:
        """Write effects that were found without a call, as soon as the processes of their threads
        are known: it stops where that is asked."""
        effects = self._wanted(effects)
        threads = {row["tid"] for row in effects if row["pid"] is None and row["tid"] is not None}
        for tid in sorted(threads):
            self._out.ask(IdentifyThread(tid))
        if threads:
            yield
        for row in effects:
            if row["pid"] is None and row["tid"] is not None:
                row["pid"] = self._registry.process_of(row["tid"])
        self._registry.forget_threads()
        self._effects(effects)
        self._selection.drop_ended()

    def _wanted(self, effects: list[EffectRow]) -> list[EffectRow]:
        """Those of some effects that are wanted; their operations are written by now."""
        if self._selection.wants_all:
            return effects
        for row in self._selection.wanted_late(effects):
            self._operation(row)
        return [row for row in effects if self._selection.wants_effect(row)]

    def _operation(self, row: OperationRow) -> None:
        self.counts.operations += 1
        self._out.add("operations", row)

    def _effects(self, effects: list[EffectRow]) -> None:
        self.counts.effects += len(effects)
        self._out.add_all("effects", effects)
