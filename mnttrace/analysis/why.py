# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Why a mount is where it is: which namespaces have it, and how it came to each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.query.targets import IDENTITY, find, known_mounts
from mnttrace.analysis.run import Run
from mnttrace.analysis.settings import is_shared

if TYPE_CHECKING:
    import pandas as pd


Row = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step in the history of a mount, from where it is back to where it was first mounted.

    Attributes:
        how: "mounted" by an operation; "bound" by one from another mount; "propagated" through a
            peer group; "inherited", copied when its namespace was made; "preexisting", older than
            the recording.
        effect: the row of `effects`, None for "preexisting".
        operation: the row of `operations` that caused it, where it is known.
        shared_since: for "propagated", the operation that made the mount shared through whose peer
            group it came; None: it was shared before the recording began.
    """

    how: str
    effect: Row | None = None
    operation: Row | None = None
    shared_since: Row | None = None


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
            their parents; None if the host has no such mount.
        goes_with: the mount id of another "held" or "residue" whose umount propagates to this one;
            else None.
        users: processes that use it, rows of `users`, from when a umount was refused, or of now.
        on_top: how many mounts cover it; a umount at its mount point gets these first.
    """

    mount: Row
    namespace: Row
    steps: list[Step]
    kind: str
    follows: bool | None = None
    goes_with: int | None = None
    users: tuple[Row, ...] = ()
    on_top: int = 0


@dataclass(frozen=True)
class Why:
    """The answer.

    Attributes:
        target_kind: what the target is, see :class:`mnttrace.analysis.query.targets.Target`.
        namespace: that of the first mount, or the one that is the target.
        holders: the mounts; those that are present first, the worst of them first.
        failed: operations at these mount points that failed, rows of `operations`, with `reason`
            and `in_the_way` where :mod:`mnttrace.analysis.frames.refusals` has them.
        traced: whether operations were recorded at all.
        imported: whether these are imported mount tables, so that there are no processes.
    """

    target_kind: str
    namespace: Row
    holders: list[Holder]
    failed: list[Row] = field(default_factory=list)
    traced: bool = True
    imported: bool = False


_KINDS = ("held", "residue", "leak", "")


def why(run: Run, text: str) -> Why:
    """Explain a mount; or of a namespace, what it has from others, and what others have from it.

    Args:
        run: the recording.
        text: as for :func:`mnttrace.analysis.query.targets.find`.

    Raises:
        BadInput: nothing in the recording matches.
    """
    target = find(run, text)
    known = known_mounts(run)
    origins = _Origins(run)
    if target.kind != "namespace":
        same = known.merge(target.mounts[IDENTITY].drop_duplicates(), on=IDENTITY)
    else:
        asked = set(target.mounts["ns_id"])
        from_it = known["mnt_id_unique"].isin(origins.propagated_from(asked))
        same = known[known["present"] & (from_it | known["ns_id"].isin(asked))]
    names = {row["ns_id"]: row for row in rows(run.namespaces)}
    # As in leaks, the namespace of the recorder is the host.
    home = run.meta.get("home_ns_id")
    names[home] = names.get(home, {}) | {"kind": "host", "name": "host"}
    holders = [origins.holder(row, names.get(row["ns_id"], {})) for row in rows(same)]
    if target.kind == "namespace":
        holders = [one for one in holders if one.kind]
    reached = _reached(known, same, home)
    if reached is not None:
        holders = [
            replace(one, follows=(one.mount["ns_id"], one.mount["parent_id"]) in reached)
            if one.mount["present"] and one.mount["ns_id"] != home
            else one
            for one in holders
        ]
    holders.sort(key=lambda one: (not one.mount["present"], _KINDS.index(one.kind)))
    holders = _together(known, covered(known[known["present"]], holders))
    operations = run.operations
    places = {(one.mount["ns_id"], one.mount["mountpoint"]) for one in holders}
    reasons = {row["seq"]: row for row in rows(run.refusals, ["seq", "reason", "in_the_way"])}
    failed = [
        row | reasons.get(row["seq"], {})
        for row in rows(operations[operations["error"] != ""])
        if (row["ns_id"], row["path"]) in places
    ]
    traced, imported = bool(run.meta.get("traced")), "boot_id" not in run.meta
    subject = names.get(target.mounts["ns_id"].iloc[0], {})
    return Why(target.kind, subject, holders, failed, traced, imported)


def _reached(
    known: pd.DataFrame, same: pd.DataFrame, home: int | None
) -> set[tuple[int, int]] | None:
    """The mounts, as (namespace, mount id), that receive what happens under the parents of those on
    the host; None if the host has none."""
    at_home = same[same["present"] & (same["ns_id"] == home)]
    if at_home.empty:
        return None
    return _receivers(known, home, set(at_home["parent_id"]))


def _receivers(known: pd.DataFrame, ns_id: int | None, mount_ids: set[int]) -> set[tuple[int, int]]:
    """The mounts, as (namespace, mount id), that receive what happens under some mounts."""
    there = known[known["present"]]
    mounts = there[(there["ns_id"] == ns_id) & there["mount_id"].isin(mount_ids)]
    groups = set(mounts["shared"].dropna())
    while True:
        receivers = there[there["shared"].isin(groups) | there["master"].isin(groups)]
        more = set(receivers["shared"].dropna()) - groups
        if not more:
            return set(zip(receivers["ns_id"], receivers["mount_id"], strict=True))
        groups |= more


