# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""One HTML file about a recording: its leaks, their causes and remedies, and the tables behind."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shlex
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from mnttrace import __version__
from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.names import labels
from mnttrace.analysis.state.mount_tables import last_tables
from mnttrace.analysis.summary import card
from mnttrace.report.cards import doubling, leaks, losses, markup, mount_tree
from mnttrace.report.html.pictures import Pictures, pictures
from mnttrace.report.html.tables import Table, tables
from mnttrace.report.leaks import none
from mnttrace.report.text import safe

if TYPE_CHECKING:
    import pandas as pd

    from mnttrace.analysis.recording import Recording

_LEAKS = 200  # leaks on a page
_LOSSES = 20
_MOUNTS = 3_000  # lines of mount trees on a page


def page(run: Recording) -> str:
    """The page, to be written as UTF-8.

    It loads nothing: its Content-Security-Policy allows only the scripts and the style in it, by
    their hashes. Everything from the recording is text or JSON.

    Args:
        run: the recording.

    Raises:
        RecordingError: a table cannot be read.
    """
    drawn = pictures(run)
    shown = tables(run)
    style, script = _file("page.css"), _file("tables.js") + _file("pictures.js")
    return Template(_file("page.html")).substitute(
        policy=_policy([style], [script, drawn.script]),
        style=style,
        script=script,
        library=drawn.script,
        name=markup(run.directory.name),
        version=__version__,
        summary=card(run),
        leaks=_leaks(run),
        leak_count=len(run.leaks) + len(run.lost_mounts) + len(run.doublings),
        pictures=_pictures(drawn),
        specs=_json(drawn.specs),
        trees=_trees(run),
        tables="".join(_table(run, table) for table in shown),
        table_links="".join(
            f'<a href="#{table.name.lower()}">{table.name} <small>{table.total:,}</small></a>'
            for table in shown
        ),
        data=_json({table.name.lower(): table.data() for table in shown}),
    )


def _file(name: str) -> str:
    return files("mnttrace.report.html").joinpath(name).read_text(encoding="utf-8")


def _policy(styles: list[str], scripts: list[str]) -> str:
    """A Content-Security-Policy that allows only these (https://www.w3.org/TR/CSP3/)."""

    def hashes(texts: list[str]) -> str:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(data: Any) -> str:
    """JSON in ASCII that neither begins nor ends a script element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _leaks(run: Recording) -> str:
    count = len(run.leaks)
    cards = [
        *leaks(run, range(1, min(count, _LEAKS) + 1)),
        *losses(run, run.lost_mounts.head(_LOSSES)),
        *(doubling(run, row) for row in rows(run.doublings)),
    ]
    if not cards:
        return f"<p>{none(run)}</p>"
    more = max(0, count - _LEAKS) + max(0, len(run.lost_mounts) - _LOSSES)
    return "".join(cards) + _left_out(more, "leaks", f"leaks {_path(run)}")


def _pictures(drawn: Pictures) -> str:
    if drawn.missing:
        return f"<p>{html.escape(drawn.missing)}</p>"
    return "".join(
        f'<figure data-spec="{title}" aria-label="{title}"></figure>' for title in drawn.specs
    )


def _trees(run: Recording) -> str:
    """The trees of as many namespaces as fit; those with leaks first, then the host's."""
    mounts, names = last_tables(run), labels(run)
    leaked = _leaked(run)
    with_leaks = {ns_id for ns_id, _ in leaked}
    home = run.meta.get("home_ns_id")

    def order(ns_id: Any) -> tuple[bool, bool]:
        return (ns_id not in with_leaks, ns_id != home)

    groups = mounts.groupby("ns_id", sort=False).indices
    parts: list[str] = []
    lines = 0
    for ns_id in sorted(groups, key=order):
        at = groups[ns_id]
        if parts and lines + len(at) > _MOUNTS:
            break
        lines += len(at)
        table: pd.DataFrame = mounts.iloc[at]
        name = names.get(ns_id, f"mnt:[{table['ns'].iloc[0]}]")
        parts.append(mount_tree(name, table, leaked, is_open=ns_id in with_leaks))
    left = len(groups) - len(parts)
    return "".join(parts) + _left_out(left, "namespaces", f"tree {_path(run)}")


def _leaked(run: Recording) -> dict[tuple[int, int], int]:
    """Namespace and mount id of leaked mounts that are still there → number of the leak, for the
    leaks on the page."""
    found = run.leaks.head(_LEAKS)
    return {
        (ns_id, int(mount_id)): number
        for number, (ns_id, ids) in enumerate(
            zip(found["dst_ns_id"], found["mount_ids"], strict=True), 1
        )
        for mount_id in ids.split(",")
        if mount_id
    }


def _table(run: Recording, table: Table) -> str:
    """A section that the script fills with the rows."""
    name = table.name.lower()
    note = _left_out(
        table.total - len(table.columns),
        "rows",
        f"export --table {table.exported} {_path(run)}",
    )
    return (
        f'<section id="{name}" data-table="{name}"><h2>{table.name}</h2>{note}'
        "<p class=tools><label>Filter <input type=search spellcheck=false autocomplete=off>"
        "</label><output aria-live=polite></output></p>"
        f'<div class=window tabindex=0 role=region aria-label="{table.name}"></div></section>'
    )


def _left_out(count: int, what: str, command: str) -> str:
    if count <= 0:
        return ""
    how = f"<code>mnttrace {command}</code> has all"
    return f"<p class=note>{count:,} more {what} are left out: {how}.</p>"


def _path(run: Recording) -> str:
    return html.escape(shlex.quote(safe(run.directory)))
