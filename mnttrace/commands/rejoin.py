# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace rejoin`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("rejoin")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The recording to make."
)
@click.option("--force", is_flag=True, help="Replace a recording that exists.")
def command(run: Path, output: Path, force: bool) -> None:
    """Make a recording of a raw log again: the same rows, by this version's rules.

    RUN is a recording that was made with `record --keep-raw`, or its raw.arrows alone.
    """
    from mnttrace.capture.rejoin import rejoin
    from mnttrace.report.text import count

    counts = rejoin(run, output, force)
    done = f"{count(counts.operations, 'operation')} with {count(counts.effects, 'effect')}"
    click.echo(f"mnttrace: {done} in {output}", err=True)
