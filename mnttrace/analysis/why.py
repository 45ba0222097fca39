"""Why a mount is where it is: who has it, how it came to each, and what follows from that."""

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
    """One step on the way of a mount, from where it is back to where it was made.

    Attributes:
        how: "mounted", by an operation; "bound", by one from another mount; "carried", by a peer
            group to a peer or slave; "inherited", as a copy of its namespace's maker; "there",
            before the recording began.
        effect: the row of `effects`, None for "there".
        operation: the row of `operations` that caused it, where it is known.
        shared_since: for "carried" the operation that made the carrying mount shared; None: it was
            before the recording began.
    """

    how: str
    effect: Row | None = None
    operation: Row | None = None
    shared_since: Row | None = None


@dataclass(frozen=True)
class Holder:
    """A mount that is, or was, the one that is asked about, in one namespace.

    Attributes:
        mount: a row of :func:`mnttrace.analysis.query.targets.known_mounts`.
        namespace: its row of `namespaces`; of kind "host" where the recorder was.
        steps: how it came there, the last one first.
        kind: "held", inherited at the birth of its namespace, and its original is gone; "residue",
            carried there, and its original is gone; "leak", carried there from another namespace;
            else "".
        follows: whether a umount of the host's mount takes this one along, by the peer groups of
            what the two are mounted on; None where the host has no such mount.
        goes_with: of several that are held or left over, the mount id of the one whose umount takes
            this one along; else None.
        users: processes that use it, rows of `users`: as they were when a umount was refused, or
            are now.
        on_top: how many mounts lie on it at the same place, and are what a umount there gets first.
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
        said: how the target was understood.
        namespace: that of the first mount that was found, or that is asked about.
        holders: those that are there first, the worst of them first.
        failed: operations at these mount points that failed, rows of `operations`, with the
            `reason` and what is `in_the_way`, where :mod:`mnttrace.analysis.frames.refusals` tells.
        traced: whether operations were recorded at all.
        imported: whether these are mount tables from elsewhere, without processes.
    """

    said: str
    namespace: Row
    holders: list[Holder]
    failed: list[Row] = field(default_factory=list)
    traced: bool = True
    imported: bool = False


_KINDS = ("held", "residue", "leak", "")


def why(run: Run, text: str) -> Why:
    """Explain a mount, or what a namespace has from elsewhere and others have from it.

    Args:
        run: the recording.
        text: as for :func:`mnttrace.analysis.query.targets.find`.

    Raises:
        BadInput: nothing in the recording is that.
    """
    target = find(run, text)
    known = known_mounts(run)
    ways = _Ways(run)
    if target.said != "namespace":
        same = known.merge(target.mounts[IDENTITY].drop_duplicates(), on=IDENTITY)
    else:
        asked = set(target.mounts["ns_id"])
        from_it = known["mnt_id_unique"].isin(ways.carried_from(asked))
        same = known[known["present"] & (from_it | known["ns_id"].isin(asked))]
    names = {row["ns_id"]: row for row in rows(run.namespaces)}
    # Who recorded is at home there, as in leaks.
    home = run.meta.get("home_ns_id")
    names[home] = names.get(home, {}) | {"kind": "host", "name": "host"}
    holders = [ways.holder(row, names.get(row["ns_id"], {})) for row in rows(same)]
    if target.said == "namespace":
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
    return Why(target.said, subject, holders, failed, traced, imported)


def _reached(
    known: pd.DataFrame, same: pd.DataFrame, home: int | None
) -> set[tuple[int, int]] | None:
    """The mounts, as (namespace, mount id), that get what happens on those which the host's mounts
    are on; None if the host has none of these."""
    at_home = same[same["present"] & (same["ns_id"] == home)]
    if at_home.empty:
        return None
    return _receivers(known, home, set(at_home["parent_id"]))


