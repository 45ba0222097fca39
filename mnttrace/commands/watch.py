# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace watch`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnttrace.commands._common import COMPAT, PROGRAMS, VERBOSE, teller
from mnttrace.commands._filters import filters, wanted

if TYPE_CHECKING:
    from mnttrace.recording.rows import EffectRow, OperationRow


@click.command("watch")
@filters
@PROGRAMS
@COMPAT
@click.option("--failed", is_flag=True, help="Only operations that failed.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line.")
@VERBOSE
def command(
    failed: bool,
    as_json: bool,
    programs: Path | None,
    compat: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Show each mount operation as it happens, with its effects in every namespace.

    Until Ctrl-C. Mounts that reach another namespace than the caller's are marked with !.
    """
    from mnttrace.capture.watch import Watcher
    from mnttrace.report.operations import Timeline
    from mnttrace.report.text import count

    def show(row: OperationRow | None, effects: list[EffectRow]) -> None:
        if failed and not (row and row["error"]):
            return
        if as_json:
            click.echo(json.dumps({**(row or {}), "effects": effects}, default=str))
        elif row:
            timeline.operation(row, effects)
        else:
            timeline.without_operation(effects)
        sys.stdout.flush()

    watcher = Watcher(wanted(options), show, programs, teller(verbose), compat)
    timeline = Timeline(sys.stdout, watcher.names, marks_leaks=True)
    try:
        watcher.run(lambda: click.echo("mnttrace: watching; Ctrl-C stops", err=True))
    except BrokenPipeError:
        # The reader is gone, as head(1) after its last line.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if watcher.lost:
        click.echo(f"mnttrace: {count(watcher.lost, 'record')} lost", err=True)
