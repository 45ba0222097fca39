# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How many mounts each mount namespace had, over time."""

from __future__ import annotations

import altair as alt
import pandas as pd

from mnttrace.analysis.plots import parts
from mnttrace.analysis.run import Run

_LINES = 7  # so many colors can be distinguished
_BINS = 300  # of time; two points of each line in a bin
_WIDTH = 820  # px
_NEAR = 0.25  # part of fs.mount-max from which on it is drawn
_COLORS = [parts.BLUE, parts.ORANGE, parts.GREEN, parts.VERMILION]
_COLORS += [parts.PURPLE, parts.SKY, "#8C6D31"]


def growth(run: Run) -> alt.LayerChart:
    """A line a mount namespace, for those that had the most mounts; one for the largest of others.

    Args:
        run: the recording.

    Raises:
        RecordingError: a table cannot be read.
    """
    heading = "Mounts in each mount namespace"
    counted = mounts_over_time(run)
    if counted.empty:
        return parts.nothing(_title(run, heading), "No mount was recorded.")
    if counted["ts"].nunique() == 1:
        return parts.nothing(_title(run, heading), "The mount tables are of one moment.")
    limit = run.meta.get("mount_max")
    peak = int(counted["mounts"].max())
    peaks = counted.groupby("ns_id")["mounts"].max()
    shown = parts.names(run, peaks.nlargest(_LINES).index)
    end = counted["ts"].max()
    lines = [
        _until(end, _thinned(counted[counted["ns_id"] == ns_id])).assign(lane=name)
        for ns_id, name in shown.items()
    ]
    rest = len(peaks) - len(shown)
    others = f"largest of {rest:,} others"
    if rest:
        least = _largest(counted[~counted["ns_id"].isin(shown.index)])
        lines.append(_until(end, least).assign(lane=others))
    data = pd.concat(lines, ignore_index=True)
    names = [*shown, *([others] if rest else [])]
    times = parts.Times(data["ts"])
    data = data.assign(at=times.at(data["ts"]), time=parts.clock(data["ts"]))
    color = alt.Color(
        "lane:N",
        scale=alt.Scale(domain=names, range=[*_COLORS[: len(shown)], *[parts.GREY] * bool(rest)]),
        legend=parts.legend("mount namespace", symbolType="stroke", symbolStrokeWidth=3),
    )
    chart = (
        alt.Chart(data[["at", "time", "lane", "mounts"]])
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(
            x=times.axis(),
            y=alt.Y("mounts:Q", axis=parts.axis(title="mounts", format=",d", tickMinStep=1)),
            color=color,
            tooltip=parts.tips("time", "mounts", namespace="lane"),
        )
    )
    layers = [chart]
    if limit is not None and peak >= _NEAR * limit:
        layers += _limit(limit)
    notes = [
        f"At most {peak:,}"
        + ("" if limit is None else f"; fs.mount-max, for each of them, is {limit:,}"),
        f"Lines of the {len(shown)} that had the most mounts; of {rest:,} others the largest"
        if rest
        else "",
    ]
    return parts.picture(layers, _title(run, heading, *notes), width=_WIDTH, height=320, zooms=True)


def mounts_over_time(run: Run) -> pd.DataFrame:
    """How many mounts each namespace had after each change.

    A mount counts from when it was attached, or from the first snapshot that has it, until it was
    detached, or until the first snapshot that lacks it.

    Args:
        run: the recording.

    Returns:
        ns_id, ts (UTC), mounts; in order of time.
    """
    effects = run.effects[["ns_id", "ts", "action", "mnt_id_unique"]]
    attached, detached = (effects[effects["action"] == name] for name in ("attach", "detach"))
    found = run.mounts[["ns_id", "snapshot", "change", "mnt_id_unique"]]
    ended = run.snapshots.set_index("snapshot")["ended"].astype("Int64")
    wall = found["snapshot"].map(ended) + run.meta.get("wall_offset", 0)
    found = found.assign(ts=pd.to_datetime(wall, unit="ns", utc=True))
    is_there = found["change"].isin(["initial", "added"])
    came = found[is_there & _without_effect(found, attached)]
    went = found[(found["change"] == "removed") & _without_effect(found, detached)]
    known = pd.concat([attached["mnt_id_unique"], came["mnt_id_unique"]])
    detached = detached[detached["mnt_id_unique"].isin(known)]
    steps = pd.concat(
        [
            part[["ns_id", "ts"]].assign(step=step)
            for part, step in ((came, 1), (attached, 1), (went, -1), (detached, -1))
        ],
        ignore_index=True,
    )
    steps = steps.dropna(subset=["ns_id", "ts"]).sort_values("ts", kind="stable")
    counted = steps.assign(mounts=steps.groupby("ns_id")["step"].cumsum())
    # The effects of one call are one change.
    return counted.drop_duplicates(["ns_id", "ts"], keep="last")[["ns_id", "ts", "mounts"]]


def _without_effect(found: pd.DataFrame, effects: pd.DataFrame) -> pd.Series:
    """Rows of snapshots without an effect on the same mount."""
    unique = found["mnt_id_unique"]
    return unique.isna() | ~unique.isin(effects["mnt_id_unique"])


def _thinned(line: pd.DataFrame) -> pd.DataFrame:
    """The last and the largest point of each bin of time."""
    bins = _bins(line["ts"])
    last = ~bins.duplicated(keep="last")
    largest = line.index.isin(line.groupby(bins)["mounts"].idxmax())
    return line[last | largest]


def _largest(counted: pd.DataFrame) -> pd.DataFrame:
    """The most mounts that any of these namespaces had, at the end of each bin of time."""
    bins = _bins(counted["ts"])
    table = counted.assign(bin=bins).pivot_table(
        index="bin", columns="ns_id", values="mounts", aggfunc="max"
    )
    most = table.ffill().max(axis=1).astype("int64")
    when = counted.groupby(bins)["ts"].last()
    return pd.DataFrame({"ts": when, "mounts": most.reindex(when.index)}).reset_index(drop=True)


def _until(end: pd.Timestamp, line: pd.DataFrame) -> pd.DataFrame:
    """The line extended to a time, unless it ended at 0."""
    last = line.tail(1)
    return pd.concat([line, last[last["mounts"] > 0].assign(ts=end)])


def _bins(times: pd.Series) -> pd.Series:
    at: pd.Series = times.dt.as_unit("ns").astype("int64")
    width = max(1, (int(at.max()) - int(at.min())) // _BINS + 1)
    bins: pd.Series = (at - at.min()) // width
    return bins


def _limit(limit: int) -> list[alt.Chart]:
    base = alt.Chart(pd.DataFrame({"mounts": [limit], "text": [f"fs.mount-max {limit:,}"]}))
    rule = base.mark_rule(color=parts.INK, strokeDash=[5, 4]).encode(y="mounts:Q")
    words = base.mark_text(align="right", dy=10, color=parts.INK, fontSize=11)
    return [rule, words.encode(x=alt.value(_WIDTH), y="mounts:Q", text="text:N")]


def _title(run: Run, text: str, *notes: str) -> alt.TitleParams:
    return parts.title(run, text, *notes, untouched_by=parts.TEXT_LOSSES)
