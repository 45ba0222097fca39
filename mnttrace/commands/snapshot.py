# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace snapshot`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("snapshot")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("snapshot.mnttrace"),
    show_default=True,
    help="The recording to make.",
)
@click.option("--force", is_flag=True, help="Replace a recording that exists.")
def command(output: Path, force: bool) -> None:
    """Record the mount tables of all mount namespaces, as they are now (no eBPF)."""
    from mnttrace.capture.snapshot import take_snapshot
    from mnttrace.report.text import count

    still = take_snapshot(output, force)
    click.echo(f"mnttrace: {count(still.namespaces, 'mount namespace')}", err=True)
    if still.unreadable_processes:
        click.echo(
            f"mnttrace: {count(still.unreadable_processes, 'process', 'processes')} may not be "
            "looked at: namespaces that nothing else is in may be missing",
            err=True,
        )
    if still.unreadable_tables:
        click.echo(
            f"mnttrace: {count(still.unreadable_tables, 'mount table')} cannot be read", err=True
        )
    click.echo(f"mnttrace: next: mnttrace tree {output}", err=True)
