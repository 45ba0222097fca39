# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Leaks as text: which mount reached which namespace, who made it, how, what is still there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.diagnosis.answers import Growth
from mnttrace.analysis.diagnosis.findings import (
    findings,
    prevention_of,
    prevention_of_loss,
    remedy_of,
)
from mnttrace.analysis.diagnosis.situation import growth as growth_of
from mnttrace.analysis.frames.removals import removed
from mnttrace.analysis.names import labels, threads, with_inode
from mnttrace.analysis.query.parts import not_at_home, paths_at_home, repeated
from mnttrace.analysis.query.targets import mounts_there
from mnttrace.report import preventions
from mnttrace.report.calls import call_text
from mnttrace.report.names import growth, uncalled
from mnttrace.report.refusals import advice
from mnttrace.report.remedies import Remedies
from mnttrace.report.text import count, safe, safe_lines

if TYPE_CHECKING:
    import pandas as pd

    from mnttrace.analysis.diagnosis.diagnosis import Diagnosis
    from mnttrace.analysis.recording import Recording

Row = dict[str, Any]
# Columns of `run.leaks` with numbers of operations that are shown as calls.
OPERATIONS = ("via_seq", "orphaned_seq", "freed_seq")
_WITH_REMEDY = 10  # the worst leaks and losses
_DEVICES = 4  # file systems that are named
_IDS = 10  # mount ids that are listed
_MANY = {
    "leaks": "leak",
    "lost_mounts": "lost mount",
    "doublings": "growing bind",
    "refusals": "refused operation",
}
_TITLES = {"held": "held, ", "race": "held for a while, "}


def paragraphs(run: Recording, most: int | None = None) -> Iterator[list[str]]:
    """Leaks, lost mounts, binds that grow and refused operations as lines, the worst first.

    Args:
        run: the recording.
        most: how many; None: all.
    """
    leaks, refusals, losses = run.leaks, run.refusals, run.lost_mounts
    calls = Calls(
        run,
        *(leaks[name] for name in OPERATIONS),
        *(refusals[name] for name in ("seq", "since_seq")),
        *(losses[name] for name in ("seq", "made_seq")),
    )
    remedies = Remedies(run.diagnosis, "boot_id" not in run.meta)
    found = findings(run)
    for frame, place in found[:most]:
        [row] = rows(getattr(run, frame).iloc[place : place + 1])
        if frame == "doublings":
            yield doubling(growth_of(run, run.diagnosis, row), run.diagnosis)
        elif frame == "refusals":
            yield refusal(row, calls, remedies)
        elif frame == "lost_mounts":
            yield lost(row, calls) + _how_to_keep(run, place, row)
        else:
            yield leak(place + 1, row, calls) + _what_to_do(run, place, row, remedies)
    more = Counter(_MANY[one.frame] for one in found[len(found) if most is None else most :])
    if more:
        yield [f"{' and '.join(count(more[what], what) for what in more)} more: --all shows them"]


def _what_to_do(run: Recording, place: int, row: Row, remedies: Remedies) -> list[str]:
    """How a leak is taken away, and kept from coming again; nothing if somebody wants it."""
    if place >= _WITH_REMEDY or (remedy := remedy_of(run.diagnosis, row)) is None:
        return []
    kept = preventions.lines(*prevention_of(run, run.diagnosis, row), run.diagnosis)
    lines = [*remedies.lines(remedy), "To keep it from happening again:"]
    return [f"   {line}" for line in (*lines, *(f"    {line}" for line in kept))]


def _how_to_keep(run: Recording, place: int, row: Row) -> list[str]:
    """How mounts are kept from being lost again."""
    if place >= _WITH_REMEDY:
        return []
    kept = preventions.lines(*prevention_of_loss(run, run.diagnosis, row), run.diagnosis)
    return ["   To keep it from happening again:", *(f"       {line}" for line in kept)]


def none(run: Recording) -> str:
    """The text for a recording without leaks."""
    if why := unknowable(run):
        return f"No mount is known to have reached another mount namespace: {why}."
    return "No mount reached another mount namespace."


def tables_alone(run: Recording) -> Iterator[str]:
    """What mount tables tell without history: which namespaces have what the host has not."""
    known = mounts_there(run)
    is_home = known["ns_id"] == run.meta.get("home_ns_id")
    names = labels(run)
    for row in rows(repeated(known)):
        what = f"{safe(row['fstype'])} {safe(row['source'])}, device {safe(row['device'])}"
        yield (
            f"{safe(names.get(row['ns_id'], '?'))} has {row['count']} mounts of one directory of "
            f"{what}, {row['there']} of them at {safe(row['mountpoint'])}: binds that grow look "
            "like that"
        )
    if not is_home.any():
        yield "No table is the host's: what others have and the host has not is not known."
        return
    home = run.meta.get("home_ns_id")
    others, untold = not_at_home(known[~is_home], known, home)
    others = others.assign(at_home=paths_at_home(others, known, home))
    # What is on a directory of the host's is more likely held than its own.
    others = others.sort_values("at_home", key=lambda paths: paths == "", kind="stable")
    for ns_id, table in others.groupby("ns_id"):
        first = table.drop_duplicates("device")
        shown = ", ".join(map(_elsewhere, rows(first.head(_DEVICES))))
        more = f" and {len(first) - _DEVICES} more" if len(first) > _DEVICES else ""
        what = f"{safe(names.get(ns_id, '?'))} has {count(len(first), 'file system')}"
        yield f"{what} that the host has not (held, or its own): {shown}{more}"
    for ns_id, table in untold.groupby("ns_id", sort=False):
        yield (
            f"{safe(names.get(ns_id, '?'))} has {count(len(table), 'mount')} of which it is not "
            "told whether the host has the file system: no devices"
        )


