# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace report`."""

from __future__ import annotations

from pathlib import Path

import click

from mnttrace.commands._common import RECORDING, warn_of_losses
from mnttrace.errors import OutputError


@click.command("report")
@RECORDING
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write.  [default: NAME.html beside NAME.mnttrace]",
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def command(recording: Path, output: Path | None, force: bool) -> None:
    """Write one HTML page that needs no network: leaks, remedies, pictures, mounts, operations."""
    from mnttrace.analysis.recording import Recording
    from mnttrace.report.html.page import page

    run = Recording(recording)
    file = output or recording.absolute().with_suffix(".html")
    if file.exists() and not force:
        raise OutputError(f"{file} exists already", "give --force to replace it")
    warn_of_losses(run.meta)
    text = page(run)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror}", "choose another place") from error
    click.echo(f"wrote {click.format_filename(file)}")
