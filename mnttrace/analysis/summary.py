"""What a recording is, in few lines: for notebooks, and at the head of a report."""

from __future__ import annotations

import html
import shlex
from datetime import UTC, datetime
from typing import Any

from mnttrace.analysis.run import Run


def facts(run: Run) -> dict[str, str]:
    """The host, the kernel, when, how long, and how much was found.

    Returns:
        Label → text, in the order in which they are to be read. The text may be a stranger's.

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
        "traced": "" if meta["traced"] else "nothing: mount tables alone",
        "filters": ", ".join(f"{name}={value}" for name, value in meta["filters"].items()),
        "operations": f"{len(run.operations):,}" + (f", {failed:,} failed" if failed else ""),
        "namespaces": f"{len(run.namespaces):,}",
        "propagations": f"{len(run.propagations):,}",
        "leaks": _leaks(run),
    }
    return {label: text for label, text in found.items() if text}


def card(run: Run) -> str:
    """The facts as an HTML table, under what the recording lacks.

    It has no style, so that it looks like the place where it is shown.

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
    """Markup that shows a text; what does not print, or turns others round, as Python writes it."""
    return html.escape(text if text.isprintable() else repr(text))


def _length(meta: dict[str, Any]) -> str:
    stopped = meta.get("stopped")
    return f"{(stopped - meta['started']) / 1e9:,.1f} s" if stopped else "not known"


def _leaks(run: Run) -> str:
    """How many there are of each kind, the worst first."""
    kinds = run.leaks["kind"].value_counts(sort=False)
    told = [f"{count:,} {kind}" for kind, count in kinds.items()]
    if len(run.doublings):
        told.append(f"{len(run.doublings):,} doubling")
    return ", ".join(told) or "none"
