# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations over time, a lane a mount namespace, with the propagation between lanes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import altair as alt
import pandas as pd

from mnttrace.analysis.plots import parts
from mnttrace.analysis.run import Run

_LANES = 24
_POINTS = 1200  # operations with a mark each; more are counted in bins
_MARKS = 3600  # bars
_ARROWS = 150  # more are counted below the lane that they lead to
_BINS = 120  # of time
_WIDER = (1, 2, 3, 4, 5, 6)  # bins are so many times as wide if there are too many
_WIDTH = 860  # px
_UP, _DOWN = 0.72, 0.2  # how far bars go from the line of their lane

_FAMILIES = {
    "mount": "mount",
    "umount2": "umount",
    **dict.fromkeys(["fsopen", "fsconfig", "fsmount", "fspick"], "new mount API"),
    **dict.fromkeys(["open_tree", "open_tree_attr"], "new mount API"),
    **dict.fromkeys(["move_mount", "mount_setattr"], "new mount API"),
    **dict.fromkeys(["pivot_root", "chroot"], "pivot_root, chroot"),
    **dict.fromkeys(["setns", "unshare", "clone", "clone3"], "unshare, setns, clone"),
}
_OTHER, _FAILED = "remove, rename", "failed"
# Family → color and shape, as they are drawn.
_LOOKS = {
    "mount": (parts.BLUE, "circle"),
    "umount": (parts.ORANGE, "square"),
    "new mount API": (parts.SKY, "triangle-up"),
    "pivot_root, chroot": (parts.PURPLE, "diamond"),
    "unshare, setns, clone": (parts.GREEN, "triangle-right"),
    _OTHER: (parts.GREY, "stroke"),
    _FAILED: (parts.VERMILION, "cross"),
}


def timeline(run: Run) -> alt.LayerChart:
    """Operations as marks by family of syscall, failed ones marked; arrows for propagation.

    Long recordings have bars in place of marks.

    Args:
        run: the recording.

    Raises:
        RecordingError: a table cannot be read.
    """
    heading = "Mount operations in each mount namespace"
    operations, copies = run.operations, run.propagations
    if operations.empty:
        return parts.nothing(parts.title(run, heading), "No operation was recorded.")
    ends = pd.concat([operations["ns_id"], copies["dst_ns_id"]])
    lane = parts.lanes(run, ends.value_counts(), _LANES)
    called = calls(operations, lane)
    propagated = between_lanes(copies, lane)
    times = parts.Times(pd.concat([operations["ts"], copies["ts"]]))
    lines = _Lines(lane.unique().tolist(), times, called["lane"].value_counts())
    notes = [_summary(called, copies, propagated), parts.others_note(lane)]
    arrows = by_operation(propagated)
    bars = counted(
        times,
        called if len(called) > _POINTS else called.head(0),
        propagated if len(arrows) > _ARROWS else propagated.head(0),
    )
    layers = [lines.bars(bars) if len(bars.operations) else lines.marks(called)]
    if len(bars.received):
        layers.append(lines.received(bars))
        notes.append("Below the lines: mounts and umounts that were propagated there")
    elif len(arrows):
        layers = [*lines.arrows(arrows), *layers]
    if len(bars.operations):
        width = parts.duration(bars.width.total_seconds() * 1e9)
        notes.append(f"Bars: operations in {width}, each lane to a scale of its own")
    return parts.picture(
        layers,
        parts.title(run, heading, *notes),
        width=_WIDTH,
        height=len(lines.order) * max(30, 64 - 5 * len(lines.order)) + 10,
        zooms=True,
    )


def calls(operations: pd.DataFrame, lane: pd.Series) -> pd.DataFrame:
    """The operations, prepared for drawing.

    Args:
        operations: of the recording.
        lane: of each namespace.

    Returns:
        A row an operation: ts, lane, call (family, or "failed"), syscall, error, comm, pid, path.
    """
    syscall, error = parts.fitted(operations["syscall"]), parts.fitted(operations["error"])
    family = operations["syscall"].map(_FAMILIES).astype("string[pyarrow]").fillna(_OTHER)
    columns = ["ts", "lane", "call", "syscall", "error", "comm", "pid", "path"]
    return operations.assign(
        lane=operations["ns_id"].map(lane),
        call=family.mask(error != "", _FAILED),
        syscall=syscall,
        error=error,
    )[columns]


