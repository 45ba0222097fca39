# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace timeline`."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from mnttrace.commands._common import RECORDING, warn_of_losses


@click.command("timeline")
@RECORDING
def command(recording: Path) -> None:
    """List the operations in order, with their effects on mounts in every namespace."""
    from mnttrace.analysis.dataframes import rows
    from mnttrace.analysis.frames.refusals import refused
    from mnttrace.analysis.recording import Recording
    from mnttrace.report.timeline import Timeline

    run = Recording(recording)
    warn_of_losses(run.meta)
    names: dict[Any, str] = run.namespaces.set_index("ns_id")["name"].to_dict()
    timeline = Timeline(sys.stdout, names)
    why = {one.seq: one.reason for one in refused(run)}
    effects = list(rows(run.effects))
    by_operation: dict[int, list[dict[str, Any]]] = {}
    for row in effects:
        if row["seq"] is not None:
            by_operation.setdefault(row["seq"], []).append(row)
    others = [row for row in effects if row["seq"] is None]
    events: list[tuple[int, int, Any]] = [
        (row["monotonic"], 0, row) for row in rows(run.operations)
    ]
    for when, group in groupby(others, lambda row: row["monotonic"]):
        events.append((when, 1, list(group)))
    for _, is_group, what in sorted(events, key=lambda event: event[:2]):
        if is_group:
            timeline.without_operation(what)
        else:
            seq = what["seq"]
            timeline.operation(what, by_operation.get(seq, []), why.get(seq, ""))
