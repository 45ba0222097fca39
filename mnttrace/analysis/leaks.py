"""Leaks: propagations between namespaces, with names and direction, worst first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnttrace.analysis.correlate import propagations
from mnttrace.recording.reader import read_meta, read_table

Row = dict[str, Any]
_WORST = ("container→host", "container→container", "host→container", "host→host")


def leaks(directory: Path) -> list[Row]:
    """The propagations whose source and destination namespaces differ, worst first.

    Rows have the columns of `correlate.propagations` and `src_name`, `dst_name`, `direction`.

    Raises:
        RecordingError: not a recording, or damaged.
    """
    home = read_meta(directory).get("home_ns")
    names = {row["ns"]: row for row in read_table(directory, "namespaces").to_pylist()}
    found = []
    for row in propagations(directory):
        if row["src_ns"] == row["dst_ns"] or row["action"] != "attach":
            continue
        sides = [_side(names.get(row[end]), row[end], home) for end in ("src_ns", "dst_ns")]
        direction = "→".join(kind for kind, _ in sides)
        found.append(
            row | {"direction": direction, "src_name": sides[0][1], "dst_name": sides[1][1]}
        )
    return sorted(
        found, key=lambda row: (not row["present"], _WORST.index(row["direction"]), row["seq"])
    )


def _side(entry: Row | None, ns: int, home: int | None) -> tuple[str, str]:
    """Container or host, and the name of a namespace."""
    if entry is None:
        return "host", f"mnt:[{ns}]"
    if entry["container"]:
        return "container", str(entry["name"])
    return "host", "host" if ns == home else str(entry["name"])
