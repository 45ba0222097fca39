# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Parts of the pictures: colors, titles, lanes, time, and text that is escaped and cut."""

from __future__ import annotations

from typing import Any, cast

import altair as alt
import pandas as pd

from mnttrace.analysis.frames.losses import warnings
from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run

# A browser draws so many without delay, and Altair refuses more rows in one table.
MOST_MARKS = 5000

# Okabe and Ito's colors, which color-blind people can distinguish.
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#E69F00", "#009E73"
PURPLE, VERMILION = "#CC79A7", "#D55E00"
INK, GREY, PALE = "#222222", "#767676", "#E4E4E4"

# Kinds of loss, as in `Run.meta`, that concern the text of calls, and mounts.
TEXT_LOSSES = frozenset({"lost_path", "cut_strings"})
MOUNT_LOSSES = frozenset(
    {
        "lost_mounts",
        "lost_event",
        "lost_runs",
        "lost_number",
        "lost_made",
        "cut_walk",
        "cut_inconsistent",
        "cut_unwatched",
        "lost_ended",
        "ambiguous_detaches",
        "cut_start",
        "lost_notifications",
        "unreadable_tables",
    }
    | {"lost_process", "unreadable_processes"}
)


def title(
    run: Run, text: str, *notes: str, untouched_by: frozenset[str] = frozenset()
) -> alt.TitleParams:
    """A title with a subtitle, which begins with the warnings of the recording.

    Args:
        run: the recording.
        text: the title.
        notes: lines of the subtitle; those that are "" are left out.
        untouched_by: kinds of loss that do not concern this picture.
    """
    lacks = [fit(line, 120) for line in warnings(run.meta, untouched_by)]
    return alt.TitleParams(
        text,
        subtitle=[line for line in (*lacks, *notes) if line] or [""],
        anchor="start",
        frame="group",
        color=INK,
        subtitleColor=VERMILION if lacks else GREY,
        fontSize=15,
        subtitleFontSize=12,
        offset=12,
    )


def nothing(heading: alt.TitleParams, text: str) -> alt.LayerChart:
    """A picture that says why it is empty."""
    words = alt.Chart(pd.DataFrame({"text": [text]})).mark_text(color=GREY, fontSize=13)
    return picture([words.encode(text="text:N")], heading, width=500, height=80)


def picture(
    layers: list[alt.Chart],
    heading: alt.TitleParams,
    *,
    width: int | alt.Step,
    height: int | alt.Step,
    zooms: bool = False,
) -> alt.LayerChart:
    """A picture of layers, without a frame.

    Args:
        layers: the lowest first.
        heading: see :func:`title`.
        width, height: px, or a step.
        zooms: whether the time axis can be moved and zoomed in a browser.
    """
    picture = alt.LayerChart(layer=layers).properties(
        title=heading, width=width, height=height, view=alt.ViewBackground(stroke=None)
    )
    if zooms:
        picture = picture.interactive(bind_y=False)
    picture = picture.resolve_scale(color="independent", shape="independent")
    return cast("alt.LayerChart", picture)


def tips(*fields: str, **titled: str) -> list[alt.Tooltip]:
    """The tooltip of a mark: fields by their names, and fields by other titles."""
    named = {field: field for field in fields} | titled
    return [alt.Tooltip(f"{field}:N", title=name) for name, field in named.items()]


def axis(**options: Any) -> alt.Axis:
    """An unobtrusive axis."""
    quiet: dict[str, Any] = {"domain": False, "ticks": False, "gridColor": "#EEEEEE"}
    quiet |= {"labelColor": INK, "titleColor": GREY, "titleFontWeight": "normal"}
    return alt.Axis(**(quiet | {"labelFontSize": 11, "titleFontSize": 11} | options))


def legend(name: str | None = None, **options: Any) -> alt.Legend:
    """An unobtrusive legend."""
    quiet: dict[str, Any] = {"titleColor": GREY, "titleFontWeight": "normal"}
    quiet |= {"labelColor": INK, "labelFontSize": 11, "titleFontSize": 11, "labelLimit": 280}
    return alt.Legend(title=name, **(quiet | options))


def fit(text: object, most: int = 80) -> str:
    """Untrusted text in one line: what does not print is escaped, and a long middle is left out.

    "<" is escaped, too: Altair puts a chart's data as it is into a script of an HTML page, which
    "</script>" would end.

    Args:
        text: any text.
        most: the number of characters to keep.
    """
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    ).replace("<", r"\x3c")
    if len(shown) <= most:
        return shown
    tail = (most - 1) * 2 // 3  # the end of a path says more than its beginning
    return f"{shown[: most - 1 - tail]}…{shown[-tail:]}"


