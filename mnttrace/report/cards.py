# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Leaks and mount trees as HTML that folds: for notebooks, and for the page of a report.

It has no style of its own, so that it fits the page around it.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.diagnosis.findings import prevention_of, prevention_of_loss, remedy_of
from mnttrace.analysis.diagnosis.situation import growth as growth_of
from mnttrace.analysis.names import labels, with_inode
from mnttrace.analysis.query.targets import mounts_there
from mnttrace.analysis.state.mount_tables import covered, last_tables
from mnttrace.errors import BadInput
from mnttrace.report import preventions
from mnttrace.report.leaks import (
    OPERATIONS,
    Calls,
    lost_what,
    made_by,
    wanted,
    went_with,
    what_is_left,
)
from mnttrace.report.names import growth
from mnttrace.report.remedies import Remedies
from mnttrace.report.text import count, safe, safe_lines

if TYPE_CHECKING:
    import pandas as pd

    from mnttrace.analysis.recording import Recording

Row = dict[str, Any]
_SHOWN = 20  # mounts of a leak that are listed


class Card(str):
    """HTML that a notebook shows as such."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


def markup(value: object) -> str:
    """HTML that shows a value as text; "?" for what is missing."""
    return "?" if value is None else html.escape(safe(value))


def leak(run: Recording, number: int) -> Card:
    """One leak: who made it, how it was propagated, what is still there, what to do.

    Args:
        run: the recording.
        number: 1 for the first row of `run.leaks`, and so on.

    Raises:
        BadInput: there is no such leak.
        RecordingError: a table cannot be read.
    """
    if not 1 <= number <= len(run.leaks):
        raise BadInput(f"there is no leak {number}", f"run.leaks has {len(run.leaks)}")
    [card] = leaks(run, [number])
    return card


def leaks(run: Recording, numbers: Iterable[int]) -> Iterator[Card]:
    """Some leaks, see :func:`leak`; each has the id "leak-NUMBER"."""
    found = run.leaks
    cards = _LeakCards(run)
    for number in numbers:
        [row] = rows(found.iloc[number - 1 : number])
        yield cards.leak(number, row)


def doubling(run: Recording, row: Row) -> Card:
    """A row of `run.doublings`: a bind that grows."""
    found = growth_of(run, run.diagnosis, row)
    kept = "\n".join(preventions.lines(found.prevention, found.not_tried, run.diagnosis))
    left = "not known" if row["left"] is None else f"at most {row['left']} (fs.mount-max)"
    starts = f", from {row['starts']} namespaces" if row["starts"] > 1 else ""
    lines = {
        "in": f"{markup(with_inode(row['name'], row['ns']))}, last at {_code(row['path'])}{starts}",
        "made": f"{markup(row['made'])} mounts (operations {markup(row['operations'])})",
        "mounts now": f"{row['total']} in the namespace",
        "more such binds": left,
        "to keep it from growing": f"<pre>{html.escape(kept)}</pre>",
    }
    return _card("doubling", html.escape(growth(row)), lines)


def losses(run: Recording, frame: pd.DataFrame) -> Iterator[Card]:
    """Rows of `run.lost_mounts`: what was taken from a namespace, and by whom."""
    calls = Calls(run, frame["seq"], frame["made_seq"])
    for row in rows(frame):
        kept = preventions.lines(*prevention_of_loss(run, run.diagnosis, row), run.diagnosis)
        lines = {
            "in": markup(with_inode(row["name"], row["ns"])),
            "taken by": html.escape(calls.done_by(row)),
            "went with": html.escape(went_with(row)),
            "made by": html.escape(calls.by(row["made_seq"]) or ""),
            "to keep it from happening again": f"<pre>{html.escape(chr(10).join(kept))}</pre>",
        }
        yield _card("lost", html.escape(lost_what(row)), lines)


def tree(run: Recording, namespace: str) -> Card:
    """The mounts of one namespace, as in its last table.

    Args:
        run: the recording.
        namespace: its label, see :func:`mnttrace.analysis.names.labels`.

    Raises:
        BadInput: no namespace has that label.
        RecordingError: a table cannot be read.
    """
    names = labels(run)
    wanted = names.index[names == namespace]
    if wanted.empty:
        raise BadInput(f"no namespace is called {namespace!r}", f"there are {', '.join(names)}")
    table = last_tables(run)
    table = table[table["ns_id"] == wanted[0]]
    return mount_tree(namespace, table, {}, is_open=True)


def mount_tree(
    name: str, table: pd.DataFrame, leaked: Mapping[tuple[int, int], int], *, is_open: bool
) -> Card:
    """A mount table as elements that fold.

    Args:
        name: the label of its namespace.
        table: its rows of :func:`mnttrace.analysis.state.mount_tables.last_tables`.
        leaked: (ns_id, mount id) → number of its leak.
        is_open: whether it is unfolded at first.
    """
    mounts = list(rows(table))
    known = {row["mount_id"] for row in mounts}
    hidden = covered(table)
    children: dict[int | None, list[Row]] = {}
    for row in mounts:
        is_top = row["parent_id"] not in known or row["parent_id"] == row["mount_id"]
        children.setdefault(None if is_top else row["parent_id"], []).append(row)
    title = with_inode(name, mounts[0]["ns"] if mounts else None)
    parts = [f"<details class=tree{' open' if is_open else ''}><summary>{markup(title)} "]
    parts.append(f"<small>{_about(mounts)}</small></summary>")
    # A stack, as mounts can be nested deeper than Python recurses. None closes an element.
    left: list[Row | None] = [None, *reversed(children.get(None, []))]
    while left:
        mount = left.pop()
        if mount is None:
            parts.append("</details>")
            continue
        line = _mount(mount, leaked.get((mount["ns_id"], mount["mount_id"])))
        if mount["mount_id"] in hidden:
            line += " <span class=covered>covered</span>"
        below = children.get(mount["mount_id"])
        if below is None:
            parts.append(f"<div class=mount>{line}</div>")
        else:
            parts.append(f"<details class=mount open><summary>{line}</summary>")
            left += [None, *reversed(below)]
    return Card("".join(parts))


class _LeakCards:
    """Makes cards of leaks, with their mounts and operations from elsewhere in the recording."""

    def __init__(self, run: Recording) -> None:
        self._run = run.whole
        found = run.leaks
        self._calls = Calls(run, *(found[name] for name in OPERATIONS))
        known = mounts_there(run.whole)
        known = known[known["ns_id"].isin(found["dst_ns_id"])]
        self._mountpoints = known.drop_duplicates(["ns_id", "mount_id"]).set_index(
            ["ns_id", "mount_id"]
        )["mountpoint"]
        self._diagnosis = run.diagnosis
        self._remedies = Remedies(run.diagnosis, "boot_id" not in run.meta)

    def leak(self, number: int, row: Row) -> Card:
        there = self._there(row)
        lines = {
            "in": markup(with_inode(row["dst_name"], row["dst_ns"])),
            "made by": html.escape(made_by(row, self._calls))
            + (_command(row["command"]) if row["command"] else ""),
            **self._origin(row),
            "still there": _lines(
                f"{_code(mount['mountpoint'])} <small>mount {mount['mount_id']}</small>"
                for mount in there
            )
            + _more(row["present"] - len(there)),
            **self._remedy(row),
        }
        return _card(row["kind"], _title(row), lines, f"leak-{number}")

    def _there(self, row: Row) -> list[Row]:
        """The first of its mounts that are still there."""
        ids = [int(part) for part in (row["mount_ids"] or "").split(",") if part][:_SHOWN]
        places = self._mountpoints.reindex([(row["dst_ns_id"], one) for one in ids])
        return [
            {
                "ns_id": row["dst_ns_id"],
                "ns": row["dst_ns"],
                "mount_id": one,
                "mountpoint": place,
                "present": True,
            }
            for one, place in zip(ids, places.fillna(row["mountpoint"]), strict=True)
        ]

    def _origin(self, row: Row) -> dict[str, str]:
        if row["via"] == "namespace-copy":
            return self._held(row)
        text = (
            f"peer group {markup(row['via_group'])}, from {_code(row['via_path'])} "
            f"to its {markup(row['via'])} {_code(row['receiver_path'])}"
        )
        since = self._calls.call(row["via_seq"])
        if since:
            text += f"<br><small>since {html.escape(since)}</small>"
        if row["evidence"] == "ambiguous":
            text += "<br>ambiguous: other operations fit, too"
        return {"propagated through": text}

    def _held(self, row: Row) -> dict[str, str]:
        """A mount that a namespace inherited and kept, until the end or for a while."""
        lines = {"inherited": f"from {_code(row['copy_of_path'])} when the namespace was made"}
        by = self._calls.by(row["orphaned_seq"])
        lines["original unmounted"] = _moment(row["orphaned"], by)
        if row["freed"] is not None:
            longer = (row["freed"] - row["orphaned"]).total_seconds() * 1e3
            by = self._calls.by(row["freed_seq"])
            most = "" if by else "at most "
            by = by or "the end of the namespace, when it was seen"
            lines["busy until"] = f"{_moment(row['freed'], by)}: {most}{longer:,.3f} ms longer"
        return lines

    def _remedy(self, row: Row) -> dict[str, str]:
        """As in `why`: commands that take away what is there, and how to avoid the leak."""
        remedy = remedy_of(self._diagnosis, row)
        if remedy is None:
            return {"wanted": wanted(row["via"])} if row["wanted"] else {}
        kept = preventions.lines(*prevention_of(self._run, self._diagnosis, row), self._diagnosis)
        told = {
            "what to do now": textwrap.dedent("\n".join(list(self._remedies.lines(remedy))[1:])),
            "to keep it from happening again": "\n".join(kept),
        }
        return {name: f"<pre>{html.escape(text)}</pre>" for name, text in told.items()}


def _card(kind: str, title: str, lines: Mapping[str, str], anchor: str = "") -> Card:
    items = "".join(f"<dt>{label}</dt><dd>{text}</dd>" for label, text in lines.items() if text)
    name = f' id="{anchor}"' if anchor else ""
    kind = markup(kind)
    return Card(
        f'<details class=leak{name} open><summary><span class="kind {kind}">{kind}</span> {title}'
        f"</summary><dl>{items}</dl></details>"
    )


def _title(row: Row) -> str:
    what = f"{markup(row['fstype'])} at {_code(row['mountpoint'])}"
    return f"{markup(row['direction'])}: {what}{what_is_left(row)}"


def _moment(when: datetime, by: str | None) -> str:
    return f"{when:%H:%M:%S.%f}" + (f" <small>by {html.escape(by)}</small>" if by else "")


def _about(mounts: list[Row]) -> str:
    if not mounts:
        return "no mounts"
    gone = ", gone by the end" if mounts[0]["gone"] else ""
    return count(len(mounts), "mount") + gone


def _mount(row: Row, leak_number: int | None) -> str:
    root = "" if row["root"] in ("/", "", None) else f"[{markup(row['root'])}]"
    line = f"{_code(row['mountpoint'])} <small>{markup(row['fstype'])} {markup(row['source'])}"
    line += f"{root}</small>"
    for tag in ("shared", "master"):
        if row[tag] is not None:
            line += f" <span class={tag}>{tag}:{row[tag]}</span>"
    if row["unbindable"]:
        line += " <span class=unbindable>unbindable</span>"
    if leak_number is not None:
        line += f' <a class=leaked href="#leak-{leak_number}">leak {leak_number}</a>'
    return line


def _code(value: object) -> str:
    return f"<code>{markup(value)}</code>"


def _command(text: str) -> str:
    """A command, line by line; the style of the page keeps its lines apart."""
    return f"<br><code class=command>{html.escape(chr(10).join(safe_lines(text)))}</code>"


def _lines(parts: Iterable[str]) -> str:
    return "<br>".join(parts)


def _more(count: int) -> str:
    return f"<br>and {count} more" if count > 0 else ""
