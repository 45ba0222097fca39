# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mounts that peer groups and masters join, and the route of what an operation propagated."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnttrace.analysis.plots import parts
from mnttrace.analysis.plots.groups import joined, mounts_at, paths
from mnttrace.analysis.plots.layout import Layout, lay_out
from mnttrace.analysis.run import Run
from mnttrace.errors import BadInput

_LEFT, _TOP = 110, 34  # px: room for the names of rows and of columns
_WIDE, _TALL = 190, 36  # px: a column, a row
_INSET = 16  # px: from the edge of a column to its mounts
_KINDS = {
    "shared": (parts.BLUE, "circle"),
    "slave": (parts.ORANGE, "square"),
    "shared and slave": (parts.GREEN, "diamond"),
    "private": (parts.GREY, "circle"),
}
_PEERS, _SLAVES = "peers", "master to slave"


def graph(run: Run, seq: int | None = None) -> alt.LayerChart:
    """A column a mount namespace, with its mounts that have peers, slaves or masters elsewhere.

    Args:
        run: the recording.
        seq: number of the operation whose copies are highlighted, or None.

    Raises:
        BadInput: nothing that the operation did was propagated.
        RecordingError: a table cannot be read.
    """
    copies = _copies(run, seq)
    before = seq is not None and not (copies["action"] == "attach").any()
    moment = _last_propagated(run) if seq is None else seq
    mounts = mounts_at(run, moment, before=before)
    route = _route(mounts, copies)
    is_on_route = mounts.index.isin([*route["from"], *route["to"], *copies["mnt_id_unique"]])
    wanted = mounts[mounts.index.isin(joined(mounts).index) | is_on_route]
    heading = "Peer groups and masters across mount namespaces"
    if wanted.empty:
        return parts.nothing(
            parts.title(run, heading), "No mount has a peer, a slave or a master elsewhere."
        )
    wanted = wanted.assign(
        stands_out=is_on_route[mounts.index.isin(wanted.index)],
        propagates=wanted["shared"].isin(run.propagations["via_group"].dropna()),
    )
    names = parts.names(run, pd.Index(wanted["ns_id"].unique()))
    layout = lay_out(wanted, _weight(run, wanted), names.index.to_list())
    nodes = _nodes(layout, mounts, names)
    lines = _lines(nodes, route, _route_label(seq, before))
    notes = [
        _when(run, moment, before),
        f"{len(mounts):,} mounts; drawn are those with a peer, slave or master elsewhere"
        + (f", except for {layout.left_out:,} of them" if layout.left_out else ""),
        _about_columns(layout, names),
    ]
    return parts.picture(
        [*_boxes(layout, names), *_line_layers(layout, lines), *_mount_layers(layout, nodes)],
        parts.title(run, heading, *notes),
        width=_size(layout)[0],
        height=_size(layout)[1],
    )


def _copies(run: Run, seq: int | None) -> pd.DataFrame:
    """The copies that the operation made by propagation, or its umounts if it made none."""
    all_of_them = run.propagations
    copies = all_of_them[all_of_them["seq"] == seq] if seq is not None else all_of_them.head(0)
    if seq is not None and copies.empty:
        some = ", ".join(map(str, all_of_them["seq"].unique()[:5]))
        raise BadInput(
            f"nothing that operation {seq} did was propagated",
            f"operations with propagation: {some}"
            if some
            else "no operation of this recording has any",
        )
    made = copies[copies["action"] == "attach"]
    return made if len(made) else copies


def _last_propagated(run: Run) -> int | None:
    """The last operation with a copy in another namespace."""
    copies = run.propagations
    is_copy = (copies["action"] == "attach") & (copies["src_ns_id"] != copies["dst_ns_id"])
    last = copies.loc[is_copy, "seq"].max()
    return None if pd.isna(last) else int(last)