def _elsewhere(row: Row) -> str:
    """A mount of a file system that the host has not, and where the host would have it."""
    what = f"{safe(row['fstype'])} {safe(row['source'])} at {safe(row['mountpoint'])}"
    return what + (f" (the host's {safe(row['at_home'])})" if row["at_home"] else "")


def unknowable(run: Recording) -> str:
    """Why a recording does not show whether there were leaks; "" if it does."""
    if run.meta.get("backend") == "none":
        return "calls were not recorded"
    if not run.meta.get("traced"):
        return "these are only mount tables"
    if "effects" in run.meta.get("missing_tables", ()):
        return "the file of the table effects is gone"
    return ""


class Calls:
    """Operations as text, by number.

    Args:
        run: the recording.
        numbers: columns with the `seq` of those that will be asked for.
    """

    def __init__(self, run: Recording, *numbers: pd.Series) -> None:
        wanted = {seq for column in numbers for seq in column.dropna()}
        operations = run.whole.operations
        operations = operations[operations["seq"].isin(wanted)]
        gone = removed(run.whole) if wanted else {}
        self._threads = threads(run)
        self._rows = {
            row["seq"]: row | {"removed": gone.get(row["seq"])} for row in rows(operations)
        }

    def call(self, seq: int | None) -> str | None:
        """Like `operation 3: mount(…) = 0`; None if there is no such operation."""
        row = self._rows.get(seq)
        return f"operation {seq}: {call_text(row)}" if row else None

    def by(self, seq: int | None) -> str | None:
        """The same with the process."""
        row = self._rows.get(seq)
        return f"{safe(row['comm'])}[{row['pid']}], {self.call(seq)}" if row else None

    def done_by(self, row: Row) -> str:
        """Who did it: the operation `seq` of a row with the process, or else its thread, `tid`."""
        return self.by(row["seq"]) or self.uncalled(row["tid"])

    def uncalled(self, tid: int | None) -> str:
        """A thread that did something in no call that was seen."""
        return uncalled(tid, self._threads)


def what_is_left(row: Row) -> str:
    """How many other mounts the leak has, and how many are still there: " and 1 more, …"."""
    more = f" and {row['mounts'] - 1} more" if row["mounts"] > 1 else ""
    state = "gone at the end"
    if row["present"]:
        state = "still there" if row["mounts"] == 1 else f"{row['present']} still there"
    if row["residue"]:
        state += ", though the original is gone"
    return f"{more}, {state}"


def leak(number: int, row: Row, calls: Calls) -> list[str]:
    """One row of `run.leaks`."""

    def text(name: str) -> str:
        return "?" if row[name] is None else safe(row[name])

    title = _TITLES.get(row["kind"], "") + row["direction"]
    lines = [
        f"{number}. {title}: {text('fstype')} at {text('mountpoint')}{what_is_left(row)}",
        f"   in         {with_inode(text('dst_name'), row['dst_ns'])}" + _ids(row["mount_ids"]),
        f"   made by    {made_by(row, calls)}",
    ]
    if row["command"]:
        lines += (f"{'':14}{line}" for line in safe_lines(row["command"]))
    if row["starts"] > 1:
        lines.append(f"              and so in {count(row['starts'] - 1, 'namespace')} more")
    if row["via"] == "namespace-copy":
        return lines + _held(row, calls)
    lines.append(
        f"   propagated through peer group {text('via_group')}, from {text('via_path')} "
        f"to its {row['via']} {text('receiver_path')}"
    )
    since = calls.call(row["via_seq"])
    if since:
        lines.append(f"              since {since}")
    if row["wanted"]:
        lines.append(f"   wanted     {wanted(row['via'])}")
    if row["evidence"] == "ambiguous":
        lines.append("   ambiguous: other operations fit, too")
    return lines


def made_by(row: Row, calls: Calls) -> str:
    """Who made what a row of `run.leaks` tells of, and where."""
    where = with_inode(safe(row["src_name"] or "?"), row["src_ns"])
    path = safe(row["copy_of_path"] or "?")
    if row["seq"] is None:
        kernel = "the kernel, on a look-up by " if row["copy_of_via"] == "automount" else ""
        return f"{kernel}{calls.uncalled(row['tid'])}: at {path} in {where}"
    who = f"{safe(row['comm'] or '?')}[{'?' if row['pid'] is None else row['pid']}]"
    return f"{who} in {where}: {safe(row['syscall'] or '?')} on {path} (operation {row['seq']})"


