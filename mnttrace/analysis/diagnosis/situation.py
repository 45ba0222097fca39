# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Why a mount is where it is: which namespaces have it, and how it came to each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis, Missing, Stopped, Unexplained
from mnttrace.analysis.diagnosis.origins import Kind, Step, kind_of, steps_of
from mnttrace.analysis.diagnosis.preventions import Case, NotTried, Prevention, Preventions
from mnttrace.analysis.diagnosis.remedies import Remedy
from mnttrace.analysis.query.parts import not_at_home, same_parts
from mnttrace.analysis.query.targets import Target, find, known_mounts, namespaces_of
from mnttrace.analysis.run import Run
from mnttrace.errors import BadInput


@dataclass(frozen=True)
class Holder:
    """One of the mounts that were asked for, with its namespace.

    Attributes:
        mount: a row of :func:`mnttrace.analysis.query.targets.known_mounts`.
        namespace: its row of `namespaces`; of kind "host" for that of the recorder.
        steps: how it came there, the last step first.
        kind: "held" if it was inherited and its original was unmounted; "residue" if it was
            propagated and its original is gone; "leak" if it was propagated from another namespace;
            else "".
        follows: whether a umount of the host's mount propagates to this one, by the peer groups of
            their parents; None if the host has no such mount, or if tables do not tell.
        stopped: for "held" and "residue", why the umount of its original did not take it, where
            that is known.
        changes: each change of its options or propagation since it was attached, or while it was
            recorded: the effect, and the operation, where that is known.
        gone: the effect that detached it, and the operation, where they are known.
        users: processes that use it, rows of `users`, from when a umount was refused, or of now.
        covered_by: the mount that hides it from paths, of the tables at the end.
    """

    mount: Row
    namespace: Row
    steps: list[Step]
    kind: Kind
    follows: bool | None = None
    stopped: Stopped | None = None
    changes: tuple[tuple[Row, Row | None], ...] = ()
    gone: tuple[Row, Row | None] | None = None
    users: tuple[Row, ...] = ()
    covered_by: Row | None = None


@dataclass(frozen=True)
class Growth:
    """Binds that grow.

    Attributes:
        row: of `run.doublings`.
        prevention, not_tried: as for :class:`Why`.
    """

    row: Row
    prevention: Prevention | None
    not_tried: str = ""


@dataclass(frozen=True)
class Absence:
    """A namespace that the mounts did not come to.

    Attributes:
        missing: which, and why.
        prevention, not_tried: as for :class:`Why`: what would have brought them there.
    """

    missing: Missing
    prevention: Prevention | None
    not_tried: str = ""


@dataclass(frozen=True)
class Why:
    """The answer.

    Attributes:
        target_kind: what the target is, see :class:`mnttrace.analysis.query.targets.Target`.
        namespace: that of the first mount, or the one that is the target.
        holders: the mounts; those that are present first, the worst of them first.
        failed: operations at these mount points that failed, or in any namespace at the path that
            was asked for; rows of `operations`, with the columns of
            :func:`mnttrace.analysis.frames.refusals.reasons` where that has them, and `since`, the
            operation `since_seq`.
        traced: whether operations were recorded at all.
        imported: whether these are imported mount tables, so that there are no processes.
        diagnosis: what the answer stands on.
        missing: the first namespaces of interest that the mounts did not come to, and why.
        missing_more: how many more there are.
        growth: the binds that grow and are about these mounts.
        notes: how the target was understood, where that is not certain, as sentences.
        remedy: how to take away those that are held, left or propagated, by the model; None if
            there are none.
        prevention: how to keep them from coming, or from going if that is what is wrong; None if
            nothing is wrong, or nothing that was tried helps.
        not_tried: why no prevention was tried; "" if that was done, or nothing is wrong.
        unexplained: namespaces that were asked about, lack the mounts, and are not `missing`.
    """

    target_kind: str
    diagnosis: Diagnosis
    namespace: Row
    holders: list[Holder]
    failed: list[Row] = field(default_factory=list)
    traced: bool = True
    imported: bool = False
    remedy: Remedy | None = None
    missing: tuple[Absence, ...] = ()
    missing_more: int = 0
    growth: tuple[Growth, ...] = ()
    prevention: Prevention | None = None
    not_tried: str = ""
    notes: tuple[str, ...] = ()
    unexplained: tuple[Unexplained, ...] = ()


