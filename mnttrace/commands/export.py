"""`mnttrace export`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mnttrace.commands._common import RECORDING

_MADE = ("propagations", "leaks", "births")  # from the others, when they are asked for


@click.command("export")
@RECORDING
@click.option("--table", default="propagations", show_default=True)
@click.option("--format", "kind", type=click.Choice(["csv", "json", "parquet"]), default="csv")
def command(recording: Path, table: str, kind: str) -> None:
    """Write one table of a recording to standard output."""
    from mnttrace.analysis.recording import Recording
    from mnttrace.errors import BadInput
    from mnttrace.recording.schema import COLUMNS

    run = Recording(recording)
    if table not in COLUMNS and table not in _MADE:
        raise BadInput(f"no table {table}", f"there are {', '.join([*_MADE, *COLUMNS])}")
    frame = getattr(run, table)
    if kind == "csv":
        sys.stdout.write(frame.to_csv(index=False))
    elif kind == "json":
        sys.stdout.write(frame.to_json(orient="records", date_format="iso") + "\n")
    else:
        frame.to_parquet(sys.stdout.buffer)
