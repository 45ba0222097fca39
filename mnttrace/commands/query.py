# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace query`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mnttrace.commands._common import RECORDING, warn_of_losses


@click.command("query")
@RECORDING
@click.argument("query")
@click.option("--json", "kind", flag_value="json", help="Write JSON.")
@click.option("--csv", "kind", flag_value="csv", help="Write CSV.")
def command(recording: Path, query: str, kind: str | None) -> None:
    """Query a recording in SQL, as in "select * from open_leaks".

    There are its tables, propagations, leaks and lost_mounts, and the views open_leaks,
    busiest_peer_groups, failures_by_process, longest_calls, mounts_per_namespace.
    """
    from mnttrace.analysis.recording import Recording
    from mnttrace.errors import BadInput
    from mnttrace.report.table import render
    from mnttrace.report.text import safe

    run = Recording(recording)
    warn_of_losses(run.meta)
    try:
        found = run.sql(query)
    except BadInput as error:  # its message may quote text from the tables
        raise BadInput(safe(error.message), error.hint) from error
    if kind == "json":
        click.echo(found.to_json(orient="records", date_format="iso", date_unit="us", indent=1))
    elif kind == "csv":
        found.to_csv(sys.stdout, index=False)
    else:
        render(found, sys.stdout)