def _route(mounts: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Pairs of mounts: from the original to its copy, and from its parent to that of the copy."""
    receivers = copies["mnt_id_unique"].astype("Int64").map(mounts["parent_unique"])
    pairs = pd.DataFrame(
        {
            "from": pd.concat([copies["copy_of_unique"], copies["via_unique"]]),
            "to": pd.concat([copies["mnt_id_unique"], receivers]),
        }
    ).drop_duplicates()
    pairs = pairs.astype("Int64")
    return pairs[pairs["from"].isin(mounts.index) & pairs["to"].isin(mounts.index)]


def _weight(run: Run, wanted: pd.DataFrame) -> pd.Series:
    """How much each namespace matters, by what was propagated from and to it, and by its mounts."""
    copies = run.propagations
    ends = pd.concat([copies["src_ns_id"], copies["dst_ns_id"]]).value_counts()
    weight = wanted["ns_id"].value_counts().add(10 * ends, fill_value=0).astype("float64")
    home = run.meta.get("home_ns_id")
    return weight.where(weight.index != home, np.inf)


def _nodes(layout: Layout, mounts: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """The drawn mounts with x, y (px), kind, label, and text for tooltips."""
    nodes = layout.nodes
    at = paths(mounts, nodes.index)
    path = pd.Series(at).reindex(nodes.index).astype("string[pyarrow]")
    shared, slave = nodes["shared"].notna(), nodes["master"].notna()
    kind = np.select(
        [shared & slave, shared, slave], ["shared and slave", "shared", "slave"], "private"
    )
    more = nodes["more"].map(lambda n: f" and {n:,} more" if n else "").astype("string[pyarrow]")
    return nodes.assign(
        x=_LEFT + _WIDE * nodes["column"] + _INSET,
        y=_TOP + _TALL * (nodes["row"] + 0.6),
        kind=kind,
        label=parts.fitted(path, 26) + more,
        path=parts.fitted(path, 200),
        namespace=nodes["ns_id"].map(names),
        source=parts.fitted(nodes["source"]),
        fstype=parts.fitted(nodes["fstype"]),
    )


def _route_label(seq: int | None, before: bool) -> str:
    return f"{'umount' if before else 'copies'} propagated by operation {seq}"


def _lines(nodes: pd.DataFrame, route: pd.DataFrame, label: str) -> pd.DataFrame:
    """The lines between mounts: kind, from, to (ids), x, y, x2, y2 (px), turn (degrees)."""
    pairs = [*_peers(nodes), *_slaves(nodes)]
    drawn = route[route["from"].isin(nodes.index) & route["to"].isin(nodes.index)]
    pairs += [(label, one, other) for one, other in zip(drawn["from"], drawn["to"], strict=True)]
    lines = pd.DataFrame(pairs, columns=["kind", "from", "to"])
    for end, x, y in (("from", "x", "y"), ("to", "x2", "y2")):
        lines[x] = lines[end].map(nodes["x"]).astype("float64")
        lines[y] = lines[end].map(nodes["y"]).astype("float64")
    angle = np.arctan2(lines["y2"] - lines["y"], lines["x2"] - lines["x"])
    is_arrow = lines["kind"] != _PEERS
    # An arrow ends just before its mount.
    lines["x2"] -= np.where(is_arrow, 9 * np.cos(angle), 0)
    lines["y2"] -= np.where(is_arrow, 9 * np.sin(angle), 0)
    return lines.assign(turn=np.degrees(angle) + 90)


def _peers(nodes: pd.DataFrame) -> list[tuple[str, Any, Any]]:
    """The members of each group, each joined to the next: all to all would be too many lines."""
    found = []
    members = nodes[nodes["group"].notna()].sort_values(["row", "column"])
    for _, group in members.groupby("group"):
        above: dict[int, Any] = {}
        for _, row in group.groupby("row"):
            found += [(_PEERS, *pair) for pair in pairwise(row.index)]
            first = row["column"].iloc[0]
            if first in above:
                found.append((_PEERS, above[first], row.index[0]))
            above = dict(zip(row["column"], row.index, strict=True))
    return found


def _slaves(nodes: pd.DataFrame) -> list[tuple[str, Any, Any]]:
    """Each slave and the nearest of its masters; of slaves that are peers only the first."""
    found = []
    masters = dict(iter(nodes.groupby("group")))
    slaves = nodes[nodes["master_group"].isin(list(masters))]
    once = slaves["group"].isna() | ~slaves["group"].duplicated()
    for one, row in slaves[once].iterrows():
        group = masters[row["master_group"]]
        far = (group["column"] - row["column"]).abs()
        found.append((_SLAVES, far.idxmin(), one))
    return found


def _when(run: Run, seq: int | None, before: bool) -> str:
    if seq is None:
        return "As they were at the end of the recording"
    row = run.operations.set_index("seq").loc[seq]
    syscall, path, comm = (parts.fit(row[name]) for name in ("syscall", "path", "comm"))
    call = f"{syscall} on {path} by {comm}[{row['pid']}]"
    return f"As they were {'before' if before else 'after'} operation {seq}: {call}"


def _about_columns(layout: Layout, names: pd.Series) -> str:
    drawn = len(layout.columns) + sum(layout.columns.values())
    notes = []
    if drawn > len(layout.columns):
        notes.append("Namespaces with the same mount points in the same groups share a column")
    if drawn < len(names):
        notes.append(f"{len(names) - drawn:,} of {len(names):,} mount namespaces are left out")
    return "; ".join(notes)


def _size(layout: Layout) -> tuple[int, int]:
    """Width and height, px."""
    return _LEFT + _WIDE * len(layout.columns), _TOP + _TALL * len(layout.rows) + 8


def _at(layout: Layout, x: str = "x", y: str = "y") -> tuple[alt.X, alt.Y]:
    """Positions are pixels."""
    wide, tall = _size(layout)
    scales = (alt.Scale(domain=domain, nice=False) for domain in ([0, wide], [tall, 0]))
    return (
        alt.X(f"{x}:Q", scale=next(scales), axis=None),
        alt.Y(f"{y}:Q", scale=next(scales), axis=None),
    )


def _boxes(layout: Layout, names: pd.Series) -> list[alt.Chart]:
    """The columns, and the names of columns and rows."""
    x, y = _at(layout)
    left = [_LEFT + _WIDE * column for column in range(len(layout.columns))]
    boxes = pd.DataFrame({"x": left, "x2": [edge + _WIDE - 8 for edge in left], "y": 0})
    boxes = boxes.assign(y2=_size(layout)[1])
    heads = [_header(names[ns_id], others) for ns_id, others in layout.columns.items()]
    tops = pd.DataFrame({"label": heads, "x": [edge + 8 for edge in left], "y": _TOP / 2})
    sides = pd.DataFrame({"label": layout.rows, "x": 0})
    sides["y"] = _TOP + _TALL * (sides.index + 0.6)
    return [
        alt.Chart(boxes)
        .mark_rect(color="#F5F5F5", cornerRadius=4)
        .encode(x=x, y=y, x2="x2:Q", y2="y2:Q"),
        alt.Chart(tops)
        .mark_text(align="left", fontWeight="bold", fontSize=11, color=parts.INK, limit=_WIDE - 22)
        .encode(x=x, y=y, text="label:N"),
        alt.Chart(sides[sides["label"] != ""])
        .mark_text(align="left", fontSize=11, color=parts.GREY, limit=_LEFT - 10)
        .encode(x=x, y=y, text="label:N"),
    ]


def _line_layers(layout: Layout, lines: pd.DataFrame) -> list[alt.Chart]:
    is_route = ~lines["kind"].isin([_PEERS, _SLAVES])
    colors = {_PEERS: parts.BLUE, _SLAVES: parts.ORANGE}
    colors |= dict.fromkeys(lines.loc[is_route, "kind"], parts.VERMILION)
    kinds = [kind for kind in colors if (lines["kind"] == kind).any()]
    scale = alt.Scale(domain=kinds, range=[colors[kind] for kind in kinds])
    legend = parts.legend("lines", symbolType="stroke", symbolStrokeWidth=2)
    lines = lines.assign(width=np.where(is_route, 2.6, 1.2)).drop(columns=["from", "to"])
    (x, y), (x2, y2) = _at(layout), _at(layout, "x2", "y2")
    return [
        alt.Chart(lines)
        .mark_rule(opacity=0.75)
        .encode(
            x=x,
            y=y,
            x2="x2:Q",
            y2="y2:Q",
            color=alt.Color("kind:N", scale=scale, legend=legend),
            size=alt.Size("width:Q", scale=None),
        ),
        alt.Chart(lines[lines["kind"] != _PEERS])
        .mark_point(shape="triangle-up", filled=True, size=55, opacity=1)
        .encode(
            x=x2,
            y=y2,
            color=alt.Color("kind:N", scale=scale, legend=None),
            angle=alt.Angle("turn:Q", scale=None),
        ),
    ]


def _mount_layers(layout: Layout, nodes: pd.DataFrame) -> list[alt.Chart]:
    x, y = _at(layout)
    columns = ["x", "y", "kind", "label", "path", "namespace", "shared", "master"]
    nodes = nodes[[*columns, "fstype", "source", "stands_out"]].reset_index(drop=True)
    there = [kind for kind in _KINDS if (nodes["kind"] == kind).any()]
    looks = [alt.Scale(domain=there, range=[_KINDS[kind][at] for kind in there]) for at in (0, 1)]
    key = parts.legend("mounts", symbolOpacity=1)
    tips = parts.tips("namespace", "path", "kind", "shared", "master", "fstype", "source")
    rings = alt.Chart(nodes[nodes["stands_out"]]).mark_point(
        filled=False, size=190, color=parts.VERMILION, opacity=1, strokeWidth=2
    )
    marks = alt.Chart(nodes).mark_point(filled=True, opacity=1, size=75)
    # Arrows reach slaves from above.
    is_below = nodes["master"].notna()
    labels = [
        alt.Chart(some)
        .mark_text(align="left", dx=-5, dy=dy, fontSize=10.5, color=parts.INK, limit=_WIDE - 24)
        .encode(x=x, y=y, text="label:N")
        for some, dy in ((nodes[~is_below], -12), (nodes[is_below], 13))
    ]
    return [
        rings.encode(x=x, y=y),
        marks.encode(
            x=x,
            y=y,
            color=alt.Color("kind:N", scale=looks[0], legend=key),
            shape=alt.Shape("kind:N", scale=looks[1], legend=key),
            tooltip=tips,
        ),
        *labels,
    ]


def _header(name: str, like_it: int) -> str:
    return f"{parts.fit(name, 22)} + {like_it:,} alike" if like_it else name