def between_lanes(copies: pd.DataFrame, lane: pd.Series) -> pd.DataFrame:
    """The propagation from one lane to another.

    Args:
        copies: rows of `Run.propagations`.
        lane: of each namespace.

    Returns:
        A row a copy or umount: seq, ts, source, target (lanes), action, path.
    """
    found = copies.assign(
        source=copies["src_ns_id"].map(lane),
        target=copies["dst_ns_id"].map(lane),
        action=copies["action"].astype("string[pyarrow]").replace(_NOUNS),
        path=copies["mountpoint"],
    )
    crosses = found["source"].notna() & (found["source"] != found["target"])
    return found.loc[crosses, ["seq", "ts", "source", "target", "action", "path"]]


_NOUNS = {"attach": "mount", "detach": "umount"}
_DASHES = {"mount": [1, 0], "umount": [3, 3]}


def by_operation(propagated: pd.DataFrame) -> pd.DataFrame:
    """The arrows: what an operation propagated from one lane to another.

    Args:
        propagated: see :func:`between_lanes`.

    Returns:
        seq, source, target, action, ts, path (of the first), count.
    """
    groups = propagated.groupby(["seq", "source", "target", "action"], sort=False)
    columns = {"ts": ("ts", "first"), "path": ("path", "first"), "count": ("ts", "size")}
    return groups.agg(**columns).reset_index()


@dataclass(frozen=True)
class Bars:
    """Operations and propagation, counted in bins of time.

    Attributes:
        width: of a bin.
        operations: start (of the bin), lane, call, count.
        received: start, lane, count.
    """

    width: pd.Timedelta
    operations: pd.DataFrame
    received: pd.DataFrame


