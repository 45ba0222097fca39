# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mounts of every namespace as a tree, and the peer groups that join them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from mnttrace.analysis.state.mount_tables import last_tables, peer_groups
from mnttrace.report.names import inode
from mnttrace.report.text import safe

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

Row = dict[Any, Any]


def render(run: Recording, file: TextIO) -> None:
    """Write a tree a namespace, in color on a terminal.

    Args:
        run: the recording.
        file: the file to write.
    """
    tables = last_tables(run)
    names = run.namespaces.set_index("ns_id")["name"].to_dict()
    console = Console(file=file, highlight=False, soft_wrap=True)
    for ns_id, table in tables.groupby("ns_id", sort=False):
        rows = table.to_dict("records")
        state = ", gone by the end" if rows[0]["gone"] else ""
        state += ", propagation not told" if rows[0]["propagation"] == "unknown" else ""
        about = f"{inode(rows[0]['ns'])}, {len(rows)} mounts{state}".removeprefix(", ")
        title = f"{safe(names.get(ns_id, '?'))}  {about}"
        tree = Tree(Text(title, style="bold"))
        _grow(tree, rows)
        console.print(tree)
    _show_groups(console, peer_groups(run, tables), names)


def _grow(tree: Tree, rows: list[Row]) -> None:
    branches: dict[int, Tree] = {}
    children: dict[int, list[Row]] = {}
    known = {row["mount_id"] for row in rows}
    for row in rows:
        top = row["parent_id"] not in known or row["parent_id"] == row["mount_id"]
        children.setdefault(0 if top else row["parent_id"], []).append(row)
    left = [(tree, row) for row in reversed(children.get(0, []))]
    while left:
        above, row = left.pop()
        branch = branches[row["mount_id"]] = above.add(_line(row))
        left += [(branch, child) for child in reversed(children.get(row["mount_id"], []))]


def _line(row: Row) -> Text:
    line = Text(safe(row["mountpoint"]))
    line.append(f"  {safe(row['fstype'])} {safe(row['source'])}", style="dim")
    if row["root"] not in ("/", ""):
        line.append(f"[{safe(row['root'])}]", style="dim")
    for tag, style in (("shared", "green"), ("master", "yellow")):
        if not pd.isna(row[tag]):
            line.append(f" {tag}:{row[tag]}", style=style)
    if row["propagation"] == "unbindable":
        line.append(" unbindable", style="red")
    return line


def _show_groups(console: Console, groups: pd.DataFrame, names: dict[Any, str]) -> None:
    if groups.empty:
        return
    tree = Tree(Text("peer groups with more than one member or slave", style="bold"))
    for _, members in groups.groupby(["group", "life"], sort=False):
        group, life = members["group"].iloc[0], members["life"].iloc[0]
        again = f", the number again ({life + 1})" if life else ""
        branch = tree.add(Text(f"group {group}{again}", style="green"))
        for row in members.to_dict("records"):
            name = safe(names.get(row["ns_id"], "?"))
            branch.add(Text(f"{row['role']:5} {name}: {safe(row['mountpoint'])}"))
    console.print(tree)
