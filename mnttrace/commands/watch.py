"""`mnttrace watch`."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mnttrace.commands._filters import filters, wanted

if TYPE_CHECKING:
    from mnttrace.recording.rows import EffectRow, OperationRow


@click.command("watch")
@filters
@click.option("--failed", is_flag=True, help="Only operations that failed.")
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object a line.")
def command(failed: bool, as_json: bool, **options: Any) -> None:
    """Tell each mount operation as it happens, and what it did in every namespace.

    Until Ctrl-C. A mount that comes to another namespace than the caller's is marked with !.
    """
    from mnttrace.capture.watch import Watcher
    from mnttrace.report.timeline import Timeline

    def tell(row: OperationRow | None, effects: list[EffectRow]) -> None:
        if failed and not (row and row["error"]):
            return
        if as_json:
            click.echo(json.dumps({**(row or {}), "effects": effects}, default=str))
        elif row:
            timeline.operation(row, effects)
        else:
            timeline.without_operation(effects)
        sys.stdout.flush()

    watcher = Watcher(wanted(options), tell)
    timeline = Timeline(sys.stdout, watcher.names, marks_leaks=True)
    try:
        watcher.run(lambda: click.echo("mnttrace: watching; Ctrl-C stops", err=True))
    except BrokenPipeError:
        # Who read has gone, as head does: nothing more can be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if watcher.lost:
        click.echo(f"mnttrace: {watcher.lost} records lost", err=True)