def counted(times: parts.Times, called: pd.DataFrame, propagated: pd.DataFrame) -> Bars:
    """Count in bins of time, as many as there is room for.

    Args:
        times: all times to draw.
        called: the operations to count, see :func:`calls`.
        propagated: the propagation to count, see :func:`between_lanes`.
    """
    width = max(pd.Timedelta(1, "us"), (times.last - times.first) / _BINS).ceil("us")
    found = [
        frame.assign(bin=(frame["ts"] - times.first) // width)
        .groupby(["bin", *keys])
        .size()
        .reset_index(name="count")
        for frame, keys in (
            (called, ["lane", "call"]),
            (propagated.rename(columns={"target": "lane"}), ["lane"]),
        )
    ]
    for wider in _WIDER:
        operations, received = (
            frame.assign(start=times.first + frame["bin"] // wider * wider * width)
            .groupby(frame.columns.drop(["bin", "count"]).insert(0, "start").to_list())["count"]
            .sum()
            .reset_index()
            for frame in found
        )
        if len(operations) + len(received) <= _MARKS:
            break
    return Bars(width * wider, operations, received)


class _Lines:
    """The layers, each drawn on, above or below the line of its lane."""

    def __init__(self, order: list[str], times: parts.Times, sums: pd.Series) -> None:
        self.order = order
        self._labels = [f"{name} · {int(sums.get(name, 0)):,}" for name in order]
        self._place = {name: place for place, name in enumerate(order)}
        self._times = times

    def _y(self, field: str = "y") -> alt.Y:
        # JSON literals are also literals of Vega's expressions: no label can end one.
        return alt.Y(
            f"{field}:Q",
            scale=alt.Scale(domain=[len(self.order) - 0.7, -0.85], nice=False, zero=False),
            axis=parts.axis(
                title=None,
                values=list(range(len(self.order))),
                labelExpr=f"{json.dumps(self._labels)}[datum.value]",
                labelLimit=280,
                grid=True,
            ),
        )

    def _placed(self, lane: pd.Series) -> pd.Series:
        return lane.map(self._place).astype("float64")

    def marks(self, called: pd.DataFrame) -> alt.Chart:
        """A point an operation, failed ones on top."""
        called = pd.concat([called[called["call"] != _FAILED], called[called["call"] == _FAILED]])
        at = self._times.at(called["ts"])
        # Marks at one position are drawn above each other.
        spot = (at / (at.max() - at.min() + 1e-9) * _WIDTH / 9).round()
        lift = called.groupby(["lane", spot]).cumcount() % 6 * 0.12
        data = pd.DataFrame(
            {
                "at": at,
                "y": self._placed(called["lane"]) - lift,
                "time": parts.clock(called["ts"]),
                "namespace": called["lane"],
                "process": parts.fitted(called["comm"])
                + "["
                + called["pid"].astype("string")
                + "]",
                "path": parts.fitted(called["path"]),
                **{name: called[name] for name in ("call", "syscall", "error")},
            }
        )
        tips = parts.tips("time", "namespace", "process", "syscall", "path", "error")
        points = alt.Chart(data).mark_point(filled=True, opacity=0.85, size=50)
        color, shape = (_looks(data["call"], at) for at in (0, 1))
        key = parts.legend("call", symbolOpacity=1, symbolSize=80)
        drawn: alt.Chart = points.encode(
            x=self._times.axis(),
            y=self._y(),
            color=alt.Color("call:N", scale=color, legend=key),
            shape=alt.Shape("call:N", scale=shape, legend=key),
            tooltip=tips,
        )
        return drawn

    def bars(self, counted: Bars) -> alt.Chart:
        """The operations of each bin, stacked by family."""
        order = {name: place for place, name in enumerate(_LOOKS)}
        bars = counted.operations
        bars = bars.assign(order=bars["call"].map(order)).sort_values(["lane", "start", "order"])
        piles = bars.groupby(["lane", "start"])["count"]
        most = piles.transform("sum").groupby(bars["lane"]).transform("max")
        line, top = self._placed(bars["lane"]), piles.cumsum()
        bars = bars.assign(y=line - (top - bars["count"]) * _UP / most, y2=line - top * _UP / most)
        key = parts.legend("call", symbolType="square")
        return self._rects(bars.drop(columns="order"), counted.width).encode(
            color=alt.Color("call:N", scale=_looks(bars["call"], 0), legend=key),
            tooltip=parts.tips("time", "lane", "call", "count"),
        )

    def received(self, counted: Bars) -> alt.Chart:
        """The mounts and umounts propagated to each lane, in bins, below its line."""
        bars = counted.received
        height = (bars["count"] / bars["count"].max()) ** 0.5 * _DOWN
        line = self._placed(bars["lane"]) + 0.04
        rects = self._rects(bars.assign(y=line, y2=line + height), counted.width)
        tips = parts.tips("time", "lane", propagated="count")
        return rects.encode(color=alt.value(parts.INK), tooltip=tips)

    def _rects(self, bars: pd.DataFrame, width: pd.Timedelta) -> alt.Chart:
        at = self._times.at(bars["start"])
        until = at + width.total_seconds() * 1e3 * 0.92
        data = bars.assign(at=at, until=until, time=parts.clock(bars["start"]))
        rects: alt.Chart = (
            alt.Chart(data.drop(columns="start"))
            .mark_rect()
            .encode(x=self._times.axis(), x2="until:Q", y=self._y(), y2="y2:Q")
        )
        return rects

    def arrows(self, arrows: pd.DataFrame) -> list[alt.Chart]:
        """Arrows from the lane of an operation to each lane that it propagated to."""
        y, y2 = self._placed(arrows["source"]), self._placed(arrows["target"])
        data = arrows.assign(
            at=self._times.at(arrows["ts"]),
            y=y,
            y2=y2,
            turn=(y < y2) * 180,
            time=parts.clock(arrows["ts"]),
            path=parts.fitted(arrows["path"]),
        ).drop(columns="ts")
        tips = parts.tips("time", "source", "target", "action", "count", "path")
        base = alt.Chart(data).encode(x=self._times.axis(), tooltip=tips)
        there = [name for name in _DASHES if (arrows["action"] == name).any()]
        dash = alt.StrokeDash(
            "action:N",
            scale=alt.Scale(domain=there, range=[_DASHES[name] for name in there]),
            legend=parts.legend("propagated"),
        )
        rules = base.mark_rule(color=parts.INK, opacity=0.8)
        heads = base.mark_point(
            shape="triangle-up", color=parts.INK, filled=True, size=50, opacity=1
        )
        return [
            rules.encode(y=self._y(), y2="y2:Q", strokeDash=dash),
            heads.encode(y=self._y("y2"), angle=alt.Angle("turn:Q", scale=None)),
        ]


def _looks(call: pd.Series, at: int) -> alt.Scale:
    """The scale of colors (0) or shapes (1) for the families that there are."""
    there = [name for name in _LOOKS if (call == name).any()]
    return alt.Scale(domain=there, range=[_LOOKS[name][at] for name in there])


def _summary(called: pd.DataFrame, copies: pd.DataFrame, propagated: pd.DataFrame) -> str:
    failed = int((called["call"] == _FAILED).sum())
    text = f"{parts.count(len(called), 'operation')} (those of a lane beside it), {failed:,} failed"
    if len(propagated):
        text += f"; mounts and umounts propagated to other lanes: {len(propagated):,}"
    if len(copies) > len(propagated):
        text += f"; within their lane: {len(copies) - len(propagated):,}"
    return text
