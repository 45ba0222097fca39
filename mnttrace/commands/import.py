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
    """Make a recording of mountinfo files, as people attach them to reports.

    Each is the table of one mount namespace: NAME=FILE, or all in a folder or tar, each called by
    its name (web of web.txt, and of web/mountinfo). What is called host is the host's.
    """
    from mnttrace.recording.imported import import_tables

    count = import_tables(output, tables, force)
    click.echo(
        f"mnttrace: {count} mount tables; nothing tells who mounted what, or when: that takes "
        f"mnttrace record\nmnttrace: next: mnttrace tree {output}, mnttrace why {output} PATH",
        err=True,
    )
