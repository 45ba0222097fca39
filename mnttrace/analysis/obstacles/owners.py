# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Calls in a mount namespace that another user namespace than the caller's owns: may_mount()."""

from __future__ import annotations

from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import Refused
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Reason


def not_its_namespace(attempt: Attempt) -> Reason | None:
    """Why any mount call of a caller with a user namespace of its own, but without such a mount
    namespace, is refused with EPERM."""
    row = attempt.row
    if row["error"] != "EPERM" or row["syscall"] not in {*calls.TRIED, "fsopen", "fsmount"}:
        return None
    if not attempt.is_unprivileged or not attempt.facts.is_of_the_host(row["ns_id"]):
        return None
    reason = "the mount namespace belongs to a more privileged user namespace than the caller's"
    words = "make a mount namespace, too (unshare --mount)"
    return Reason(Refused("EPERM", reason, kind="foreign"), Advice(words))
