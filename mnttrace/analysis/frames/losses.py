# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a recording lacks, and what is therefore not known, in sentences."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from mnttrace.analysis.untold import sentences

# Kind of loss → what it means for the results; {n} is how many, {one|many} words for that.
_MEANINGS = {
    "lost_operation": "{n} {call|calls} {is|are} missing: "
    "what they did has no cause, or is ambiguous",
    "lost_path": "{n} {path|paths} {is|are} missing: where some calls led is not known",
    "lost_mounts": "{n} {part|parts} of mount lists {is|are} missing: "
    "copies may be known from snapshots alone",
    "lost_process": "{n} {process|processes} {is|are} missing: who ran some commands is not known",
    "lost_event": "{n} {event|events} of mounts {is|are} missing: "
    "who attached or detached these is not known",
    "lost_runs": "up to {n} {call|calls} {is|are} missing: "
    "their processor was reporting another one",
    "lost_removals": "up to {n} {call|calls} that removed files {is|are} missing: "
    "what they detached has a thread, and no operation",
    "lost_number": "{n} {mount|mounts} {has|have} ids that other mounts had before: "
    "there were too many",
    "lost_made": "{n} {mount|mounts} {is|are} missing: "
    "detached before their call ended, or not found",
    "lost_inflight": "{n} {call|calls} {is|are} missing: too many were under way at once",
    "lost_bytes": "{n} {byte|bytes} of records {is|are} missing: calls and copies may be, too",
    "lost_notifications": "fanotify lost events {n} {time|times}: "
    "when mounts went may not be known",
    "torn_operation": "{n} {call|calls} began before the recording, and {is|are} missing",
    "cut_walk": "{n} {call|calls} made more copies than one walk follows: "
    "the rest is from snapshots",
    "cut_inconsistent": "{n} {walk|walks} met mounts that were being changed: "
    "the rest is from snapshots",
    "cut_unwatched": "{n} new {namespace|namespaces} could not be listed in time: "
    "with what mounts went there may not be known",
    "lost_ended": "the {end|ends} of {n} new {namespace|namespaces} {is|are} missing: "
    "with what mounts went there may not be known",
    "ambiguous_detaches": "{n} {mount|mounts} went with a call or with {its|their} namespace: "
    "which of the two is not known",
    "cut_start": "too much went on before all tables were read first: paths of then may be wrong",
    "cut_raw_log": "the raw log was cut or damaged: what came after that is missing",
    "cut_strings": "{n} {text|texts} {was|were} cut: paths or options may be incomplete",
    "unreadable_tables": "{n} mount {table|tables} could not be read: mounts in them are not known",
    "unreadable_processes": "{n} {process|processes} could not be looked at: "
    "there may be more namespaces",
    "unsearched_users": "{n} {time|times} the processes that kept a mount busy were not searched",
}
# Table → what is not known without it.
_TABLES = {
    "operations": "which process called what, and when, is not known",
    "effects": "what calls did to mounts, and so all leaks, are not known",
    "snapshots": "when mount tables were read, and so what they were at a time, is not known",
    "mounts": "what was mounted before the recording began is not known",
    "namespaces": "namespaces have no names",
    "processes": "command lines are not known",
    "users": "which processes kept mounts busy is not known",
    "losses": "losses are known from meta.json alone",
}


def warnings(meta: dict[str, Any], untouched_by: Container[str] = ()) -> list[str]:
    """What a recording lacks, and what is therefore not known; [] if it is complete.

    Args:
        meta: what meta.json says.
        untouched_by: kinds of loss to leave out, as they do not matter to the reader.
    """
    found = []
    for kind, count in meta.get("losses", {}).items():
        if count and not kind.startswith("sent") and kind not in untouched_by:
            text = _MEANINGS.get(kind, "{n} {is|are} missing: " + kind)
            found.append(_numbered(text, count))
    for table in meta.get("missing_tables", ()):
        found.append(f"the file of the table {table} is gone: {_TABLES[table]}")
    if meta.get("backend") == "none":
        found.append("only mount tables were recorded: who mounted what is not known")
    found += sentences(meta.get("untold", ()))
    if not meta.get("complete"):
        found.append("the recording was not closed, or is still being written: its end is missing")
    if meta.get("lacks"):
        found.append(f"recordings of format {meta['upgraded_from']} lack: {meta['lacks']}")
    return found


def _numbered(text: str, count: int) -> str:
    chosen = re.sub(r"\{(\w+)\|(\w+)\}", r"\1" if count == 1 else r"\2", text)
    return chosen.format(n=count)
