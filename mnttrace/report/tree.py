# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mounts of every namespace as a tree, and the peer groups that join them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, TextIO, TypeVar

import pandas as pd
from rich.console import Console
from rich.text import Text

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.names import labels, with_inode
from mnttrace.analysis.state.mount_tables import covered, last_tables, peer_groups
from mnttrace.report.text import count, safe

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

T = TypeVar("T")
_GROUPS = "peer groups with more than one member or slave, joined by number, file system and time"


def render(run: Recording, file: TextIO) -> None:
    """Write a tree a namespace, in color on a terminal; no line is cut, however deep it is.

    Args:
        run: the recording.
        file: the file to write.
    """
    tables, names = last_tables(run), labels(run)
    console = Console(file=file, highlight=False)
    for ns_id, table in tables.groupby("ns_id", sort=False):
        ns, gone = table["ns"].iloc[0], table["gone"].iloc[0]
        name = safe(with_inode(names.get(ns_id, "?"), ns))
        title = f"{name}: {count(len(table), 'mount')}" + (", gone by the end" if gone else "")
        title += ", propagation not told" if table["propagation"].iloc[0] == "unknown" else ""
        _print(console, title, _mounts(list(rows(table)), covered(table)))
    groups = peer_groups(run, tables)
    if len(groups):
        _print(console, _GROUPS, _members(groups, names))


def _print(console: Console, title: str, lines: Iterator[tuple[str, Text]]) -> None:
    """A title and lines with what stands before them. (Deep trees of rich are cut.)"""
    whole = Text(title + "\n", style="bold")
    whole = Text.assemble(whole, *(part for before, line in lines for part in (before, line, "\n")))
    console.print(whole, soft_wrap=True, end="")


def _mounts(mounts: list[Row], hidden: set[int]) -> Iterator[tuple[str, Text]]:
    children: dict[int, list[Row]] = {}
    known = {row["mount_id"] for row in mounts}
    for row in mounts:
        top = row["parent_id"] not in known or row["parent_id"] == row["mount_id"]
        children.setdefault(0 if top else row["parent_id"], []).append(row)
    # A stack, as mounts can be nested deeper than Python recurses.
    left = _branches("", children.get(0, []))
    while left:
        before, below, row = left.pop()
        yield before, _line(row, row["mount_id"] in hidden)
        left += _branches(below, children.get(row["mount_id"], []))


def _branches(before: str, children: list[T]) -> list[tuple[str, str, T]]:
    """Children, the last one first, with what stands before them, and before what is below them."""
    found = [(before + "├── ", before + "│   ", child) for child in children[:-1]]
    found += [(before + "└── ", before + "    ", child) for child in children[-1:]]
    return found[::-1]


def _line(row: Row, is_covered: bool) -> Text:
    line = Text(safe(row["mountpoint"]))
    line.append(f"  {safe(row['fstype'])} {safe(row['source'])}", style="dim")
    if row["root"] not in ("/", ""):
        line.append(f"[{safe(row['root'])}]", style="dim")
    for tag, style in (("shared", "green"), ("master", "yellow")):
        if row[tag] is not None:
            line.append(f" {tag}:{row[tag]}", style=style)
    if row["propagation"] == "unbindable":
        line.append(" unbindable", style="red")
    if is_covered:
        line.append(" covered", style="red")
    return line


def _members(groups: pd.DataFrame, names: pd.Series) -> Iterator[tuple[str, Text]]:
    used_again = set(groups.loc[groups["life"] > 0, "group"])
    lives = [list(rows(members)) for _, members in groups.groupby(["group", "life"], sort=False)]
    for before, below, members in reversed(_branches("", lives)):
        group = f"group {members[0]['group']}"
        if members[0]["group"] in used_again:
            since = _time(members[0]["since"], "the beginning")
            until = _time(members[0]["until"], "the end")
            group += f" of mounts there from {since} to {until}: its number was used again"
        yield before, Text(group, style="green")
        for branch, _, row in reversed(_branches(below, members)):
            name = safe(names.get(row["ns_id"], "?"))
            yield branch, Text(f"{row['role']:5} {name}: {safe(row['mountpoint'])}")


def _time(when: datetime | None, otherwise: str) -> str:
    return otherwise if when is None else f"{when:%H:%M:%S.%f}"