def covered(there: pd.DataFrame, holders: list[Holder]) -> list[Holder]:
    """With the number of mounts that cover each, up to the next one that is to be unmounted, too.

    Args:
        there: the mounts that are present, with `ns_id`, `mount_id`, `parent_id`, `mountpoint`.
        holders: their mounts have the same, and `present`.
    """
    wrong = {_key(one.mount) for one in holders if one.kind and one.mount["present"]}
    there = there[there["mountpoint"].isin({one.mount["mountpoint"] for one in holders})]
    above = {(row["ns_id"], row["parent_id"], row["mountpoint"]): row for row in rows(there)}
    found = []
    for one in holders:
        count, top = 0, one.mount if one.mount["present"] else None
        while top and (top := above.get((*_key(top), top["mountpoint"]))):
            if _key(top) in wrong:
                break
            count += 1
        found.append(replace(one, on_top=count))
    return found


def _key(mount: Row) -> tuple[int, int]:
    return mount["ns_id"], mount["mount_id"]


def _together(known: pd.DataFrame, holders: list[Holder]) -> list[Holder]:
    """With `goes_with`: which are detached when another one of them is unmounted."""
    found: list[Holder] = []
    reached: dict[int, set[tuple[int, int]]] = {}
    for one in holders:
        place = one.mount["ns_id"], one.mount["parent_id"]
        with_it = next((id for id, places in reached.items() if place in places), None)
        if one.kind and one.mount["present"] and with_it is None:
            reached[one.mount["mount_id"]] = _receivers(known, place[0], {place[1]}) - {place}
        found.append(replace(one, goes_with=with_it) if one.kind else one)
    return found


class _Origins:
    """Finds where mounts came from."""

    def __init__(self, run: Run) -> None:
        effects = run.effects
        attached = effects[effects["action"] == "attach"]
        self._attached = {row["mnt_id_unique"]: row for row in rows(attached)}
        gone = effects[effects["action"] == "detach"]
        self._gone = set(gone["mnt_id_unique"])
        self._unmounted = set(gone.loc[gone["via"] != "namespace-death", "mnt_id_unique"])
        changes = effects[effects["action"] == "change"]
        self._changes: dict[int, list[Row]] = {}
        for row in rows(changes):
            self._changes.setdefault(row["mnt_id_unique"], []).append(row)
        self._operations = {row["seq"]: row for row in rows(run.operations)}
        users = run.users.drop_duplicates(["mnt_id_unique", "pid", "how"], keep="last")
        self._users: dict[int, list[Row]] = {}
        for row in rows(users):
            self._users.setdefault(row["mnt_id_unique"], []).append(row)

    def holder(self, mount: Row, namespace: Row) -> Holder:
        steps = self._steps(mount["mnt_id_unique"])
        users = tuple(self._users.get(mount["mnt_id_unique"], ()))
        return Holder(mount, namespace, steps, self._kind(mount, steps), users=users)

    def propagated_from(self, namespaces: set[int]) -> set[int]:
        """The mounts that were propagated from some namespaces to others."""
        return {
            unique
            for unique, row in self._attached.items()
            if row["via"] in ("peer", "slave")
            and row["copy_of_ns_id"] in namespaces
            and row["ns_id"] not in namespaces
        }

    def _steps(self, unique: int | None) -> list[Step]:
        if unique is None:
            return [Step("preexisting")]
        steps: list[Step] = []
        seen: set[int] = set()
        while unique is not None and unique not in seen:
            seen.add(unique)
            effect = self._attached.get(unique)
            if effect is None:
                steps.append(Step("preexisting"))
                break
            operation = self._operations.get(effect["seq"])
            if effect["via"] in ("peer", "slave"):
                since = self._shared_since(effect["via_unique"], effect["seq"])
                steps.append(Step("propagated", effect, operation, since))
            elif effect["via"] == "namespace-copy":
                steps.append(Step("inherited", effect, operation))
            elif effect["copy_of_unique"] is not None:
                steps.append(Step("bound", effect, operation))
            else:
                steps.append(Step("mounted", effect, operation))
                break
            unique = effect["copy_of_unique"]
        return steps

    def _shared_since(self, mount: int | None, seq: int | None) -> Row | None:
        """The operation that made a mount shared."""
        if mount is None:
            return None
        made = [
            row
            for row in self._changes.get(mount, [])
            if row["shared"] is not None
            and not is_shared(row["before"])
            and (seq is None or row["seq"] is None or row["seq"] <= seq)
        ]
        first = self._attached.get(mount)
        cause = made[-1] if made else first
        return self._operations.get(cause["seq"]) if cause else None

    def _kind(self, mount: Row, steps: list[Step]) -> str:
        last = next((step for step in steps if step.how != "bound"), None)
        if not mount["present"] or last is None or last.effect is None:
            return ""
        original = last.effect["copy_of_unique"]
        if last.how == "inherited":
            return "held" if original in self._unmounted else ""
        if last.how != "propagated":
            return ""
        if original in self._gone:
            return "residue"
        return "leak" if last.effect["copy_of_ns_id"] != mount["ns_id"] else ""
