# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How to keep a mount from being held, left or lost again: what is called is changed, and the
recorded history put through the model, before anything is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.diagnosis.commands import Bind, ChangeType, Command
from mnttrace.analysis.diagnosis.diagnosis import Diagnosis, Stopped, Typed
from mnttrace.analysis.diagnosis.origins import Step, arrival, steps_of
from mnttrace.analysis.diagnosis.otherwise import Left, Otherwise
from mnttrace.analysis.diagnosis.reach import Missing
from mnttrace.analysis.diagnosis.rerun import ITSELF, Changes
from mnttrace.analysis.model.mounts import MountId
from mnttrace.analysis.run import Run

MOST = 2_000  # operations that are put through the model for one answer: a second or two
_CASES = 20  # mounts that one change is to help with

Kind = Literal[
    "slaves",  # the namespace gets slaves, where its copies are private or shared
    "slaves-throughout",  # the same for all that it makes private
    "shared-before",  # what a namespace is made from is shared before it is made
    "shared-and-slaves",  # both
    "nothing-on-it",  # what stopped the umount is not mounted
    "not-shared",  # what carried it is made a slave, where it was made shared
    "carrier-slave",  # what carried it is made a slave before something is mounted there
    "receives-nothing",  # the mount that received it is private
    "slave-copy",  # what was bound is a slave, so that its umount takes nothing else
    "not-removed",  # the mount point stays
    "bind-alone",  # without what is mounted on it
    "bind-alone-and-private",  # so, and as the next one
    "private-copy",  # what was bound is private, so that later ones are not copied to it
    "sends",  # what it is mounted on stays shared with others, so that they get it
    "sends-throughout",  # the same for all that its namespace makes a slave or private
    "receives",  # the namespace has a slave, or a peer, where its copy is private
    "sends-and-receives",  # both
]


