"""What a recording is, in few lines: for notebooks, and at the head of a report."""

from __future__ import annotations

import html
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording


def facts(run: Recording) -> dict[str, str]:
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
        "command": shlex.join(meta["command"]) or "none: until it was stopped",
        "filters": ", ".join(f"{name}={value}" for name, value in meta["filters"].items()),
        "operations": f"{len(run.operations):,}" + (f", {failed:,} failed" if failed else ""),
        "namespaces": f"{len(run.namespaces):,}",
        "propagations": f"{len(run.propagations):,}",
        "leaks": _leaks(run),
    }
    return {label: text for label, text in found.items() if text}


def warnings(run: Recording) -> list[str]:
    """What is missing from a recording; [] if it is whole."""
    lost = [
        f"{kind} {count:,}"
        for kind, count in run.meta.get("losses", {}).items()
        if count and not kind.startswith("sent")
    ]
    found = [f"Incomplete: {', '.join(lost)}."] if lost else []
    if not run.meta.get("complete"):
        found.append("The recording was not closed; its end is missing.")
    if not run.meta.get("traced"):
        found.append("These are mount tables alone: no operations were traced.")
    return found


def card(run: Recording) -> str:
    """The facts as an HTML table, under the warnings; without style, so that it takes its place's.

    Raises:
        RecordingError: a table cannot be read.
    """
    alerts = "".join(
        f'<p role="alert"><strong>{_text(line)}</strong></p>' for line in warnings(run)
    )
    lines = "".join(
        f'<tr><th scope="row">{label}</th><td>{_text(text)}</td></tr>'
        for label, text in facts(run).items()
    )
    return f'{alerts}<table class="facts"><tbody>{lines}</tbody></table>'


def _text(text: str) -> str:
    """Markup that shows a text; what does not print, or turns others round, as Python writes it."""
    return html.escape(text if text.isprintable() else repr(text))


def _length(meta: dict[str, Any]) -> str:
    stopped = meta.get("stopped")
    return f"{(stopped - meta['started']) / 1e9:,.1f} s" if stopped else "not known"


def _leaks(run: Recording) -> str:
    """How many there are of each kind, the worst first."""
    kinds = run.leaks["kind"].value_counts(sort=False)
    told = [f"{count:,} {kind}" for kind, count in kinds.items()]
    if len(run.doublings):
        told.append(f"{len(run.doublings):,} doubling")
    return ", ".join(told) or "none"