def fitted(texts: pd.Series, most: int = 80) -> pd.Series:
    """:func:`fit` for a column; what is missing becomes ""."""
    texts = texts.astype("string[pyarrow]").fillna("")
    fits = {text: fit(text, most) for text in texts.unique()}
    return pd.Series(texts.map(fits), dtype="string[pyarrow]")


def names(run: Run, ids: pd.Index) -> pd.Series:
    """Names of mount namespaces in a picture; no two are the same.

    Args:
        run: the recording.
        ids: unique ids of namespaces (`ns_id`).

    Returns:
        A series of text, indexed by `ns_id`, in the order to show them: the host first, then in
        the order in which they became known.
    """
    known = labels(run)
    order = {ns_id: at for at, ns_id in enumerate(known.index)}
    home = run.meta.get("home_ns_id")
    ordered = sorted(ids, key=lambda one: (one != home, order.get(one, len(order)), one))
    number = pd.Series(map(str, ordered), index=ordered, dtype="string[pyarrow]")
    name = fitted(known.reindex(ordered).fillna("namespace " + number), 36)
    return name.where(~name.duplicated(keep=False), name + " #" + number)


def lanes(run: Run, activity: pd.Series, most: int) -> pd.Series:
    """A lane a mount namespace; those with the least activity share the last one.

    Args:
        run: the recording.
        activity: how much each namespace did, indexed by `ns_id`, no id twice.
        most: the number of lanes.

    Returns:
        :func:`names`, and "N others" for those that share the last lane.
    """
    shown = activity if len(activity) <= most else activity.nlargest(most - 1)
    lane = names(run, shown.index)
    others = activity.index.difference(shown.index)
    shared = pd.Series(f"{len(others):,} others", index=others, dtype="string[pyarrow]")
    return lane if others.empty else pd.concat([lane, shared])


def others_note(lane: pd.Series) -> str:
    """A note on the namespaces that share the last lane, or ""."""
    n = len(lane) - lane.nunique()
    return f"{n + 1:,} of {len(lane):,} mount namespaces share the last lane" if n else ""


def clock(times: pd.Series) -> pd.Series:
    """Times as text with microseconds, for tooltips."""
    return pd.Series(times.dt.strftime("%H:%M:%S.%f"), dtype="string[pyarrow]")


class Times:
    """The horizontal axis of pictures over time: the field `at` of their data.

    A container makes ten mounts in a millisecond, and time scales have no ticks between seconds: a
    few seconds are drawn as milliseconds since their beginning.

    Args:
        times: all times to draw, UTC.
    """

    def __init__(self, times: pd.Series) -> None:
        self.first, self.last = times.min(), times.max()
        self._is_short = (self.last - self.first).total_seconds() < _SHORT
        self._origin = self.first.floor("ms").value if self._is_short else 0

    def at(self, times: pd.Series) -> pd.Series:
        """The positions of times on the axis."""
        since: pd.Series = times.dt.as_unit("ns").astype("int64") - self._origin
        return since / 1e6

    def axis(self) -> alt.X:
        """The axis."""
        ends = self.at(pd.Series([self.first, self.last]))
        margin = max(0.01, (ends[1] - ends[0]) / 60)
        domain = [ends[0] - margin, ends[1] + margin]
        if self._is_short:
            since = f"ms since {self.first.floor('ms'):%H:%M:%S.%f}"[:-3]
            text, kind = f"{since} (UTC, {self.first:%Y-%m-%d})", "Q"
            scale = alt.Scale(domain=domain, nice=False, zero=False)
        else:
            days = dict.fromkeys(f"{day:%Y-%m-%d}" for day in (self.first, self.last))
            text, kind = f"time (UTC, {' to '.join(days)})", "T"
            scale = alt.Scale(type="utc", domain=domain, nice=False)
        return alt.X(f"at:{kind}", scale=scale, axis=axis(title=text, tickCount=12))


_SHORT = 5  # s


def count(n: int, what: str, more: str = "") -> str:
    """ "1 copy", "2,000 copies"."""
    return f"{n:,} {what if n == 1 else more or what + 's'}"


def duration(ns: float) -> str:
    """A duration with three digits and a fitting unit: "12.3 µs"."""
    ns = float(f"{ns:.3g}")
    for size, unit in ((3600e9, "h"), (60e9, "min"), (1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= size:
            return f"{float(f'{ns / size:.3g}'):g} {unit}"
    return f"{ns:g} ns"
