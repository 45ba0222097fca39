# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording of mount tables alone, as they are now: no probes, and nothing is traced."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mnttrace.capture.about import about
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.session import Session
from mnttrace.linux.namespaces import kernel_namespaces
from mnttrace.probes.null import NullProbes
from mnttrace.recording.writer import Writer


@dataclass(frozen=True)
class Snapshot:
    """What was recorded.

    Attributes:
        namespaces: how many mount namespaces.
        unreadable_processes: processes that this user may not look at: there may be more.
        unreadable_tables: namespaces whose tables could not be read.
    """

    namespaces: int
    unreadable_processes: int
    unreadable_tables: int


def take_snapshot(directory: Path, force: bool = False) -> Snapshot:
    """Record the mount tables of all namespaces that this user may look at.

    Raises:
        OutputError: it exists, or cannot be written.
    """
    writer = Writer(directory, force)
    writer.meta |= about()
    session = Session(NullProbes(), writer.add, writer.meta["wall_offset"], Filter())
    session.begin(everywhere=True)
    session.close()
    surveyor = session.surveyor
    # With the kernel's own list, what processes are in does not matter.
    hidden = 0 if kernel_namespaces() else surveyor.hidden_processes
    losses = {"unreadable_tables": surveyor.unreadable, "unreadable_processes": hidden}
    for kind, count in losses.items():
        writer.add("losses", {"kind": kind, "count": count})
    writer.meta |= {"stopped": time.time_ns(), "losses": losses}
    writer.close()
    return Snapshot(session.join.namespaces, hidden, surveyor.unreadable)
