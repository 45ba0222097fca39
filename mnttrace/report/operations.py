# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations, one line each, followed by their effects: of a recording, or as they happen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any, TextIO

from mnttrace.report.calls import call_text
from mnttrace.report.text import safe

Row = Mapping[str, Any]
_SIGNS = {"attach": "+", "detach": "-", "move": ">", "change": "~"}
# What is told of effects that a thread had without a call, by their via.
_UNCALLED = {
    "automount": "no call was seen: the kernel mounted this on a look-up by it",
    "expiry": "no call was seen: the kernel took this away, as nobody used it",
    "": "no call was seen",
}
_SHOWN = 3  # similar effects that are listed; the rest are counted


class Timeline:
    """Writes operations with their effects.

    Args:
        file: the file to write.
        names: `ns_id` → label of the namespace; looked up when it is needed.
        threads: thread → what its process is called, as "mount[17]".
        marks_leaks: put a ! before mounts that reach another namespace than the caller's.
    """

    def __init__(
        self,
        file: TextIO,
        names: Mapping[Any, str],
        threads: Mapping[int, str] | None = None,
        *,
        marks_leaks: bool = False,
    ) -> None:
        self._threads = threads or {}
        self._marks_leaks = marks_leaks
        self._file = file
        self._names = names

    def operation(self, row: Row, effects: Iterable[Row], note: str = "") -> None:
        """Write one operation.

        Args:
            row: of the table `operations`.
            effects: its rows of the table `effects`, in order.
            note: what is to be said of it, as why it failed.
        """
        who = f"{safe(row['comm'])}[{row['tid']}]"
        self._line(
            f"{row['seq']:>5} {_time(row['ts'])} {who:22} {self._name(row)}: {call_text(row)}"
        )
        if note:
            self._line(f"{'':6}{safe(note)}")
        self._effects(effects, row["ns_id"])

    def without_operation(self, effects: Iterable[Row]) -> None:
        """Write effects without an operation: a namespace ended, the kernel mounted something."""
        for found in _together(effects):
            tid, via = found[0]["tid"], found[0]["via"]
            who = safe(self._threads.get(tid, f"thread {tid}")) if tid else "not known"
            what = _UNCALLED.get(via, via) if tid or via else "cause not known"
            self._line(f"{'':5} {_time(found[0]['ts'])} {who:22} {what}")
            self._effects(found, None)

    def _effects(self, effects: Iterable[Row], home: int | None) -> None:
        for _, group in groupby(effects, _kind):
            similar = list(group)
            for row in similar[:_SHOWN]:
                is_leak = row["via"] in ("peer", "slave") and row["ns_id"] != home
                mark = "!" if self._marks_leaks and is_leak and row["action"] == "attach" else ""
                self._line(f"{mark:6}{_SIGNS[row['action']]} {self._effect(row, home)}")
            if len(similar) > _SHOWN:
                self._line(f"{'':6}  and {len(similar) - _SHOWN} more like it")

    def _effect(self, row: Row, home: int | None) -> str:
        where = "" if row["ns_id"] == home else f"{safe(self._name(row))}: "
        text = f"{where}{safe(row['mountpoint'])}"
        if row["action"] in ("change", "move"):
            text += f": {safe(row['before'])} → {safe(row['after'])}"
        else:
            text += f"  {safe(row['fstype'])} {_tags(row)}"
        if row["via"] in ("peer", "slave"):
            text += f", {row['via']} of peer group {row['via_group'] or '?'}"
            if row["copy_of_path"]:
                text += f" at {safe(row['via_path'] or '?')}"
        elif row["via"] == "namespace-copy" and row["before"] and row["before"] != row["after"]:
            text += f" (was {safe(row['before'])})"
        elif row["via"] not in ("direct", "", None):
            text += f" ({row['via']})"
        if row["evidence"] != "kernel":
            text += f" [{row['evidence']}]"
        return text

    def _name(self, row: Row) -> str:
        return safe(self._names.get(row["ns_id"]) or f"mnt:[{row['ns']}]")

    def _line(self, text: str) -> None:
        self._file.write(text + "\n")


def _together(effects: Iterable[Row]) -> list[list[Row]]:
    """Effects that one thread had in one way, with the copies that follow from them."""
    found: list[list[Row]] = []
    for row in effects:
        last = found[-1][0] if found else row
        follows = row["tid"] == last["tid"] and row["via"] in ("peer", "slave", last["via"])
        if found and follows:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _tags(row: Row) -> str:
    tags = [f"{tag}:{row[tag]}" for tag in ("shared", "master") if row[tag]]
    return " ".join(tags) or str(row["propagation"])


def _time(when: datetime | int) -> str:
    if isinstance(when, int):
        when = datetime.fromtimestamp(when / 1e9)
    return f"{when:%H:%M:%S.%f}"


def _kind(row: Row) -> tuple[Any, ...]:
    """Effects with the same key are shown together."""
    change = (row["before"] or "").split()[:1] if row["action"] == "change" else ()
    after = (row["after"] or "").split()[:1] if row["action"] == "change" else ()
    tags = [text.partition(":")[0] for text in (*change, *after)]
    return (row["action"], row["via"], row["ns_id"], *tags)
