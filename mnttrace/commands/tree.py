"""`mnttrace tree`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mnttrace.commands._common import RECORDING, safe


@click.command("tree")
@RECORDING
def command(recording: Path) -> None:
    """Show every namespace's mounts, as its last table had them, as a tree."""
    from mnttrace.recording.reader import read_meta, read_table

    read_meta(recording)
    names = {row["ns"]: row["name"] for row in read_table(recording, "namespaces").to_pylist()}
    tables: dict[int, dict[int, dict[str, Any]]] = {}
    for row in read_table(recording, "mounts").to_pylist():
        table = tables.setdefault(row["ns"], {})
        if row["change"] == "removed":
            table.pop(row["mount_id"], None)
        else:
            table[row["mount_id"]] = row
    for ns, table in tables.items():
        click.echo(f"mnt:[{ns}] {safe(names.get(ns, ''))}" + ("" if table else ", gone"))
        for mount in table.values():
            if mount["parent_id"] not in table:
                _show(mount, table, 1)


def _show(mount: dict[str, Any], table: dict[int, dict[str, Any]], depth: int) -> None:
    groups = "".join(
        f" {tag}:{mount[tag]}" for tag in ("shared", "master") if mount[tag] is not None
    )
    click.echo(f"{'  ' * depth}{safe(mount['mountpoint'])}  {safe(mount['fstype'])}{groups}")
    for child in table.values():
        if child["parent_id"] == mount["mount_id"] and child is not mount:
            _show(child, table, depth + 1)
