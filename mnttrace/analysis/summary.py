# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording in few lines: for notebooks, and at the head of a report."""

from __future__ import annotations

import html
import shlex
from datetime import UTC, datetime
from typing import Any

from mnttrace.analysis.run import Run


def facts(run: Run) -> dict[str, str]:
    """Host, kernel, start, length, and how much was found.

    Returns:
        Label → text, in the order of reading. The text is not escaped.

    Raises:
        RecordingError: a table cannot be read.
    """
    meta = run.meta
    failed = int((run.operations["error"] != "").sum())
    found = {
        "host": f"{meta['host']}, Linux {meta['kernel']}",
        "started": f"{datetime.fromtimestamp(meta['started'] / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC",
        "length": _length(meta),
        "command": shlex.join(meta["command"]),
        "traced": "" if meta["traced"] else "nothing, only mount tables",
        "filters": ", ".join(f"{name}={value}" for name, value in meta["filters"].items()),
        "operations": f"{len(run.operations):,}" + (f", {failed:,} failed" if failed else ""),
        "namespaces": f"{len(run.namespaces):,}",
        "propagations": f"{len(run.propagations):,}",
        "leaks": _leaks(run),
    }
    return {label: text for label, text in found.items() if text}


def card(run: Run) -> str:
    """The facts as an HTML table, below the warnings.

    It has no style of its own, so that it fits the page around it.

    Raises:
        RecordingError: a table cannot be read.
    """
    lacks = "".join(f"<li>{_text(line)}</li>" for line in run.warnings)
    alert = f'<div role="alert"><strong>Incomplete</strong><ul>{lacks}</ul></div>' if lacks else ""
    lines = "".join(
        f'<tr><th scope="row">{label}</th><td>{_text(text)}</td></tr>'
        for label, text in facts(run).items()
    )
    return f'{alert}<table class="facts"><tbody>{lines}</tbody></table>'


def _text(text: str) -> str:
    """A text as HTML; with characters that do not print, as Python's repr() of it."""
    return html.escape(text if text.isprintable() else repr(text))


def _length(meta: dict[str, Any]) -> str:
    stopped = meta.get("stopped")
    return f"{(stopped - meta['started']) / 1e9:,.1f} s" if stopped else "not known"


def _leaks(run: Run) -> str:
    """The number of leaks of each kind, the worst first."""
    kinds = run.leaks["kind"].value_counts(sort=False)
    counts = [f"{count:,} {kind}" for kind, count in kinds.items()]
    for kind, frame in (("lost", run.lost_mounts), ("doubling", run.doublings)):
        if len(frame):
            counts.append(f"{len(frame):,} {kind}")
    return ", ".join(counts) or "none"
