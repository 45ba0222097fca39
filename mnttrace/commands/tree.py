# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace tree`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mnttrace.commands._common import RECORDING, warn_of_losses


@click.command("tree")
@RECORDING
@click.option("--json", "as_json", is_flag=True, help="Write the mounts as JSON.")
def command(recording: Path, as_json: bool) -> None:
    """Show the mounts of every namespace, as in its last table, as a tree."""
    from mnttrace.analysis.recording import Recording
    from mnttrace.analysis.state.mount_tables import last_tables
    from mnttrace.report import tree

    run = Recording(recording)
    warn_of_losses(run.meta)
    if as_json:
        click.echo(last_tables(run).to_json(orient="records", indent=1))
    else:
        tree.render(run, sys.stdout)