def wanted(via: str) -> str:
    """Why nothing is to be done about a mount that came from elsewhere.

    Args:
        via: how it came.
    """
    if via == "slave":
        return "slaves receive what is mounted there: nothing is to be done"
    return "the container shares mounts with the host: nothing is to be done"


def _ids(text: str | None) -> str:
    """The first of some mount ids."""
    ids = text.split(",") if text else []
    more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
    return f" as mount {', '.join(ids[:_IDS])}{more}" if ids else ""


def _held(row: Row, calls: Calls) -> list[str]:
    """A mount that a namespace inherited and kept, until the end or for a while."""
    path = safe(row["copy_of_path"])
    lines = [f"   held       inherited from {path} when the namespace was made"]
    by = calls.by(row["orphaned_seq"])
    lines.append(
        f"              the original was unmounted {_time(row['orphaned'])}"
        + (f" by {by}" if by else "")
    )
    if row["freed"] is not None:
        window = (row["freed"] - row["orphaned"]).total_seconds() * 1e3
        by = calls.by(row["freed_seq"])
        most = "" if by else "at most "
        by = by or "when the end of the namespace was seen"
        until = f"until {_time(row['freed'])}, {by}"
        lines.append(f"   race       busy {most}{window:,.3f} ms longer: {until}")
    return lines


def _time(when: datetime) -> str:
    return f"{when:%H:%M:%S.%f}"


def lost(row: Row, calls: Calls) -> list[str]:
    """One row of `run.lost_mounts`."""
    lines = [
        f"lost: {lost_what(row)}",
        f"   in         {with_inode(safe(row['name']), row['ns'])}",
        f"   taken by   {calls.done_by(row)}",
        f"   went with  {went_with(row)}",
    ]
    made = calls.by(row["made_seq"])
    if made:
        lines.append(f"   made by    {made}")
    if row["evidence"] == "ambiguous":
        lines.append("   ambiguous: other operations fit, too")
    return lines


def lost_what(row: Row) -> str:
    """What a row of `run.lost_mounts` tells of."""
    more = f" and {row['mounts'] - 1} more" if row["mounts"] > 1 else ""
    over = "" if row["missing"] else ", over at the end"
    return f"{safe(row['fstype'])} at {safe(row['mountpoint'])}{more}{over}"


def went_with(row: Row) -> str:
    """How a mount was lost: a row of `run.lost_mounts`."""
    if row["via"] == "mountpoint-removed":
        return "its mount point, which was removed"
    where = with_inode(safe(row["src_name"] or "?"), row["src_ns"])
    path, group = safe(row["copy_of_path"] or "?"), row["via_group"] or "?"
    return f"{path} in {where}, through peer group {group}"


def doubling(found: Growth, diagnosis: Diagnosis) -> list[str]:
    """Binds that grow, and what keeps them from that."""
    row = found.row
    kept = preventions.lines(found.prevention, found.not_tried, diagnosis)
    left = "" if row["left"] is None else f"; fs.mount-max allows at most {row['left']} more"
    starts = f", from {row['starts']} namespaces" if row["starts"] > 1 else ""
    return [
        f"doubling: {growth(row)}",
        f"   in         {with_inode(safe(row['name']), row['ns'])}{starts}",
        f"   made       {safe(row['made'])} mounts (operations {safe(row['operations'])})",
        f"   now        {row['total']} mounts in the namespace{left}",
        "   to keep it from growing:",
        *(f"      {line}" for line in kept),
    ]


def refusal(row: Row, calls: Calls, remedies: Remedies) -> list[str]:
    """One row of `run.refusals`."""
    lines = [
        f"refused: {safe(row['comm'])}[{row['pid']}] in "
        f"{with_inode(safe(row['name']), row['ns'])}: {calls.call(row['seq'])}",
        f"   because    {safe(row['reason'])}",
    ]
    if row["in_the_way"]:
        lines.append(f"   in the way {safe(row['in_the_way'])}")
    by = calls.by(row["since_seq"])
    if by:
        lines.append(f"              since {by}")
    label = "what to do"
    for line in advice(row, remedies):
        lines.append(f"   {label:10} {line}")
        label = ""
    return lines


def birth(row: Row) -> str:
    """How a new namespace was isolated from its parent."""
    who = with_inode(safe(row["name"]), row["ns"])
    parent = safe(row["parent_name"] or "?")
    if not row["shared_at_birth"]:
        return f"{who} was made without mounts that are shared with others."
    if row["isolated_by"] is None:
        return (
            f"{who} shares {count(row['shared_before_use'], 'mount')} with {parent}, which it was "
            "made from."
        )
    were, left = row["shared_at_birth"], row["shared_before_use"]
    some = f"{were - left} of its {were}" if left else "its"
    text = f"{who} had {some} shared {'mount' if were == 1 else 'mounts'} made {row['became']}"
    text += " at its birth"
    if row["isolated_by"] != row["seq"]:
        text += f", by operation {row['isolated_by']}: {safe(row['call'])}"
    if "slave" in row["became"]:
        text += f"; so it receives from {parent}, and sends nothing back"
    return f"{text}."
