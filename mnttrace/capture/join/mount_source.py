# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where mounts come from: an interface with two implementations.

:class:`mnttrace.capture.join.kernel_lists.KernelLists` where the kernel lists mounts at the end of
calls, :class:`mnttrace.capture.join.tables_alone.TablesAlone` where mount tables are all there is.
"""

from __future__ import annotations

from typing import Protocol

from mnttrace.capture.join.call_effects import Birth
from mnttrace.capture.join.events import (
    CallEnded,
    NamespaceListed,
    RoundBegan,
    RoundEnded,
    TableRead,
)
from mnttrace.capture.join.requests import NameMount


class MountSource(Protocol):
    """Writes the effects that events lead to."""

    def unnamed(self, event: CallEnded | NamespaceListed | RoundEnded) -> list[NameMount]:
        """What is to be asked before an event is taken."""

    def call(self, call: CallEnded) -> Birth | None:
        """A call succeeded; the namespace that it made, if the kernel listed one."""

    def ended_before(self, event: CallEnded | TableRead) -> tuple[int, int] | None:
        """The key of a namespace that an event is of, and when that was born (CLOCK_MONOTONIC, ns),
        if another one had the key until then, whose end is not known yet; else None."""

    def birth_of(self, key: int) -> CallEnded | None:
        """The call that made a namespace which was not surveyed yet."""

    def table_read(self, read: TableRead) -> None:
        """The mount table of a namespace was read."""

    def listed(self, event: NamespaceListed) -> None:
        """A part of the kernel's list of a namespace came."""

    def round_began(self, event: RoundBegan) -> None:
        """All namespaces are surveyed now."""

    def round_ended(self, event: RoundEnded) -> None:
        """All namespaces have been surveyed."""

    def explain(self) -> None:
        """Give effects that wait their likely causes."""

    def ask_for_due(self, at: int) -> None:
        """Ask for the surveys that are due."""

    def forget(self, key: int) -> None:
        """A namespace has ended."""
