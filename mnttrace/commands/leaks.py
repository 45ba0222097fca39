# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace leaks`."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnttrace.commands._common import RECORDING, warn_of_losses
from mnttrace.errors import BadInput, RecordingError

if TYPE_CHECKING:
    import pandas as pd

    from mnttrace.analysis.recording import Recording

_BIRTHS_SHOWN = 8
_SHOWN = 20  # leaks, lost mounts, binds that grow, refused operations
_FOUND = 3  # exit status


@click.command("leaks")
@RECORDING
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option("--all", "shows_all", is_flag=True, help=f"Show all; else the {_SHOWN} worst.")
@click.option(
    "--fail-on",
    metavar="KIND[,KIND]",
    default="",
    help="Exit with status 3 if there is a leak of one of these kinds: held, residue, lost, "
    "escape, container-to-container, host-to-container, doubling, race, refused, other, any.",
)
def command(recording: Path, as_json: bool, shows_all: bool, fail_on: str) -> None:
    """Show which mounts reached other mount namespaces, how, and who made them."""
    from mnttrace.analysis.recording import Recording
    from mnttrace.report.leaks import unknowable

    kinds = _kinds(fail_on)
    run = Recording(recording)
    with ThreadPoolExecutor(1) as beside:
        # Answers stand on it. It is read on another processor meanwhile; what goes wrong with it is
        # told where it is asked for.
        beside.submit(lambda: run.history)
        found = run.leaks
    warn_of_losses(run.meta)
    frames = {
        "leaks": found,
        "lost_mounts": run.lost_mounts,
        "doublings": run.doublings.assign(kind="doubling"),
        "refusals": run.refusals.assign(kind="refused"),
    }
    if as_json:
        click.echo(_as_json(run, frames))
    else:
        _show(run, None if shows_all else _SHOWN)
    if kinds & {kind for one in frames.values() for kind in one["kind"]}:
        sys.exit(_FOUND)
    if kinds and (why := unknowable(run)):
        raise RecordingError(f"{recording} does not show whether there were leaks: {why}")


def _as_json(run: Recording, frames: dict[str, pd.DataFrame]) -> str:
    """All rows, the worst first."""
    from mnttrace.analysis.diagnosis.findings import findings

    tables = {
        name: json.loads(frame.to_json(orient="records", date_format="iso", date_unit="ns"))
        for name, frame in frames.items()
    }
    return json.dumps([tables[one.frame][one.place] for one in findings(run)], indent=1)


def _kinds(text: str) -> set[str]:
    """The kinds of leak in a list.

    Raises:
        BadInput: there is no such kind.
    """
    from mnttrace.analysis.frames.leaks import KINDS

    asked = {kind for kind in text.split(",") if kind}
    unknown = asked - {*KINDS, "any"}
    if unknown:
        raise BadInput(
            f"there is no kind of leak called {', '.join(sorted(unknown))}",
            f"there are {', '.join(KINDS)}, and any",
        )
    return set(KINDS) if "any" in asked else asked


def _show(run: Recording, most: int | None) -> None:
    from mnttrace.analysis.dataframes import rows
    from mnttrace.report.leaks import birth, none, paragraphs, tables_alone

    if run.leaks.empty:
        click.echo(none(run))
    if not run.meta.get("traced"):
        for number, line in enumerate(tables_alone(run)):
            if most is None or number < most:
                click.echo(line)
    for number, lines in enumerate(paragraphs(run, most)):
        if number or run.leaks.empty:
            click.echo()
        click.echo("\n".join(lines))
    births = run.births
    shown = births if most is None else births.head(_BIRTHS_SHOWN)
    if len(shown):
        click.echo()
    for row in rows(shown):
        click.echo(birth(row))
    if len(births) > len(shown):
        more = len(births) - len(shown)
        click.echo(f"{more} more {'namespace was' if more == 1 else 'namespaces were'} made.")
