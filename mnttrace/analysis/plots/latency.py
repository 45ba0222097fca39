# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How long calls took, by syscall."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from mnttrace.analysis.plots import parts
from mnttrace.analysis.run import Run

_PER_DECADE = 8  # bins
_UNITS = (
    "datum.value < 1e3 ? format(datum.value, ',') + ' ns' : "
    "datum.value < 1e6 ? format(datum.value / 1e3, ',') + ' µs' : "
    "datum.value < 1e9 ? format(datum.value / 1e6, ',') + ' ms' : "
    "format(datum.value / 1e9, ',') + ' s'"
)


def latency(run: Run) -> alt.LayerChart:
    """The distribution of latencies: a row a syscall and outcome, darker where more calls are.

    Args:
        run: the recording.

    Raises:
        RecordingError: a table cannot be read.
    """
    text = "Latency of calls, by syscall"
    operations = run.operations
    if operations.empty:
        return parts.nothing(_title(run, text), "No operation was recorded.")
    calls = pd.DataFrame(
        {
            "syscall": parts.fitted(operations["syscall"]),
            "failed": operations["error"].astype("string[pyarrow]").fillna("") != "",
            "ns": operations["latency"].fillna(0).astype("float64").clip(lower=1),
        }
    )
    calls["row"] = calls["syscall"] + np.where(calls["failed"], ", failed", "")
    rows = summary(calls)
    bins = distribution(calls)
    heading = _title(run, text, f"{parts.count(len(calls), 'call')}; darker where more of them are")
    order = rows.sort_values(["of_syscall", "syscall", "failed"], ascending=[False, True, True])
    y = alt.Y("row:N", sort=order["row"].to_list(), axis=parts.axis(title=None, labelLimit=260))
    x = alt.X(
        "from:Q",
        scale=alt.Scale(type="log", domain=_decades(bins), nice=False),
        axis=parts.axis(title="time in the call", labelExpr=_UNITS, values=_powers(bins)),
    )
    color = alt.Color(
        "outcome:N",
        scale=alt.Scale(domain=["succeeded", "failed"], range=[parts.BLUE, parts.VERMILION]),
        legend=None,
    )
    strip = (
        alt.Chart(bins)
        .mark_rect(height=17)
        .encode(
            x=x,
            x2="to:Q",
            y=y,
            color=color,
            opacity=alt.Opacity(
                "share:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]), legend=None
            ),
            tooltip=parts.tips("row", "calls", time="range"),
        )
    )
    medians = alt.Chart(rows).mark_tick(color=parts.INK, thickness=2, height=21)
    counts = alt.Chart(rows).mark_text(align="left", dx=8, color=parts.GREY, fontSize=11)
    tips = parts.tips("row", "calls", *_QUANTILES)
    layers = [
        strip,
        medians.encode(x="p50:Q", y=y, tooltip=tips),
        counts.encode(x=alt.value(720), y=y, text="note:N", tooltip=tips),
    ]
    return parts.picture(layers, heading, width=720, height=alt.Step(24))


_QUANTILES = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "longest": 1.0}


def summary(calls: pd.DataFrame) -> pd.DataFrame:
    """A row a syscall and outcome.

    Args:
        calls: syscall, failed, row (its label), ns (latency).

    Returns:
        row, syscall, failed, calls, of_syscall (calls of both outcomes), p50 (ns), and as text:
        median, 90 %, 99 %, longest, note.
    """
    groups = calls.groupby(["row", "syscall", "failed"])["ns"]
    found = groups.agg(calls="size", p50="median").reset_index()
    found["of_syscall"] = found.groupby("syscall")["calls"].transform("sum")
    for name, part in _QUANTILES.items():
        found[name] = [parts.duration(ns) for ns in groups.quantile(part)]
    found["note"] = [
        f"{parts.count(n, 'call')}, median {median}"
        for n, median in zip(found["calls"], found["median"], strict=True)
    ]
    return found


def distribution(calls: pd.DataFrame) -> pd.DataFrame:
    """How many calls took how long, in bins of equal width on a log scale.

    Args:
        calls: row (a label), failed, ns (latency).

    Returns:
        row, outcome, from and to (ns), range (the same as text), calls, share (of the fullest bin
        of its row).
    """
    at = np.floor(np.log10(calls["ns"]) * _PER_DECADE).astype("int64")
    outcome = np.where(calls["failed"], "failed", "succeeded")
    counted = calls.assign(bin=at, outcome=outcome).groupby(["row", "outcome", "bin"])
    bins = counted.size().reset_index(name="calls")
    bins["from"] = 10.0 ** (bins["bin"] / _PER_DECADE)
    bins["to"] = 10.0 ** ((bins["bin"] + 1) / _PER_DECADE)
    bins["range"] = [
        f"{parts.duration(a)} to {parts.duration(b)}"
        for a, b in zip(bins["from"], bins["to"], strict=True)
    ]
    bins["share"] = bins["calls"] / bins.groupby("row")["calls"].transform("max")
    return bins.drop(columns="bin")


def _title(run: Run, text: str, *notes: str) -> alt.TitleParams:
    return parts.title(run, text, *notes, untouched_by=parts.TEXT_LOSSES | parts.MOUNT_LOSSES)


def _decades(bins: pd.DataFrame) -> list[float]:
    return [_powers(bins)[0], _powers(bins)[-1]]


def _powers(bins: pd.DataFrame) -> list[float]:
    low = int(np.floor(np.log10(bins["from"].min()) + 1e-9))
    high = int(np.ceil(np.log10(bins["to"].max()) - 1e-9))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]