def _receivers(known: pd.DataFrame, ns_id: int | None, mount_ids: set[int]) -> set[tuple[int, int]]:
    """The mounts, as (namespace, mount id), that get what happens on some of one namespace."""
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
    """With what lies on top of each, up to the next that is to be unmounted itself.

    Args:
        there: the mounts that are there, with `ns_id`, `mount_id`, `parent_id`, `mountpoint`.
        holders: of mounts with these, and `present`.
    """
    wrong = {_place(one.mount) for one in holders if one.kind and one.mount["present"]}
    there = there[there["mountpoint"].isin({one.mount["mountpoint"] for one in holders})]
    above = {(row["ns_id"], row["parent_id"], row["mountpoint"]): row for row in rows(there)}
    told = []
    for one in holders:
        count, top = 0, one.mount if one.mount["present"] else None
        while top and (top := above.get((*_place(top), top["mountpoint"]))):
            if _place(top) in wrong:
                break
            count += 1
        told.append(replace(one, on_top=count))
    return told


def _place(mount: Row) -> tuple[int, int]:
    return mount["ns_id"], mount["mount_id"]


def _together(known: pd.DataFrame, holders: list[Holder]) -> list[Holder]:
    """With what goes along where one of those that are wrong is unmounted."""
    told: list[Holder] = []
    reached: dict[int, set[tuple[int, int]]] = {}
    for one in holders:
        place = one.mount["ns_id"], one.mount["parent_id"]
        with_it = next((id for id, places in reached.items() if place in places), None)
        if one.kind and one.mount["present"] and with_it is None:
            reached[one.mount["mount_id"]] = _receivers(known, place[0], {place[1]}) - {place}
        told.append(replace(one, goes_with=with_it) if one.kind else one)
    return told


class _Ways:
    """How mounts came where they are."""

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

    def carried_from(self, namespaces: set[int]) -> set[int]:
        """The mounts that propagation carried from namespaces to others."""
        return {
            unique
            for unique, row in self._attached.items()
            if row["via"] in ("peer", "slave")
            and row["copy_of_ns_id"] in namespaces
            and row["ns_id"] not in namespaces
        }

    def _steps(self, unique: int | None) -> list[Step]:
        if unique is None:
            return [Step("there")]
        steps: list[Step] = []
        seen: set[int] = set()
        while unique is not None and unique not in seen:
            seen.add(unique)
            effect = self._attached.get(unique)
            if effect is None:
                steps.append(Step("there"))
                break
            operation = self._operations.get(effect["seq"])
            if effect["via"] in ("peer", "slave"):
                since = self._shared_since(effect["via_unique"], effect["seq"])
                steps.append(Step("carried", effect, operation, since))
            elif effect["via"] == "namespace-copy":
                steps.append(Step("inherited", effect, operation))
            elif effect["copy_of_unique"] is not None:
                steps.append(Step("bound", effect, operation))
            else:
                steps.append(Step("mounted", effect, operation))
                break
            unique = effect["copy_of_unique"]
        return steps

    def _shared_since(self, carrier: int | None, seq: int | None) -> Row | None:
        """The operation that made a mount shared."""
        if carrier is None:
            return None
        made = [
            row
            for row in self._changes.get(carrier, [])
            if row["shared"] is not None
            and not is_shared(row["before"])
            and (seq is None or row["seq"] is None or row["seq"] <= seq)
        ]
        first = self._attached.get(carrier)
        cause = made[-1] if made else first
        return self._operations.get(cause["seq"]) if cause else None

    def _kind(self, mount: Row, steps: list[Step]) -> str:
        last = next((step for step in steps if step.how != "bound"), None)
        if not mount["present"] or last is None or last.effect is None:
            return ""
        original = last.effect["copy_of_unique"]
        if last.how == "inherited":
            return "held" if original in self._unmounted else ""
        if last.how != "carried":
            return ""
        if original in self._gone:
            return "residue"
        return "leak" if last.effect["copy_of_ns_id"] != mount["ns_id"] else ""
