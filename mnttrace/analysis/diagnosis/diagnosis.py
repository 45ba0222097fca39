# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What every answer about a recording stands on: its tables at the end, its story, the model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis.barriers import Barrier, of_umount
from mnttrace.analysis.diagnosis.commands import where
from mnttrace.analysis.diagnosis.now import Now, locked_mounts, tables_of
from mnttrace.analysis.diagnosis.otherwise import Histories
from mnttrace.analysis.diagnosis.remedies import Remedy, find_remedy
from mnttrace.analysis.diagnosis.story import Story, ids
from mnttrace.analysis.diagnosis.verdicts import LEFT, Verdicts
from mnttrace.analysis.model.mounts import Mount, MountId, Refused, lies_under
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.names import labels, threads
from mnttrace.analysis.query.targets import known_mounts
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.moments import History
from mnttrace.analysis.state.replay import Replay
from mnttrace.analysis.untold import untold
from mnttrace.recording.namespaces import HOST

_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Typed:
    """A mount with the propagation type that it had.

    Attributes:
        path: its mount point, in its namespace.
        namespace: the row of `namespaces` of that.
        type: the propagation type.
        since: the operation since which it had that; None if it was so before the recording.
        is_known: whether `since` is known: False if no operation is known to have made it so.
    """

    path: str
    namespace: Row
    type: str
    since: Row | None = None
    is_known: bool = True


@dataclass(frozen=True)
class Stopped:
    """Why a mount or umount did not come to a namespace, with paths and operations.

    Attributes:
        barrier: by the model.
        mount: the barrier's mount.
        receiver: that of the barrier, if it has one.
        others: mount points of the mounts on it.
    """

    barrier: Barrier
    mount: Typed
    receiver: Typed | None = None
    others: tuple[str, ...] = ()


