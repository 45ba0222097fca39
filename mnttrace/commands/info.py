"""`mnttrace info`."""

from __future__ import annotations

from pathlib import Path

import click

from mnttrace.commands._common import RECORDING, safe, warn_of_losses


@click.command("info")
@RECORDING
def command(recording: Path) -> None:
    """Say what a recording holds, and what it lost."""
    from mnttrace.recording.reader import read_meta, read_table
    from mnttrace.recording.schema import COLUMNS

    meta = read_meta(recording)
    warn_of_losses(meta)
    for key in ("host", "kernel", "mnttrace", "command", "traced", "missing"):
        value = meta.get(key)
        text = " ".join(value) if isinstance(value, list) else value
        click.echo(f"{key:10} {safe(text)}")
    for table in COLUMNS:
        click.echo(f"{table:10} {read_table(recording, table).num_rows} rows")
    for kind, count in meta.get("losses", {}).items():
        click.echo(f"{kind:18} {count}")
