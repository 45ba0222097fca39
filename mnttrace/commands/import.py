# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace import`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mnttrace.recording.imported import Imported
    from mnttrace.recording.same_namespaces import Found

_NAMED = 8  # tables, and damaged files, that are named


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
@click.argument("tables", nargs=-1, metavar="NAME=FILE|FILE|FOLDER|TAR|ZIP…")
def command(output: Path, force: bool, tables: tuple[str, ...]) -> None:
    """Make a recording of mount tables, such as people attach to bug reports.

    Each is that of one mount namespace, and all are of one machine: /proc/PID/mountinfo, or what
    tells less, /proc/PID/mounts and the output of mount or findmnt. Give NAME=FILE, or a support
    bundle as it is: a folder, tar or zip with other files, too. The one named host is the host's,
    else that of pid 1.
    """
    from mnttrace.recording.imported import import_tables

    made = import_tables(output, tables, force)
    for line in _lines(made):
        click.echo(f"mnttrace: {line}", err=True)
    click.echo(f"mnttrace: next: mnttrace tree {output}, mnttrace why {output} PATH", err=True)


def _lines(made: Imported) -> Iterator[str]:
    from mnttrace.analysis.untold import sentences
    from mnttrace.report.text import count, safe

    yield (
        f"{count(len(made.tables), 'mount table')}; who mounted what, and when, is known only from "
        "mnttrace record"
    )
    again = sum(len(one.again) for one in made.tables)
    more = [f"{len(made.tables) - _NAMED} more"] if len(made.tables) > _NAMED else []
    taken = ", ".join([*map(_name, made.tables[:_NAMED]), *more])
    skipped = f"; {count(again, 'more table')} of the same mounts" if again else ""
    skipped += f"; {count(made.others, 'file')} without a mount table" if made.others else ""
    yield f"taken: {taken}{skipped}"
    for one in made.tables:
        for alias in one.aliases:
            yield f"{safe(alias)} is the same mount namespace as {safe(one.name)}"
    for problem in made.damaged[:_NAMED]:
        yield f"not taken: {safe(problem)}"
    if len(made.damaged) > _NAMED:
        yield f"not taken: {len(made.damaged) - _NAMED} more that are damaged"
    entries = [{"name": one.name, "columns": one.table.unknown} for one in made.tables]
    for text in sentences(one for one in entries if one["columns"]):
        yield safe(text)
    if not any(one.name == "host" for one in made.tables):
        yield "no table is known to be the host's: host=FILE names it"


def _name(one: Found) -> str:
    from mnttrace.report.text import safe

    form = "" if one.table.form == "mountinfo" else f", of {one.table.form}"
    return f"{safe(one.name)} ({safe(one.where)}{form})"
