# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What happens to mounts, as it happens: a session whose rows are shown, not written."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import cast

from mnttrace.capture.about import home
from mnttrace.capture.identity.processes import descendants
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.session import Session
from mnttrace.probes.kernel import KernelProbes
from mnttrace.probes.supply import Say
from mnttrace.recording.namespaces import label
from mnttrace.recording.rows import EffectRow, NamespaceRow, OperationRow, Row

_POLL = 0.05  # seconds between looks at what has come

Show = Callable[[OperationRow | None, list[EffectRow]], None]


class Watcher:
    """Shows each operation with its effects, and effects without one.

    Args:
        wanted: which operations are shown.
        show: takes a row of `operations`, None for effects that no call caused, and its rows of
            `effects`.
        programs: as of :class:`mnttrace.probes.kernel.KernelProbes`.
        say, compat: as there.

    Attributes:
        names: key of a namespace → its label.
        lost: how many records could not be sent or seen, once it is over.

    Raises:
        MnttraceError: as the probes.
    """

    def __init__(
        self,
        wanted: Filter,
        show: Show,
        programs: Path | None = None,
        say: Say = lambda _: None,
        compat: bool = False,
    ) -> None:
        self.names: dict[int, str] = {}
        self.lost = 0
        self._show = show
        self._home = home()
        self._row: OperationRow | None = None
        self._effects: list[EffectRow] = []
        self._is_on = True
        self._probes = KernelProbes(
            follow=descendants(wanted.pids), programs=programs, say=say, compat=compat
        )
        try:
            offset = time.time_ns() - time.monotonic_ns()
            self._session = Session(self._probes, self._add, offset, wanted)
        except BaseException:
            self._probes.close()
            raise

    def run(self, ready: Callable[[], None]) -> None:
        """Watch until SIGINT or SIGTERM.

        Args:
            ready: called once nothing can be missed any more.
        """
        handled = (signal.SIGINT, signal.SIGTERM)
        old = {number: signal.signal(number, self._stop) for number in handled}
        try:
            self._session.begin()
            ready()
            self._session.give_way()
            while self._is_on:
                self._session.poll(_POLL)
                self._flush()
            losses = self._session.end()
            self._flush()
            self.lost = sum(n for kind, n in losses.items() if kind.startswith("lost"))
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            self._session.close()
            self._probes.close()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_on = False

    def _add(self, table: str, row: Row) -> None:
        if table == "operations":
            self._flush()
            self._row = cast(OperationRow, row)
        elif table == "effects":
            effect = cast(EffectRow, row)
            if effect["seq"] != (self._row["seq"] if self._row else None):
                self._flush()
            self._effects.append(effect)
        elif table == "namespaces":
            namespace = cast(NamespaceRow, row)
            ns_id = namespace["ns_id"]
            is_home = ns_id == self._home
            self.names[ns_id] = label(namespace["name"], namespace["ns"], is_home=is_home)

    def _flush(self) -> None:
        if self._row or self._effects:
            row, effects = self._row, self._effects
            self._row, self._effects = None, []
            self._show(row, effects)
