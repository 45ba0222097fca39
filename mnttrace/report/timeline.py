# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What happened in a recording, in order."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.frames.refusals import refused
from mnttrace.analysis.frames.removals import removed
from mnttrace.analysis.frames.timeline import happened, idle
from mnttrace.analysis.names import labels, threads
from mnttrace.report.operations import Row, Timeline
from mnttrace.report.text import safe

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording


def write(
    run: Recording, file: TextIO, target: str | None = None, *, only_failed: bool = False
) -> None:
    """Write what happened in a recording, or in a part of one.

    Args:
        run: that one.
        file: the file to write.
        target: only what happened to it, as for `why`; None: everything.
        only_failed: only operations that failed.

    Raises:
        BadInput: nothing in the recording matches the target.
        RecordingError: a table cannot be read.
    """
    chosen = happened(run, target)
    for note in chosen.notes:
        file.write(f"{safe(note)}\n")
    operations, effects = chosen.operations, chosen.effects
    if only_failed:
        operations = operations[operations["error"] != ""]
        effects = effects[effects["seq"].isin(operations["seq"])]
    if operations.empty and effects.empty:
        what = "No operation failed" if only_failed else "Nothing happened"
        file.write(f"{what} while this was recorded, as far as was asked for.\n")
    timeline = Timeline(file, labels(run).to_dict(), threads(run))
    why = {one.seq: one.reason for one in refused(run.whole)}
    without_change, gone = idle(run), removed(run.whole)
    by_operation: dict[int, list[Row]] = {}
    others = []
    for row in rows(effects):
        if row["seq"] is None:
            others.append(row)
        else:
            by_operation.setdefault(row["seq"], []).append(row)
    events: list[tuple[int, int, Any]] = [(row["monotonic"], 0, row) for row in rows(operations)]
    for when, group in groupby(others, lambda row: row["monotonic"]):
        events.append((when, 1, list(group)))
    for _, is_group, what in sorted(events, key=lambda event: event[:2]):
        if is_group:
            timeline.without_operation(what)
            continue
        seq = what["seq"]
        row = what | {"removed": gone.get(seq)}
        note = "no mount was changed by it" if seq in without_change else ""
        note = f"because {why[seq]}" if seq in why else note
        timeline.operation(row, by_operation.get(seq, []), note)