_REASON = ["seq", "obstacle", "reason", "in_the_way", "since_seq", "advice", "commands"]
_REASON += ["path_outside"]
_MISSING = 3  # namespaces that are told to lack a mount
_KINDS: tuple[Kind, ...] = ("held", "residue", "leak", "")


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
    try:
        target = find(run, text)
    except BadInput:
        failed = _failed(run, set(), text)
        if not failed:
            raise
        return Why("path", diagnosis, {}, [], failed, traced=True)
    if target.kind == "mount of the path" and (failed := _failed(run, set(), text)):
        return Why("path", diagnosis, {}, [], failed, traced=True, notes=target.notes)
    known = known_mounts(run)
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
    users = _users(run)
    holders = [_holder(diagnosis, row, users) for row in rows(same)]
    if target.kind == "namespace" and run.meta.get("traced"):
        holders = [one for one in holders if one.kind]
    there = [one for one in holders if one.mount["present"]]
    # No umount takes the root of a namespace.
    away = [one for one in there if one.mount["mountpoint"] != "/"]
    at_home = [one for one in away if one.mount["ns_id"] == diagnosis.home]
    holders = [_with_reach(diagnosis, one, at_home) for one in holders]
    holders.sort(key=lambda one: (not one.mount["present"], _KINDS.index(one.kind)))
    places = {(one.mount["ns_id"], one.mount["mountpoint"]) for one in holders}
    failed = _failed(run, places, text)
    traced, imported = bool(run.meta.get("traced")), "boot_id" not in run.meta
    subject = names.get(target.mounts["ns_id"].iloc[0], {})
    is_doubtful = not traced and target.kind != "namespace"
    remedy = _remedy(diagnosis, holders, failed, is_doubtful)
    mounts = [one.mount for one in holders if one.mount["present"] and not one.kind]
    lacking = diagnosis.missing(mounts, _of_interest(diagnosis, target, asked))
    # That nothing is known to have stopped it is an answer where it is asked for, and is not there.
    others = (asked or set()) - {one.mount["ns_id"] for one in there}
    unexplained = diagnosis.unexplained(mounts, others)
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


def growth(run: Run, diagnosis: Diagnosis, row: Row) -> Growth:
    """A row of `run.doublings`, with what keeps it from growing."""
    try:
        return Growth(row, Preventions(run, diagnosis).of_growth(row))
    except NotTried as why:
        return Growth(row, None, why.reason)


def prevention_of(
    run: Run, diagnosis: Diagnosis, mounts: Iterable[int]
) -> tuple[Prevention | None, str]:
    """How to keep mounts from coming again, by their unique ids; else why that was not tried."""
    try:
        return Preventions(run, diagnosis).of_mounts(mounts), ""
    except NotTried as why:
        return None, why.reason


def _prevention(
    run: Run, diagnosis: Diagnosis, holders: list[Holder]
) -> tuple[Prevention | None, str]:
    cases = [_case(one) for one in holders if is_wrong(one) or _lost(one)]
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
    return Case(holder.mount["mnt_id_unique"], tuple(holder.steps), holder.stopped, _lost(holder))


def _lost(holder: Holder) -> Row | None:
    """The effect that took a mount, if it was one elsewhere."""
    gone = holder.gone and holder.gone[0]
    return gone if gone and gone["via"] in ("peer", "slave") else None


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


def _failed(run: Run, places: set[tuple[int, str]], path: str) -> list[Row]:
    """The operations that failed at some mount points, or, whatever the namespace, at a path."""
    operations = run.operations
    failed = operations[operations["error"] != ""]
    reasons = {row["seq"]: row for row in rows(run.reasons, _REASON)}
    asked = os.path.normpath(path)
    wanted = {place for _, place in places} | {asked}
    path_of = failed["path"].map(os.path.normpath)
    in_chroot = {seq for seq, row in reasons.items() if row["path_outside"] in wanted}
    # A path can be asked for as the caller saw it, too.
    jailed = failed[failed["root_path"].fillna("/") != "/"]
    in_chroot |= {
        row["seq"]
        for row in rows(jailed)
        if (row["path"].removeprefix(row["root_path"]) or "/") == asked
    }
    failed = failed.assign(path=path_of)[path_of.isin(wanted) | failed["seq"].isin(in_chroot)]
    found = [
        row | reasons.get(row["seq"], {})
        for row in rows(failed)
        if row["path"] == asked or row["seq"] in in_chroot or (row["ns_id"], row["path"]) in places
    ]
    since = {row.get("since_seq") for row in found} - {None}
    causes = {row["seq"]: row for row in rows(operations[operations["seq"].isin(since)])}
    return [row | {"since": causes.get(row.get("since_seq"))} for row in found]


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


