# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace info`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mnttrace.commands._common import RECORDING, warn_of_losses


@click.command("info")
@RECORDING
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option("--check", is_flag=True, help="Compare it with the model of shared subtrees.")
def command(recording: Path, as_json: bool, check: bool) -> None:
    """Show what a recording contains, and what it lost."""
    from mnttrace.recording.reader import count_rows, read_meta

    meta = read_meta(recording)
    rows = count_rows(recording)
    if as_json:
        found = {"check": _check_as_json(recording)} if check else {}
        click.echo(json.dumps(meta | {"rows": rows} | found, indent=1))
        return
    warn_of_losses(meta)
    for key, text in _lines(meta):
        click.echo(f"{key:12} {text}")
    click.echo(f"{'rows':12} " + ", ".join(f"{count} {table}" for table, count in rows.items()))
    if check:
        click.echo(f"{'check':12} " + "\n             ".join(_check(recording)))


def _check_as_json(recording: Path) -> dict[str, Any]:
    from mnttrace.analysis.recording import Recording

    found = Recording(recording).crosscheck
    return {
        "checked": found.checked,
        "skipped": found.skipped,
        "disagreements": found.disagreements.to_dict("records"),
    }


def _check(recording: Path) -> list[str]:
    from mnttrace.analysis.recording import Recording
    from mnttrace.report.text import count, safe

    found = Recording(recording).crosscheck
    wrong = found.disagreements
    agreed = found.checked - wrong["seq"].nunique()
    lines = [
        f"the model agrees with {count(agreed, 'operation')}, {found.skipped} could not be checked"
    ]
    for row in wrong.itertuples(index=False):
        only = "not recorded" if row.only_in == "model" else "not in the model"
        where = f"{safe(row.mountpoint)} in mount namespace {row.ns_id}"
        lines.append(f"operation {row.seq}: {row.action} of {where}: {only}")
    return lines


def _lines(meta: dict[str, Any]) -> list[tuple[str, str]]:
    from mnttrace.report.text import safe, safe_lines

    stopped = meta.get("stopped")
    length = f", {(stopped - meta['started']) / 1e9:.1f} s" if stopped else ", not closed"
    sees = [what for what, yes in meta["sees"].items() if yes]
    lines = [
        ("host", f"{meta['host']}, Linux {meta['kernel']}"),
        ("started", datetime.fromtimestamp(meta["started"] / 1e9, UTC).isoformat(" ") + length),
        ("command", f"\n{'':13}".join(safe_lines(" ".join(meta["command"]))) or "none"),
        ("traced", " ".join(meta["traced"]) or "nothing, only mount tables"),
        ("missing", " ".join(meta["missing"]) or "none of the calls"),
        ("events", ", ".join(sees) or "none, only differences between mount tables"),
    ]
    if meta["filters"]:
        lines.append(("filters", safe(meta["filters"])))
    losses = meta.get("losses", {})
    lost = [f"{kind} {n}" for kind, n in losses.items() if n and not kind.startswith("sent")]
    if not meta.get("complete"):
        lost.append("what came last, and how much is not known")
    return [*lines, ("lost", ", ".join(lost) or "nothing")]