class Diagnosis:
    """Answers about a recording.

    Args:
        run: the whole recording.
        history, story: of that.
    """

    def __init__(self, run: Run, history: History, story: Story) -> None:
        self._run = run
        self._history = history
        self.story = story
        self.home: int | None = run.meta.get("home_ns_id")
        self.untold = untold(run.meta)
        self.histories = lru_cache(maxsize=4)(self._histories)

    @cached_property
    def now(self) -> Now:
        """The mount tables at the end."""
        return tables_of(self._history.at(_END), locked_mounts(self._run))

    def _histories(self, first: int) -> Histories:
        """To try changes of the history from an operation on; the last ones are kept."""
        return Histories(self._run, self.now.tables, first)

    def before(self, effect: Row) -> tuple[Now, int]:
        """The mount tables just before an effect, and the number of the first operation that had
        not ended then; after the last one, if all had."""
        operations = self._run.operations
        later = operations.loc[operations["monotonic"] >= effect["monotonic"], "seq"]
        first = _END if later.empty else int(later.min())
        frame = self._history.at(effect["monotonic"] - 1)
        return tables_of(frame, locked_mounts(self._run)), first

    @cached_property
    def _endable(self) -> frozenset[int]:
        """Namespaces with a process that was seen in them."""
        names = self._run.namespaces
        return frozenset(int(one) for one in names.loc[names["pid"].fillna(0) > 0, "ns_id"])

    @cached_property
    def known(self) -> pd.DataFrame:
        """All mounts: :func:`mnttrace.analysis.query.targets.known_mounts`."""
        return known_mounts(self._run)

    @cached_property
    def users(self) -> dict[object, tuple[Row, ...]]:
        """The processes that used mounts when a umount was refused, by unique id."""
        last = self._run.users.drop_duplicates(["mnt_id_unique", "pid", "how"], keep="last")
        found: dict[object, tuple[Row, ...]] = {}
        for row in rows(last):
            found[row["mnt_id_unique"]] = (*found.get(row["mnt_id_unique"], ()), row)
        return found

    @cached_property
    def busy(self) -> frozenset[MountId]:
        """The mounts that processes use."""
        return frozenset(self.users.keys() & self.now.tables.mounts.keys())

    def has_mount_id(self, mount_id: int) -> bool:
        """Whether a mount with that id is there at the end, in any namespace."""
        return any(one == mount_id for _, one in self.now.by_number)

    def mount(self, ns_id: int, mount_id: int) -> MountId:
        """The id in the tables at the end of a mount with a number; None if it is gone."""
        return self.now.by_number.get((ns_id, mount_id))

    def verdicts(self, mounts: Iterable[object]) -> Verdicts:
        """What is wrong with some mounts, by their unique ids."""
        return self.story.judge.mounts(ids(mounts))

    def is_left(self, mount: MountId) -> bool:
        """Whether a mount is held or left: it stays though its original is gone."""
        return bool(self.verdicts([mount]).kind[0] in LEFT)

    def remedy(self, unwanted: Iterable[MountId], busy: Collection[MountId] = ()) -> Remedy | None:
        """How to take some mounts away, with what belongs to them; None if there are none.

        Args:
            unwanted: by their ids in the tables at the end.
            busy: those that processes use, besides :attr:`busy`.
        """
        asked = [mount for mount in unwanted if mount in self.now.tables.mounts]
        if not asked:
            return None
        return find_remedy(
            self.now.tables,
            self.with_rest(asked),
            home=self.home,
            busy=self.busy | set(busy),
            endable=self._endable,
        )

    def with_rest(self, mounts: list[MountId]) -> list[MountId]:
        """Some mounts, and what belongs to those of them that are held or left, and is so, too:
        what lies on them, and what came there by the same operations."""
        verdicts = self.verdicts(mounts)
        is_left = np.isin(verdicts.kind, LEFT)
        tops = [mount for mount, is_it in zip(mounts, is_left, strict=True) if is_it]
        found = {one.id for top in tops for one in self.now.tables.tree(top)}
        lives = self.story.lives
        together = lives.together(verdicts.attached[np.flatnonzero(is_left)])
        found |= set(lives.numbers("mnt_id_unique", together).tolist())
        there = sorted(id for id in found - set(mounts) if isinstance(id, int))
        kinds = self.verdicts(there).kind
        return [*mounts, *(id for id, kind in zip(there, kinds, strict=True) if kind in LEFT)]

    def asked_to_unmount(self, operation: Row) -> list[MountId]:
        """The mount that is now where a umount was asked for; none if there is none."""
        if operation["syscall"] != "umount2":
            return []
        try:
            return [where(self.now.tables, operation["ns_id"], operation["path"]).mount]
        except (KeyError, Refused):
            return []

    def why_umount_stopped(self, copy: object) -> Stopped | None:
        """Why the umount of its original did not take a mount away; None if it is not known.

        Args:
            copy: the unique id of the mount.
        """
        gone = self.story.effect(self.verdicts([copy]).orphaned[0])
        if gone is None or gone["via"] == "namespace-death":
            return None
        operation = self.story.operation(gone["seq"])
        if operation is None:
            return None
        operations = self._run.operations
        moment = operations.loc[operations["seq"] == operation["seq"]]
        moment = moment[["seq", "monotonic", "ns_id"]]
        tables = Replay(self._run, moment).to(operation["seq"], operation["monotonic"])
        try:
            barrier = of_umount(tables, gone["mnt_id_unique"], copy)
        except KeyError:
            return None
        return None if barrier is None else self.stopped(tables, barrier, operation["seq"])

    def stopped(self, tables: Tables, barrier: Barrier, seq: int | None) -> Stopped:
        """A barrier with paths and operations.

        Args:
            tables: that it was found in.
            barrier: the barrier.
            seq: the operation that it stopped; None: it is one at the end.
        """
        receiver = barrier.receiver and self._typed(tables, barrier.receiver, seq)
        others = tuple(tables.path(one.id) for one in barrier.others)
        as_slave = barrier.kind == "sends-nothing-up"
        mount = self._typed(tables, barrier.mount, seq, as_slave=as_slave)
        return Stopped(barrier, mount, receiver, others)

    def _typed(
        self, tables: Tables, mount: Mount, seq: int | None, *, as_slave: bool = False
    ) -> Typed:
        """A mount with its type, and since when it has that; or is a slave, where that counts."""
        since = self.story.slave_since if as_slave else self.story.typed_since
        effect = since(mount.id, seq)
        operation = self.story.operation(effect["seq"]) if effect else None
        is_older = effect is None and bool(self._run.meta.get("traced"))
        is_known = is_older or operation is not None
        row = self.namespaces.get(mount.ns, {}) if isinstance(mount.ns, int) else {}
        return Typed(tables.path(mount.id), row, mount.propagation, operation, is_known)

    def file_system(self, mount: Mount) -> Row:
        """`fstype` and `source` of what is mounted, where they are known.

        Of a mount that the model predicts they are those of the last file system with its device
        number; others can have had that before.
        """
        known = self.now.facts.get(mount.id) or self.story.attached(mount.id)
        return known or self.file_systems.get(mount.device, {})

    def cover(self, mount: Row) -> Row | None:
        """What the tables at the end say of the mount that hides another one from paths: it is on
        its root, or on a directory above it; None if there is none.

        Args:
            mount: a row with `ns_id` and `mount_id`.
        """
        tables = self.now.tables
        one = tables.mounts.get(self.mount(mount["ns_id"], mount["mount_id"]))
        if one is None:
            return None
        found = tables.overmount(one)
        while found is None and one is not None:
            around = tables.children(one.parent) if one.parent in tables.mounts else []
            above = [o for o in around if o.id != one.id and lies_under(one.place, o.place)]
            found = above[0] if above else None
            one = tables.mounts.get(one.parent)
        return None if found is None else self.now.facts.get(found.id)

    @cached_property
    def file_systems(self) -> dict[str, Row]:
        """`fstype` and `source` of each device that was mounted; of the last one with a number."""
        effects = self._run.effects[["device", "fstype", "source"]].dropna(subset=["device"])
        last = effects.drop_duplicates("device", keep="last")
        found = {row["device"]: row for row in rows(last)}
        found |= {row["device"]: row for row in self.now.facts.values()}
        return found

    def facts(self, mounts: Iterable[MountId]) -> list[Row]:
        """What the tables at the end say of some mounts."""
        return [self.now.facts[mount] for mount in mounts if mount in self.now.facts]

    @cached_property
    def threads(self) -> dict[int, str]:
        """What processes are called: :func:`mnttrace.analysis.names.threads`."""
        return threads(self._run)

    @cached_property
    def namespaces(self) -> dict[int, Row]:
        """The rows of `namespaces`, with `label`; that of the recorder is of kind "host"."""
        names = labels(self._run)
        found = {
            row["ns_id"]: row | {"label": names[row["ns_id"]]} for row in rows(self._run.namespaces)
        }
        if self.home is not None:
            host = {"kind": HOST, "name": HOST, "label": HOST}
            found[self.home] = found.get(self.home, {}) | host
        return found