def _with_reach(diagnosis: Diagnosis, holder: Holder, at_home: list[Holder]) -> Holder:
    """With why a umount did not take it, or would not when the host's mount is unmounted."""
    if holder.kind in ("held", "residue"):
        stopped = diagnosis.stopped_umount(holder.mount["mnt_id_unique"], holder.steps)
        return replace(holder, stopped=stopped)
    if not at_home or holder in at_home or not holder.mount["present"]:
        return holder
    if holder.mount["mountpoint"] == "/":
        return holder
    at_home = [one for one in at_home if diagnosis.tells_reach(one.mount, holder.mount)]
    if not at_home:
        return holder
    ways = [diagnosis.barrier_now(one.mount, holder.mount) for one in at_home]
    return replace(holder, follows=any(way is None for way in ways))


def _remedy(
    diagnosis: Diagnosis, holders: list[Holder], failed: list[Row], is_doubtful: bool = False
) -> Remedy | None:
    """How to take away what is held, left, or came to the host; else what the last umount that was
    refused as it was busy should have taken; if it is doubtful what is held, as mount tables alone
    do not tell, what the host has not."""
    wrong = [one for one in holders if is_wrong(one)]
    places = {(one.mount["ns_id"], one.mount["mount_id"]) for one in wrong}
    for one in wrong:
        if one.kind != "leak":
            places |= diagnosis.came_along(one.mount, one.steps)
    if not wrong and failed and failed[-1]["error"] == "EBUSY":
        places = diagnosis.asked_to_unmount(failed[-1])
    if is_doubtful:
        places = _elsewhere_alone(diagnosis, holders)
    busy = [
        id
        for one in holders
        if one.users
        and (id := diagnosis.mount(one.mount["ns_id"], one.mount["mount_id"])) is not None
    ]
    return diagnosis.remedy(places, busy)


def _elsewhere_alone(diagnosis: Diagnosis, holders: list[Holder]) -> set[tuple[int, int]]:
    """Mounts of a file system that the host has not mounted, where the tables tell enough to try
    what takes them."""
    there = [one for one in holders if one.mount["present"] and one.mount["mountpoint"] != "/"]
    spaces = {one.mount["ns_id"] for one in there}
    if diagnosis.home in spaces or diagnosis.home not in diagnosis.namespaces:
        return set()
    if diagnosis.untold.keys() & {*spaces, diagnosis.home}:
        return set()
    return {(one.mount["ns_id"], one.mount["mount_id"]) for one in there}


def is_wrong(holder: Holder) -> bool:
    """Whether it is there, and nobody evidently wants it, as slaves want what they receive."""
    is_received = holder.kind == "leak" and (holder.steps[0].effect or {}).get("via") == "slave"
    return bool(holder.kind and holder.mount["present"]) and not is_received


def _holder(diagnosis: Diagnosis, mount: Row, users: dict[int, list[Row]]) -> Holder:
    steps = steps_of(diagnosis.story, mount["mnt_id_unique"])
    kind = kind_of(diagnosis.story, steps) if mount["present"] else ""
    namespace = diagnosis.namespaces.get(mount["ns_id"], {})
    using = tuple(users.get(mount["mnt_id_unique"], ()))
    effect = None if mount["present"] else diagnosis.story.detached(mount["mnt_id_unique"])
    gone = None if effect is None else (effect, diagnosis.story.operation(effect["seq"]))
    changes = tuple(
        (row, diagnosis.story.operation(row["seq"]))
        for row in diagnosis.story.of(mount["mnt_id_unique"])
        if row["action"] == "change" and row["before"] != row["after"]
    )
    cover = diagnosis.cover(mount) if mount["present"] else None
    return Holder(mount, namespace, steps, kind, None, None, changes, gone, using, cover)


def _users(run: Run) -> dict[int, list[Row]]:
    """The processes that use each mount, by its unique id."""
    last = run.users.drop_duplicates(["mnt_id_unique", "pid", "how"], keep="last")
    found: dict[int, list[Row]] = {}
    for row in rows(last):
        found.setdefault(row["mnt_id_unique"], []).append(row)
    return found


def _propagated_from(run: Run, namespaces: set[int]) -> set[int]:
    """The mounts that were propagated from some namespaces to others."""
    effects = run.effects
    is_copy = (effects["action"] == "attach") & effects["via"].isin(["peer", "slave"])
    is_copy &= effects["copy_of_ns_id"].isin(namespaces) & ~effects["ns_id"].isin(namespaces)
    return set(effects.loc[is_copy.fillna(False), "mnt_id_unique"])
