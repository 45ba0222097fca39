# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Why a mount is where it is: which namespaces have it, and how it came to each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis.answers import Absence, Growth, Holder, Why
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis
from mnttrace.analysis.diagnosis.failed_calls import failed_at
from mnttrace.analysis.diagnosis.origins import Step, histories_of
from mnttrace.analysis.diagnosis.preventions import Case, NotTried, Prevention, Preventions
from mnttrace.analysis.diagnosis.reach import Missing, Reach, Unexplained
from mnttrace.analysis.diagnosis.remedies import Remedy
from mnttrace.analysis.diagnosis.story import ids
from mnttrace.analysis.diagnosis.verdicts import HARM, LEFT
from mnttrace.analysis.model.mounts import MountId
from mnttrace.analysis.query.parts import not_at_home, same_parts
from mnttrace.analysis.query.targets import Target, find, namespaces_of
from mnttrace.analysis.run import Run
from mnttrace.errors import BadInput

_MISSING = 3  # namespaces that are told to lack a mount
_LEAST = max(HARM.values()) + 1


def why(run: Run, diagnosis: Diagnosis, text: str, within: str | None = None) -> Why:
    """Explain a mount; or of a namespace, what it has from others, and what others have from it.

    Args:
        run: the whole recording.
        diagnosis: of that.
        text: as for :func:`mnttrace.analysis.query.targets.find`.
        within: a namespace that is asked about, as its name or a pid; "host" is the recorder's.
            None: that one and those that have the mount.

    Raises:
        BadInput: nothing in the recording matches.
    """
    known = diagnosis.known
    try:
        target = find(run, known, text)
    except BadInput:
        failed = failed_at(run, set(), text)
        if not failed:
            raise
        return Why("path", diagnosis, {}, [], failed, traced=True)
    if target.kind == "mount of the path" and (failed := failed_at(run, set(), text)):
        return Why("path", diagnosis, {}, [], failed, traced=True, notes=target.notes)
    asked = None if within is None else namespaces_of(run, within)
    if target.kind != "namespace":
        same = same_parts(known, target.mounts)
    else:
        its = set(target.mounts["ns_id"])
        from_it = known["mnt_id_unique"].isin(_propagated_from(run, its))
        same = known[known["present"] & (from_it | known["ns_id"].isin(its))]
        if not run.meta.get("traced"):
            same = same[same["ns_id"] != diagnosis.home]
            same = pd.concat(not_at_home(same, known, diagnosis.home))
    names = diagnosis.namespaces
    found = list(rows(same))
    verdicts = diagnosis.verdicts(row["mnt_id_unique"] for row in found)
    if target.kind == "namespace" and run.meta.get("traced"):
        some = np.flatnonzero(verdicts.kind != "")
        found, verdicts = [found[place] for place in some], verdicts.of(some)
    histories = histories_of(diagnosis.story, [row["mnt_id_unique"] for row in found])
    uniques = ids(row["mnt_id_unique"] for row in found)
    diagnosis.story.load(diagnosis.story.lives.all_of(uniques))
    lost = diagnosis.story.judge.lost(uniques).tolist()
    known_of = zip(found, histories, verdicts.kind, verdicts.wanted.tolist(), lost, strict=True)
    named = set(target.mounts["mnt_id_unique"])
    holders = [_holder(diagnosis, *one, named) for one in known_of]
    there = [one for one in holders if one.mount["present"]]
    # No umount takes the root of a namespace.
    away = [one for one in there if one.mount["mountpoint"] != "/"]
    at_home = [one for one in away if one.mount["ns_id"] == diagnosis.home]
    reach = Reach(diagnosis)
    holders = [_with_reach(diagnosis, reach, one, at_home) for one in holders]
    holders.sort(key=lambda one: (not one.mount["present"], HARM.get(one.kind, _LEAST)))
    places = {(one.mount["ns_id"], one.mount["mountpoint"]) for one in holders}
    failed = failed_at(run, places, text)
    traced, imported = bool(run.meta.get("traced")), "boot_id" not in run.meta
    subject = names.get(target.mounts["ns_id"].iloc[0], {})
    is_doubtful = not traced and target.kind != "namespace"
    remedy = _remedy(diagnosis, holders, failed, is_doubtful)
    interest = _of_interest(diagnosis, target, asked)
    lacking, unexplained = _lacking(diagnosis, reach, holders, interest, asked)
    grown = tuple(growth(run, diagnosis, row) for row in _growing(run, places))
    prevention, not_tried = _prevention(run, diagnosis, holders)
    return Why(
        target.kind,
        diagnosis,
        subject,
        holders,
        failed,
        traced,
        imported,
        remedy,
        tuple(_absence(run, diagnosis, one) for one in lacking[:_MISSING]),
        max(0, len(lacking) - _MISSING),
        grown,
        prevention,
        not_tried,
        target.notes,
        tuple(unexplained),
    )


