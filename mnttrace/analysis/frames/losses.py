"""What a recording lacks, and what that makes unknowable, in sentences."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

# Kind of loss → what it means for the results; {n} is how many.
_MEANINGS = {
    "lost_operation": "{n} calls are missing: what they did has no cause, or is ambiguous",
    "lost_path": "{n} paths are missing: where some calls led is not known",
    "lost_mounts": "{n} parts of mount lists are missing: copies may be told by snapshots alone",
    "lost_process": "{n} processes are missing: who ran some commands is not known",
    "lost_event": "{n} mounts came or went untold: by whom, and when, may not be known",
    "lost_runs": "up to {n} calls are missing, as another one was being told of by their processor",
    "lost_number": "{n} mounts are known by ids that others may have had: there were too many",
    "lost_made": "{n} mounts are missing: gone before the calls that made them ended, or not found",
    "lost_inflight": "{n} calls were not followed, as too many were under way: they are missing",
    "lost_bytes": "{n} bytes of records are missing: calls and copies may be, too",
    "lost_notifications": "fanotify lost events {n} times: when mounts went may not be known",
    "torn_operation": "{n} calls began before the recording, and are missing",
    "cut_walk": "{n} calls made more copies than one walk follows: the rest is from snapshots",
    "cut_astray": "{n} walks over mounts were led astray by others: the rest is from snapshots",
    "cut_strings": "{n} texts were cut: paths or options may be incomplete",
    "unreadable_tables": "{n} mount tables could not be read: mounts in them are not known",
    "unreadable_processes": "{n} processes could not be looked at: there may be more namespaces",
    "unsearched_users": "{n} times nobody was searched who used what could not be unmounted",
}
# Table → what is not known without it.
_TABLES = {
    "operations": "who did what, and when, is not known",
    "effects": "what calls did to mounts, and so all leaks, are not known",
    "snapshots": "when mount tables were read is not known, and so not what they were at a time",
    "mounts": "what was mounted before the recording began is not known",
    "namespaces": "namespaces have no names",
    "processes": "command lines are not known",
    "users": "who used what could not be unmounted is not known",
    "losses": "what was lost is known from meta.json alone",
}


def warnings(meta: dict[str, Any], untouched_by: Container[str] = ()) -> list[str]:
    """What is not in a recording, and what therefore cannot be known; [] if it is whole.

    Args:
        meta: what meta.json says.
        untouched_by: kinds of loss that do not matter where this is to be said.
    """
    found = []
    for kind, count in meta.get("losses", {}).items():
        if count and not kind.startswith("sent") and kind not in untouched_by:
            text = _MEANINGS.get(kind, "{n} of what is called " + kind + " is missing")
            found.append(text.format(n=count))
    for table in meta.get("missing_tables", ()):
        found.append(f"the file of the table {table} is gone: {_TABLES[table]}")
    if meta.get("backend") == "none":
        found.append("mount tables alone were recorded: no calls, and so nobody who did it")
    if not meta.get("complete"):
        found.append("the recording was not closed, or is still being written: its end is missing")
    if meta.get("lacks"):
        found.append(f"format {meta['upgraded_from']} of recordings does not tell {meta['lacks']}")
    return found
