# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from mnttrace.commands._common import RECORDING, warn_of_losses
from mnttrace.errors import BadInput, OutputError

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

_MADE = ("propagations", "leaks", "lost_mounts", "births")  # frames that follow from the tables
_OF_A_TABLE = ("csv", "json", "parquet")
_OF_ALL = ("perfetto", "dot", "mermaid")


@click.command("export")
@RECORDING
@click.option(
    "--format",
    "kind",
    type=click.Choice([*_OF_A_TABLE, *_OF_ALL]),
    default="csv",
    show_default=True,
    help="A table as csv, json or parquet; a trace for ui.perfetto.dev; or the graph of peer "
    "groups for Graphviz (dot) or Mermaid.",
)
@click.option("--table", help="The table (csv, json, parquet).  [default: propagations]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write.  [default: standard output]",
)
def command(recording: Path, kind: str, table: str | None, output: Path | None) -> None:
    """Write a recording in the format of another program."""
    from mnttrace.analysis.recording import Recording

    run = Recording(recording)
    warn_of_losses(run.meta)
    if kind in _OF_A_TABLE:
        _export_table(run, table or "propagations", kind, output)
    elif table:
        raise BadInput(f"{kind} is not made of one table", "leave out --table")
    elif kind == "perfetto":
        from mnttrace.report import perfetto

        with _opened(output) as file:
            perfetto.write(run, file)
    else:
        from mnttrace.report import graphs

        lines = {"dot": graphs.dot, "mermaid": graphs.mermaid}[kind](run)
        with _opened(output) as file:
            file.writelines(f"{line}\n".encode() for line in lines)


def _export_table(run: Recording, table: str, kind: str, output: Path | None) -> None:
    from mnttrace.recording.schema import COLUMNS

    if table not in COLUMNS and table not in _MADE:
        raise BadInput(f"there is no table {table}", f"there are {', '.join([*_MADE, *COLUMNS])}")
    frame = getattr(run, table)
    with _opened(output) as file:
        if kind == "csv":
            frame.to_csv(file, index=False)
        elif kind == "json":
            file.write(frame.to_json(orient="records", date_format="iso").encode() + b"\n")
        else:
            frame.to_parquet(file)


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or the file.

    Raises:
        OutputError: it cannot be written.
    """
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        with output.open("wb") as file:
            yield file
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}", "choose another place") from error