def _lacking(
    diagnosis: Diagnosis,
    reach: Reach,
    holders: list[Holder],
    interest: list[int],
    asked: set[int] | None,
) -> tuple[list[Missing], list[Unexplained]]:
    """The namespaces of interest that some mounts did not come to; if all are gone, as it was just
    before the last one went."""
    there = [one for one in holders if one.mount["present"]]
    mounts = [one.mount for one in there if not one.kind]
    if not there and (last := _last_to_go(holders)):
        reach, mounts = Reach(diagnosis, *diagnosis.before(last)), [one.mount for one in holders]
        interest = interest if asked else interest[:1]
    # That nothing is known to have stopped it is an answer where it is asked for, and is not there.
    others = (asked or set()) - {one.mount["ns_id"] for one in there}
    return reach.missing(mounts, interest), reach.unexplained(mounts, others)


def _last_to_go(holders: list[Holder]) -> Row | None:
    """The effect that detached the last one of some mounts, where that is known."""
    gone = [one.gone[0] for one in holders if one.gone]
    return max(gone, key=lambda effect: effect["monotonic"], default=None)


def growth(run: Run, diagnosis: Diagnosis, row: Row) -> Growth:
    """A row of `run.doublings`, with what keeps it from growing."""
    try:
        return Growth(row, Preventions(run, diagnosis).of_growth(row))
    except NotTried as why:
        return Growth(row, None, why.reason)


def _prevention(
    run: Run, diagnosis: Diagnosis, holders: list[Holder]
) -> tuple[Prevention | None, str]:
    cases = [_case(one) for one in holders if one.is_wrong or one.lost]
    try:
        return Preventions(run, diagnosis).of(cases), ""
    except NotTried as why:
        return None, why.reason


def _absence(run: Run, diagnosis: Diagnosis, missing: Missing) -> Absence:
    mount = missing.mount.id
    if not run.meta.get("traced") or not isinstance(mount, int):
        return Absence(missing, None)
    try:
        found = Preventions(run, diagnosis).of([Case(mount, (), missing=missing)])
    except NotTried as why:
        return Absence(missing, None, why.reason)
    return Absence(missing, found)


def _case(holder: Holder) -> Case:
    return Case(holder.mount["mnt_id_unique"], tuple(holder.steps), holder.stopped, holder.lost)


def _growing(run: Run, places: set[tuple[int, str]]) -> Iterator[Row]:
    """The binds that grow, of which one of these places is the source or a target."""
    for row in rows(run.doublings):
        paths = (row["source_path"], *row["targets"].split(", "))
        if any((row["ns_id"], path) in places for path in paths):
            yield row


def _of_interest(diagnosis: Diagnosis, target: Target, asked: set[int] | None) -> list[int]:
    """The namespaces that a mount may be missed in: those asked about, else all that are there, the
    host's first."""
    if asked is not None:
        return sorted(asked)
    if target.kind == "namespace":
        return []
    there = [ns for ns in diagnosis.namespaces if diagnosis.now.tables.in_namespace(ns)]
    return sorted(there, key=lambda ns: (ns != diagnosis.home, ns))


