"""`mnttrace export`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mnttrace.commands._common import RECORDING


@click.command("export")
@RECORDING
@click.option("--table", default="propagations", show_default=True)
@click.option("--format", "kind", type=click.Choice(["csv", "json", "parquet"]), default="csv")
def command(recording: Path, table: str, kind: str) -> None:
    """Write one table of a recording to standard output."""
    import pandas as pd

    from mnttrace.analysis.correlate import PROPAGATION_COLUMNS, propagations
    from mnttrace.errors import BadInput
    from mnttrace.recording.reader import read_meta, read_table
    from mnttrace.recording.schema import COLUMNS

    read_meta(recording)
    if table == "propagations":
        frame = pd.DataFrame(propagations(recording), columns=PROPAGATION_COLUMNS)
    elif table in COLUMNS:
        frame = read_table(recording, table).to_pandas()
    else:
        raise BadInput(f"no table {table}", f"there are propagations, {', '.join(COLUMNS)}")
    if kind == "csv":
        sys.stdout.write(frame.to_csv(index=False))
    elif kind == "json":
        sys.stdout.write(frame.to_json(orient="records", date_format="iso") + "\n")
    else:
        frame.to_parquet(sys.stdout.buffer)
