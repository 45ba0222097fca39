# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How many mounts were propagated, from which mount namespace to which."""

from __future__ import annotations

import altair as alt
import pandas as pd

from mnttrace.analysis.plots import parts
from mnttrace.analysis.run import Run

_LANES = 30
_WITH_NUMBERS = 14  # up to so many lanes there is room for numbers


def heatmap(run: Run) -> alt.LayerChart:
    """A cell a pair of mount namespaces: how many mounts were propagated from one to the other.

    Args:
        run: the recording.

    Raises:
        RecordingError: a table cannot be read.
    """
    text = "Propagated mounts, from mount namespace to mount namespace"
    copies = run.propagations
    copies = copies[copies["action"] == "attach"]
    if copies.empty:
        return parts.nothing(_title(run, text), "No mount was propagated.")
    ends = pd.concat([copies["src_ns_id"], copies["dst_ns_id"]])
    lane = parts.lanes(run, ends.value_counts(), _LANES)
    cells = counts(copies, lane)
    sources, targets = (
        [name for name in lane.unique() if (cells[end] == name).any()] for end in ("from", "to")
    )
    heading = _title(
        run,
        text,
        f"{parts.count(len(copies), 'copy', 'copies')}; "
        "those within one mount namespace are at another mount point",
        parts.others_note(lane),
    )
    x = alt.X(
        "to:N",
        sort=targets,
        axis=parts.axis(
            title="to", orient="top", labelAngle=-40, labelAlign="left", labelLimit=200
        ),
    )
    y = alt.Y(
        "from:N",
        sort=sources,
        axis=parts.axis(title="from", labelLimit=280),
    )
    most = max(2, int(cells["copies"].max()))
    color = alt.Color(
        "copies:Q",
        scale=alt.Scale(type="log", domain=[1, most], range=["#DCE9F5", "#08306B"]),
        legend=parts.legend("copies", format=",d", tickCount=3),
    )
    tips = parts.tips("from", "to", "copies", "operations", left="present")
    base = alt.Chart(cells).encode(x=x, y=y, tooltip=tips)
    layers: list[alt.Chart] = [base.mark_rect(stroke="white").encode(color=color)]
    if max(len(sources), len(targets)) <= _WITH_NUMBERS:
        ink = alt.condition(alt.datum["copies"] > most**0.5, alt.value("white"), alt.value("#222"))
        layers.append(base.mark_text(fontSize=11).encode(text="copies:Q", color=ink))
    step = alt.Step(34 if len(layers) > 1 else 20)
    return parts.picture(layers, heading, width=step, height=step)


def counts(copies: pd.DataFrame, lane: pd.Series) -> pd.DataFrame:
    """Copies counted by lanes.

    Args:
        copies: rows of `Run.propagations`.
        lane: of each namespace, see :func:`parts.lanes`.

    Returns:
        from, to (lanes), copies, operations, present (how many copies there were at the end).
    """
    ends = {"from": copies["src_ns_id"].map(lane), "to": copies["dst_ns_id"].map(lane)}
    groups = copies.assign(**ends).groupby(["from", "to"])
    return groups.agg(
        copies=("seq", "size"), operations=("seq", "nunique"), present=("present", "sum")
    ).reset_index()


def _title(run: Run, text: str, *notes: str) -> alt.TitleParams:
    return parts.title(run, text, *notes, untouched_by=parts.TEXT_LOSSES)