def used_by(answer: Why, users: dict[int, list[Row]]) -> Why:
    """The same answer where it is known who uses what.

    Args:
        answer: of :func:`why`.
        users: rows like those of `users`, by unique mount id, or mount id where there is none.
    """
    holders = [
        replace(
            one, users=tuple(users.get(one.mount["mnt_id_unique"] or one.mount["mount_id"], ()))
        )
        for one in answer.holders
    ]
    is_doubtful = not answer.traced and answer.target_kind != "namespace"
    remedy = _remedy(answer.diagnosis, holders, answer.failed, is_doubtful)
    return replace(answer, holders=holders, remedy=remedy)


def _key(mount: Row) -> int:
    return int(mount["mnt_id_unique"] or mount["mount_id"])


def _with_reach(
    diagnosis: Diagnosis, reach: Reach, holder: Holder, at_home: list[Holder]
) -> Holder:
    """With why a umount did not take it, or would not when the host's mount is unmounted."""
    if holder.kind in LEFT:
        return replace(holder, stopped=diagnosis.why_umount_stopped(holder.mount["mnt_id_unique"]))
    if not at_home or holder in at_home or not holder.mount["present"]:
        return holder
    if holder.mount["mountpoint"] == "/":
        return holder
    at_home = [one for one in at_home if reach.tells_reach(one.mount, holder.mount)]
    if not at_home:
        return holder
    ways = [reach.barrier_now(one.mount, holder.mount) for one in at_home]
    return replace(holder, follows=any(way is None for way in ways))


def _remedy(
    diagnosis: Diagnosis, holders: list[Holder], failed: list[Row], is_doubtful: bool = False
) -> Remedy | None:
    """How to take away what is wrong; else what the last umount that was refused as it was busy
    should have taken; if it is doubtful what is held, as mount tables alone do not tell, what the
    host has not."""
    wrong = [_place(diagnosis, one) for one in holders if one.is_wrong]
    if not wrong and failed and failed[-1]["error"] == "EBUSY":
        wrong = diagnosis.asked_to_unmount(failed[-1])
    if is_doubtful:
        wrong = [_place(diagnosis, one) for one in _elsewhere_alone(diagnosis, holders)]
    busy = [_place(diagnosis, one) for one in holders if one.users]
    return diagnosis.remedy(wrong, busy)


def _place(diagnosis: Diagnosis, holder: Holder) -> MountId:
    """The mount in the tables at the end; None if it is not there."""
    return diagnosis.mount(holder.mount["ns_id"], holder.mount["mount_id"])


def _elsewhere_alone(diagnosis: Diagnosis, holders: list[Holder]) -> list[Holder]:
    """Mounts of a file system that the host has not mounted, where the tables tell enough to try
    what takes them."""
    there = [one for one in holders if one.mount["present"] and one.mount["mountpoint"] != "/"]
    spaces = {one.mount["ns_id"] for one in there}
    if diagnosis.home in spaces or diagnosis.home not in diagnosis.namespaces:
        return []
    if diagnosis.untold.keys() & {*spaces, diagnosis.home}:
        return []
    return there


def _holder(
    diagnosis: Diagnosis,
    mount: Row,
    steps: list[Step],
    kind: str,
    wanted: bool,
    lost: int,
    named: set[int],
) -> Holder:
    story, unique = diagnosis.story, mount["mnt_id_unique"]
    effect = None if mount["present"] else story.detached(unique)
    changes = tuple(
        (row, story.operation(row["seq"]))
        for row in story.of(unique)
        if row["action"] == "change" and row["before"] != row["after"]
    )
    return Holder(
        mount,
        diagnosis.namespaces.get(mount["ns_id"], {}),
        steps,
        kind,
        wanted,
        changes=changes,
        gone=None if effect is None else (effect, story.operation(effect["seq"])),
        users=diagnosis.users.get(unique, ()),
        covered_by=diagnosis.cover(mount) if mount["present"] else None,
        lost=None if mount["present"] else story.effect(lost),
        is_named=unique in named,
    )


def _propagated_from(run: Run, namespaces: set[int]) -> set[int]:
    """The mounts that were propagated from some namespaces to others."""
    effects = run.effects
    is_copy = (effects["action"] == "attach") & effects["via"].isin(["peer", "slave"])
    is_copy &= effects["copy_of_ns_id"].isin(namespaces) & ~effects["ns_id"].isin(namespaces)
    return set(effects.loc[is_copy.fillna(False), "mnt_id_unique"])
