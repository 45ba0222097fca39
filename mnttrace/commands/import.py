# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace import`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("imported.mnttrace"),
    show_default=True,
    help="The recording to make.",
)
@click.option("--force", is_flag=True, help="Replace a recording that exists.")
@click.argument("tables", nargs=-1, metavar="NAME=FILE|FOLDER|TAR…")
def command(output: Path, force: bool, tables: tuple[str, ...]) -> None:
    """Make a recording of mountinfo files, such as people attach to bug reports.

    Each is the table of one mount namespace: NAME=FILE, or all in a folder or tar, named after the
    file (web of web.txt) or its folder (web of web/mountinfo). The one named host is the host's.
    """
    from mnttrace.recording.imported import import_tables
    from mnttrace.report.text import count

    read = import_tables(output, tables, force)
    click.echo(
        f"mnttrace: {count(read, 'mount table')}; who mounted what, and when, is known only from "
        f"mnttrace record\nmnttrace: next: mnttrace tree {output}, mnttrace why {output} PATH",
        err=True,
    )