class NotTried(Exception):
    """The history cannot be put through the model.

    Args:
        reason: why not, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Prevention:
    """A change that keeps mounts from coming or going again, by the model.

    Attributes:
        kind: what is changed.
        changes: the change, of the recorded operations.
        also: mounts that nobody wants to be without, and that would not be there at the end either.
        otherwise: all that would be other than recorded.
    """

    kind: Kind
    changes: Changes
    also: tuple[Left, ...]
    otherwise: Otherwise


@dataclass(frozen=True)
class Case:
    """What is to be kept from coming, or going.

    Attributes:
        mount: its unique id.
        steps: how it came there, the last step first.
        stopped: why the umount of its original did not take it, where that is known.
        lost: the effect that took it, if it is one that is missed.
        missing: a namespace that it did not come to, and why.
    """

    mount: int
    steps: tuple[Step, ...]
    stopped: Stopped | None = None
    lost: Row | None = None
    missing: Missing | None = None


class Preventions:
    """Finds them.

    Args:
        run: the whole recording.
        diagnosis: of that.
    """

    def __init__(self, run: Run, diagnosis: Diagnosis) -> None:
        self._run = run
        self._diagnosis = diagnosis
        self._story = diagnosis.story

    def of(self, cases: Sequence[Case]) -> Prevention | None:
        """The change that helps in all cases and costs least; None if none that is tried does.

        Raises:
            NotTried: more than MOST operations would have to be put through the model, or it does
                not follow the recording.
        """
        unwanted = {one.mount for one in cases if one.lost is None and one.missing is None}
        return self._of(cases[:_CASES], unwanted)

    def of_mounts(self, mounts: Iterable[int]) -> Prevention | None:
        """The same for mounts that are there, by their unique ids.

        Raises:
            NotTried: as :meth:`of`.
        """
        unwanted = list(mounts)
        return self._of([self._case(mount) for mount in unwanted[:_CASES]], set(unwanted))

    def _of(self, looked_at: Sequence[Case], unwanted: Collection[MountId]) -> Prevention | None:
        """The change that helps in some cases, so that mounts that are unwanted are not there."""
        tried: dict[Kind, dict[int, tuple[Command | None, ...]]] = {}
        for case in looked_at:
            for kind, changes in self._candidates(case):
                self._refuse_long(min(changes))
                tried.setdefault(kind, {}).update(changes)
        return self._best(
            tried,
            lambda otherwise: all(_helps(one, otherwise) for one in looked_at),
            unwanted,
        )

    def _case(self, mount: int) -> Case:
        steps = steps_of(self._story, mount)
        stopped = None
        if self._diagnosis.is_left(mount):
            stopped = self._diagnosis.why_umount_stopped(mount)
        return Case(mount, tuple(steps), stopped)

    def _best(
        self,
        tried: Mapping[Kind, Changes],
        helps: Callable[[Otherwise], bool],
        unwanted: Collection[MountId],
    ) -> Prevention | None:
        if not tried:
            return None
        first = min(seq for changes in tried.values() for seq in changes)
        self._refuse_long(first)
        histories = self._diagnosis.histories(first)
        found = [
            Prevention(kind, changes, self._also(otherwise, unwanted), otherwise)
            for kind, changes in tried.items()
            if helps(otherwise := histories.otherwise(changes))
        ]
        best = min(found, key=_price, default=None)
        if best.otherwise.differs if best else not histories.ends_with(unwanted):
            raise NotTried("the model does not follow this part of the recording")
        return best

    def _also(self, otherwise: Otherwise, unwanted: Collection[MountId]) -> tuple[Left, ...]:
        return tuple(
            one
            for one in otherwise.gone
            if one.mount.id not in unwanted
            and one.mount.id not in otherwise.unmounted
            and not self._diagnosis.is_left(one.mount.id)
        )

    def of_growth(self, row: Row) -> Prevention | None:
        """The same for binds that grow: a row of `run.doublings`."""
        binds = [one for one in map(self._story.operation, self._binds(row)) if one]
        seqs = [one["seq"] for one in binds]
        most = int(row["made"].split(", ")[0])
        changes = dict(_of_growth(binds, row["is_below"]))
        others = {one["ns_id"] for one in binds} - {row["ns_id"]}
        births = {ns: birth for ns in sorted(others) if (birth := self._birth(ns)) is not None}
        if births:
            changes["slaves"] = {
                birth: (ITSELF, ChangeType(ns, "/", "slave", True)) for ns, birth in births.items()
            }

        def helps(otherwise: Otherwise) -> bool:
            counts = Counter(one.seq for one in otherwise.attached if one.ns == row["ns_id"])
            return all(counts[seq] <= most for seq in seqs)

        effects = self._run.effects
        made = effects[effects["seq"].isin(seqs) & (effects["action"] == "attach")]
        return self._best(changes, helps, set(made["mnt_id_unique"]))

    def _binds(self, row: Row) -> list[int]:
        """The binds of a source by a program, also those before it grew."""
        all_, last = self._run.operations, int(row["operations"].split(", ")[-1])
        same = (all_["comm"] == row["comm"]) & (all_["source_path"] == row["source_path"])
        same &= (all_["error"] == "") & (all_["seq"] <= last)
        return [int(seq) for seq in all_.loc[same, "seq"]]

    def _birth(self, ns: int) -> int | None:
        """The operation that made a namespace; None if it was there before."""
        seq = self._diagnosis.namespaces.get(ns, {}).get("seq")
        return None if seq is None else int(seq)

    def _refuse_long(self, first: int) -> None:
        """Refuse what would take too long: more operations than MOST follow."""
        follow = int((self._run.operations["seq"] >= first).sum())
        if follow > MOST:
            raise NotTried(f"{follow:,} operations follow")

    def _candidates(self, case: Case) -> Iterator[tuple[Kind, Changes]]:
        if case.lost is not None:
            yield from self._of_lost(case.lost)
            return
        if case.missing is not None:
            yield from self._of_missing(case.missing)
            return
        came = arrival(case.steps)
        if came.effect is None or came.operation is None:
            return
        if came.how == "inherited":
            spaces = [
                one.effect["ns_id"] for one in case.steps if one.effect and one.how == "inherited"
            ]
            yield from self._of_held(came.effect, case.stopped, spaces)
        elif came.how == "propagated":
            yield from self._of_propagated(came.carrier or came.effect, came.shared_since)

    def _of_held(
        self, effect: Row, stopped: Stopped | None, spaces: Iterable[int]
    ) -> Iterator[tuple[Kind, Changes]]:
        """Of a mount that was inherited by these namespaces, each made from the next one."""
        if stopped is None:
            return
        if stopped.barrier.kind == "mounts-on-it":
            on_it = [self._story.attached(one.id) for one in stopped.barrier.others]
            if on_it and all(one and one["seq"] for one in on_it):
                yield "nothing-on-it", {one["seq"]: () for one in on_it if one}
            return
        slaves = self._slaves(effect["ns_id"], stopped)
        throughout = {
            seq: change for ns in spaces for seq, change in self._slaves_throughout(ns).items()
        }
        shared = self._shared_before(effect, stopped)
        if slaves:
            yield "slaves", slaves
        if throughout:
            yield "slaves-throughout", throughout
        if shared:
            yield "shared-before", shared
        if throughout and shared:
            yield "shared-and-slaves", {**throughout, **shared}

    def _slaves(self, ns: int, stopped: Stopped) -> Changes:
        """Slaves, in place of what made the copies of a namespace private."""
        typed: Typed | None = stopped.mount
        if typed is None or typed.namespace.get("ns_id") != ns:
            typed = stopped.receiver
        row = typed.since if typed else None
        if row is None or not calls.is_type_change(row):
            return {}
        return {row["seq"]: (_slave_instead(row),)}

    def _slaves_throughout(self, ns: object) -> Changes:
        """The same for each operation in the namespace that made something private."""
        operations = self._run.operations
        its = operations[(operations["ns_id"] == ns) & (operations["error"] == "")]
        its = its[its["propagation"].isin(["private", "unbindable"])]
        return {row["seq"]: (_slave_instead(row),) for row in rows(its)}

    def _shared_before(self, effect: Row, stopped: Stopped) -> Changes:
        """What carries a umount is made shared before the namespace is made."""
        above = self._story.attached(effect["parent_unique"])
        path = stopped.mount.path if stopped.barrier.kind == "sends-nothing" else None
        if path is None and above is not None:
            path = above["copy_of_path"]
        if path is None:
            return {}
        change = ChangeType(effect["copy_of_ns_id"], path, "shared", False)
        return {effect["seq"]: (change, ITSELF)}

    def _of_propagated(
        self, effect: Row, shared_since: Row | None
    ) -> Iterator[tuple[Kind, Changes]]:
        source = effect["copy_of_ns_id"]
        birth = self._birth(source)
        if shared_since is not None and shared_since["ns_id"] == source:
            change = ChangeType(
                source, shared_since["path"], "slave", calls.is_recursive(shared_since)
            )
            if calls.is_type_change(shared_since):
                yield "not-shared", {shared_since["seq"]: (change,)}
        if birth is not None:
            slaves = ChangeType(source, "/", "slave", True)
            yield "slaves", {birth: (ITSELF, slaves)}
        if effect["via_path"]:
            change = ChangeType(source, effect["via_path"], "slave", False)
            yield "carrier-slave", {effect["seq"]: (change, ITSELF)}
        if effect["ns_id"] != self._diagnosis.home and effect["parent_path"]:
            change = ChangeType(effect["ns_id"], effect["parent_path"], "private", False)
            yield "receives-nothing", {effect["seq"]: (change, ITSELF)}

    def _of_missing(self, missing: Missing) -> Iterator[tuple[Kind, Changes]]:
        """Other propagation types of what it is mounted on, and of what would receive it."""
        stopped = missing.stopped
        is_receiver = stopped.barrier.kind == "receives-nothing"
        sender = None if is_receiver else stopped.mount
        receiver = stopped.mount if is_receiver else stopped.receiver
        sends = dict(self._shared(sender)) if sender else {}
        receives = self._receiving(receiver) if receiver else {}
        if sends:
            yield "sends", sends
        if sender and (throughout := self._left_out(sender.namespace.get("ns_id"))):
            yield "sends-throughout", throughout
        if receives:
            yield "receives", receives
        if sends and receives:
            yield "sends-and-receives", {**sends, **receives}

    def _left_out(self, ns: object) -> Changes:
        """Without what a namespace makes a slave or private."""
        operations = self._run.operations
        its = operations[(operations["ns_id"] == ns) & (operations["error"] == "")]
        its = its[its["propagation"].isin(["private", "unbindable", "slave"])]
        return {int(seq): () for seq in its["seq"]}

    def _shared(self, typed: Typed) -> Iterator[tuple[int, tuple[Command | None, ...]]]:
        """Without what made a mount a slave or private; else shared before the others were made."""
        if typed.since is not None and calls.is_type_change(typed.since):
            yield typed.since["seq"], ()
            return
        ns = typed.namespace.get("ns_id")
        effects = self._run.effects
        births = effects[(effects["via"] == "namespace-copy") & (effects["copy_of_ns_id"] == ns)]
        for seq in births["seq"].dropna().unique()[:1]:
            yield int(seq), (ChangeType(ns, typed.path, "shared", False), ITSELF)

    def _receiving(self, typed: Typed) -> Changes:
        """A slave, in place of what made a mount private, or would have, if it was so before."""
        if typed.since is not None and calls.is_type_change(typed.since):
            return {typed.since["seq"]: (_slave_instead(typed.since),)}
        return self._slaves_throughout(typed.namespace.get("ns_id"))

    def _of_lost(self, effect: Row) -> Iterator[tuple[Kind, Changes]]:
        """The mount that was unmounted was a copy: it is made a slave where it was bound, or in the
        namespace that was made with it. Or its mount point is not removed."""
        if effect["via"] == "mountpoint-removed":
            if effect["seq"] is not None:
                yield "not-removed", {effect["seq"]: ()}
            return
        bound = self._story.attached(effect["copy_of_unique"])
        row = self._story.operation(bound["seq"]) if bound else None
        if row is not None and row["path"].startswith("/"):
            change = ChangeType(row["ns_id"], row["path"], "slave", True)
            yield "slave-copy", {row["seq"]: (ITSELF, change)}
        ns = effect["copy_of_ns_id"]
        birth = self._birth(ns)
        if birth is not None:
            yield "slaves", {birth: (ITSELF, ChangeType(ns, "/", "slave", True))}


def _slave_instead(row: Row) -> ChangeType:
    return ChangeType(row["ns_id"], row["path"], "slave", calls.is_recursive(row))


def _of_growth(binds: list[Row], is_below: bool) -> list[tuple[Kind, Changes]]:
    """To bind without what is mounted on it, and to make private what was bound."""
    alone = {one["seq"]: Bind(one["ns_id"], one["source_path"], one["path"]) for one in binds}
    private = {one["seq"]: ChangeType(one["ns_id"], one["path"], "private", False) for one in binds}
    found: list[tuple[Kind, Changes]] = [
        ("bind-alone", {seq: (alone[seq],) for seq in alone}),
        ("private-copy", {seq: (ITSELF, private[seq]) for seq in alone}),
    ]
    both: Changes = {seq: (alone[seq], private[seq]) for seq in alone}
    return [*(found if is_below else found[::-1]), ("bind-alone-and-private", both)]


def _helps(case: Case, otherwise: Otherwise) -> bool:
    if case.missing is not None:
        ns, mount = case.missing.namespace.get("ns_id"), case.missing.mount
        return any(
            (one.mount.ns, one.mount.device, one.mount.root) == (ns, mount.device, mount.root)
            for one in otherwise.more
        )
    if case.lost is not None:
        return any(
            (one.mount.ns, one.path) == (case.lost["ns_id"], case.lost["mountpoint"])
            for one in otherwise.more
        )
    return any(one.mount.id == case.mount for one in otherwise.gone)


def _price(one: Prevention) -> tuple[int, int, int]:
    """The less, the better: what fails, what else does not come, what is to be changed."""
    otherwise = one.otherwise
    failing = len(otherwise.refused) + len(otherwise.impossible) + len(otherwise.elsewhere)
    commands = sum(max(1, len(some)) for some in one.changes.values())
    return failing, len(one.also), commands
