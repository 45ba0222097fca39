# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""All that is to be told of a recording, by harm, and what is to be done about each leak."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis
from mnttrace.analysis.diagnosis.preventions import Case, NotTried, Prevention, Preventions
from mnttrace.analysis.diagnosis.remedies import Remedy
from mnttrace.analysis.diagnosis.verdicts import BUSY, HARM, OVER, WANTED
from mnttrace.analysis.model.mounts import MountId
from mnttrace.analysis.run import Run


class Finding(NamedTuple):
    """One entry of the list.

    Attributes:
        frame: "leaks", "lost_mounts", "doublings" or "refusals", the frame that it is of.
        place: of the row in that.
    """

    frame: str
    place: int


def findings(run: Run) -> list[Finding]:
    """All rows of `run.leaks`, `run.lost_mounts`, `run.doublings` and `run.refusals`, the worst
    first.

    What keeps a file system, its device or its mount point busy comes first, then what was taken
    from a namespace, what came to the host, what grows, what else was refused, what else came
    somewhere, what somebody wants there, and what is over at the end.
    """
    leaks, refusals, lost = run.leaks, run.refusals, run.lost_mounts
    harm = leaks["kind"].map(HARM).mask(leaks["wanted"], WANTED)
    harm = harm.mask(leaks["present"] == 0, OVER).astype("int64")
    is_busy = refusals["obstacle"].isin(BUSY)
    refused = pd.Series(HARM["refused"], refusals.index).mask(is_busy, HARM["held"])
    taken = pd.Series(HARM["lost"], lost.index).where(lost["missing"], OVER)
    grown = [HARM["doubling"]] * len(run.doublings)
    all_ = [
        (worse, Finding(name, place))
        for name, column in (
            ("leaks", harm),
            ("refusals", refused),
            ("lost_mounts", taken),
            ("doublings", grown),
        )
        for place, worse in enumerate(column)
    ]
    return [finding for _, finding in sorted(all_, key=lambda one: one[0])]


def mounts_of(diagnosis: Diagnosis, row: Row) -> list[MountId]:
    """The mounts of a row of `run.leaks` that are there and that nobody evidently wants.

    Returns:
        Their ids in the tables at the end.
    """
    numbers = [int(part) for part in (row["mount_ids"] or "").split(",") if part]
    found = [diagnosis.mount(row["dst_ns_id"], number) for number in numbers]
    there = [one for one in found if one is not None]
    wrong = diagnosis.verdicts(there).wrong
    return [one for one, is_wrong in zip(there, wrong, strict=True) if is_wrong]


def remedy_of(diagnosis: Diagnosis, row: Row) -> Remedy | None:
    """How to take away what a row of `run.leaks` tells of; None if there is nothing to be taken."""
    return diagnosis.remedy(mounts_of(diagnosis, row))


def prevention_of(run: Run, diagnosis: Diagnosis, row: Row) -> tuple[Prevention | None, str]:
    """How to keep the mounts of a row of `run.leaks` from coming again; else why that was not
    tried."""
    unique = [one for one in mounts_of(diagnosis, row) if isinstance(one, int)]
    try:
        return Preventions(run, diagnosis).of_mounts(unique), ""
    except NotTried as why:
        return None, why.reason


def prevention_of_loss(run: Run, diagnosis: Diagnosis, row: Row) -> tuple[Prevention | None, str]:
    """The same for the topmost mount of a row of `run.lost_mounts`."""
    mount = row["mnt_id_unique"]
    case = Case(mount, (), lost=diagnosis.story.lost(mount))
    try:
        return Preventions(run, diagnosis).of([case]), ""
    except NotTried as why:
        return None, why.reason
