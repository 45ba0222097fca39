# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Limits: too many mounts, too many namespaces (ENOSPC)."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import Namespace, Refused, is_mounted
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Reason
from mnttrace.linux.flags import CLONE_NEWNS, NAMESPACES

MAKES_NAMESPACES = ("unshare", "clone", "clone3")


def too_many_namespaces(attempt: Attempt) -> Reason | None:
    """The limit that kept a namespace from being made; None if none did."""
    row = attempt.row
    if row["error"] != "ENOSPC" or row["syscall"] not in MAKES_NAMESPACES:
        return None
    is_one = row["flags_value"] & sum(NAMESPACES.values()) == CLONE_NEWNS
    limit = "user.max_mnt_namespaces" if is_one else "one of the limits user.max_*_namespaces"
    reason = f"the caller's user namespace, or one that it is in, has as many as {limit} allows"
    words = "end namespaces that are not needed, or raise the limit (/proc/sys/user)"
    return Reason(Refused("ENOSPC", reason, kind="too-many"), Advice(words))


def too_many_mounts(attempt: Attempt, most: int | None, names: pd.Series) -> Reason | None:
    """The namespace that would get more mounts than fs.mount-max, see count_mounts().

    Args:
        attempt: a call that the model does not refuse.
        most: fs.mount-max; None if it is not known.
        names: of namespaces, by `ns_id`.
    """
    if attempt.row["error"] != "ENOSPC" or not most or attempt.row["syscall"] not in calls.CALLS:
        return None
    before, after = attempt.tables, attempt.tables.copy()
    calls.carry_out(after, attempt.row)
    made = [mount for mount in after.mounts.values() if mount.id not in before.mounts]
    touched = {mount.ns for mount in made if is_mounted(mount)}
    for ns in touched:
        has, would = _count(before, ns), _count(after, ns)
        if would > most:
            name = names.get(ns, f"mnt:[{ns}]")
            reason = f"{name} has {has} mounts and would have {would}: fs.mount-max is {most}"
            words = f"unmount some there, or raise the limit: sysctl fs.mount-max={would}"
            return Reason(Refused("ENOSPC", reason, kind="too-many"), Advice(words))
    return None


def _count(tables: Tables, ns: Namespace) -> int:
    """How many mounts a namespace has, with its lowest root, which mountinfo does not show."""
    mounts = tables.in_namespace(ns)
    hidden = {mount.parent for mount in mounts} - {None} - tables.mounts.keys()
    return len(mounts) + len(hidden)
