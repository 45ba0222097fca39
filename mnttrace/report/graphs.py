# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The peer groups that join mount namespaces, as a graph in the language of Graphviz or Mermaid.

A box is a namespace, a node a mount. Peers are joined through the node of their peer group; arrows
lead from the group of the masters to the slaves, as mounts propagate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.names import labels
from mnttrace.analysis.state.mount_tables import last_tables, peer_groups
from mnttrace.report.text import safe

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

Row = dict[str, Any]


def dot(run: Recording) -> Iterator[str]:
    """The graph for Graphviz's `dot`, line by line (https://graphviz.org/doc/info/lang.html)."""
    boxes, members = _graph(run)
    yield "digraph mounts {"
    yield "  rankdir=LR"
    yield "  node [shape=box]"
    for ns_id, (title, mounts) in boxes.items():
        yield f"  subgraph cluster_{ns_id} {{"
        yield f"    label={_for_dot(title)}"
        yield from (f"    {name} [label={_for_dot(text)}]" for name, text in mounts.items())
        yield "  }"
    for name, group in {_group(row): row["group"] for row in members}.items():
        yield f'  {name} [label="peer group {group}", shape=ellipse]'
    for row in members:
        style = " [dir=none]" if row["role"] == "peer" else ""
        yield f"  {_group(row)} -> {_name(row)}{style}"
    yield "}"


def mermaid(run: Recording) -> Iterator[str]:
    """The graph for Mermaid, line by line (https://mermaid.js.org/syntax/flowchart.html)."""
    boxes, members = _graph(run)
    yield "flowchart LR"
    for ns_id, (title, mounts) in boxes.items():
        yield f"  subgraph n{ns_id}[{_for_mermaid(title)}]"
        yield from (f"    {name}[{_for_mermaid(text)}]" for name, text in mounts.items())
        yield "  end"
    for name, group in {_group(row): row["group"] for row in members}.items():
        yield f'  {name}(["peer group {group}"])'
    for row in members:
        line = "---" if row["role"] == "peer" else "-->"
        yield f"  {_group(row)} {line} {_name(row)}"


def _graph(run: Recording) -> tuple[dict[int, tuple[str, dict[str, str]]], list[Row]]:
    """Namespace → its title and mounts (name → text), and the rows of :func:`peer_groups`."""
    tables = last_tables(run)
    label = labels(run)
    gone = set(tables.loc[tables["gone"], "ns_id"])
    boxes: dict[int, tuple[str, dict[str, str]]] = {}
    members = list(rows(peer_groups(run, tables)))
    for row in members:
        ns_id = row["ns_id"]
        if ns_id not in boxes:
            title = label.get(ns_id, f"mnt:[{row['ns']}]")
            boxes[ns_id] = (title + ", gone by the end" if ns_id in gone else title, {})
        boxes[ns_id][1][_name(row)] = f"{row['mountpoint']} (mount {row['mount_id']})"
    return boxes, members


def _group(row: Row) -> str:
    return f"g{row['group']}" + (f"_{row['life']}" if row["life"] else "")


def _name(row: Row) -> str:
    return f"m{row['ns_id']}_{row['mount_id']}"


def _for_dot(text: str) -> str:
    """A quoted string in which Graphviz finds no escapes and no HTML entities."""
    plain = safe(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def _for_mermaid(text: str) -> str:
    """A quoted string; characters with a meaning in Mermaid, Markdown or HTML are codes."""
    plain = re.sub(r"[^\w /.:,()\[\]-]", lambda found: f"#{ord(found[0])};", safe(text))
    return f'"{plain}"'
