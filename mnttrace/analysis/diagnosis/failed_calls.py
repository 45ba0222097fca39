# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The calls that failed at the mount points, or at the path, that somebody asks about."""

from __future__ import annotations

import os

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.frames.refusals import reasons
from mnttrace.analysis.run import Run

_REASON = ["seq", "obstacle", "reason", "in_the_way", "since_seq", "advice", "commands"]
_REASON += ["path_outside"]


def failed_at(run: Run, places: set[tuple[int, str]], path: str) -> list[Row]:
    """The operations that failed at some mount points, or, whatever the namespace, at a path.

    Args:
        run: the whole recording.
        places: `ns_id` and mount point.
        path: as the caller or the namespace has it.

    Returns:
        Rows as of :class:`mnttrace.analysis.diagnosis.answers.Why`.
    """
    operations = run.operations
    failed = operations[operations["error"] != ""]
    asked = os.path.normpath(path)
    wanted = {place for _, place in places} | {asked}
    path_of = failed["path"].map(os.path.normpath)
    # Older recordings have the path that a caller in a chroot saw.
    outside = reasons(run, failed[failed["root_path"].isna() & failed["root_unique"].isna()])
    in_chroot = set(outside.loc[outside["path_outside"].isin(wanted), "seq"])
    # A path can be asked for as the caller saw it, too.
    jailed = failed[failed["root_path"].fillna("/") != "/"]
    in_chroot |= {
        row["seq"]
        for row in rows(jailed)
        if (row["path"].removeprefix(row["root_path"]) or "/") == asked
    }
    failed = failed[path_of.isin(wanted) | failed["seq"].isin(in_chroot)]
    why = {row["seq"]: row for row in rows(reasons(run, failed), _REASON)}
    found = [
        row | why.get(row["seq"], {})
        for row in rows(failed.assign(path=path_of))
        if row["path"] == asked or row["seq"] in in_chroot or (row["ns_id"], row["path"]) in places
    ]
    since = {row.get("since_seq") for row in found} - {None}
    causes = {row["seq"]: row for row in rows(operations[operations["seq"].isin(since)])}
    return [row | {"since": causes.get(row.get("since_seq"))} for row in found]
