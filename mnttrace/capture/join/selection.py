# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which operations and effects are written, where not all are wanted.

Effects can be found long after their operation: by a survey, or with another call. One is written
if its operation is; and that is written late if an effect that was found late is wanted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.identity import Identity
from mnttrace.capture.join.limits import ID_LETTERS, OPERATIONS_KEPT
from mnttrace.recording.rows import EffectRow, OperationRow


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted: of each kind that is given one has to fit; with none, all is wanted.

    Attributes:
        pids: operations of these processes and of all that descend from them.
        namespaces: what is done or happens in these mount namespaces, inode numbers.
        containers: the same, by the container's name or the beginning of its id.
        cgroups: operations of processes in these cgroups or below, such as "/system.slice".
        paths: what is mounted, or done, at these absolute paths or below, in any namespace.
    """

    pids: frozenset[int] = frozenset()
    namespaces: frozenset[int] = frozenset()
    containers: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    @property
    def wants_all(self) -> bool:
        """Whether nothing is filtered."""
        return not self.as_dict()

    def as_dict(self) -> dict[str, list[int] | list[str]]:
        """What is wanted, by kind, without the kinds that are not filtered."""
        kinds = ("pids", "namespaces", "containers", "cgroups", "paths")
        return {kind: sorted(getattr(self, kind)) for kind in kinds if getattr(self, kind)}


class Selection:
    """Decides what is written.

    Args:
        wanted: what is wanted.

    Attributes:
        wants_all: whether nothing is filtered.
    """

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self.wants_all = wanted.wants_all
        # Namespace → whether it is that of a container that is wanted.
        self._containers: dict[int, bool] = {}
        self._ended: set[int] = set()
        # Mounts that were attached by wanted operations: what happens to them is wanted, too, also
        # where no operation caused it, as the end of their namespace.
        self._mounts: set[int] = set()
        # Operation → None: it was wanted; its row: it was not yet, but is with a wanted effect.
        self._operations: OrderedDict[int, OperationRow | None] = OrderedDict()

    def learn(self, namespace: int, identity: Identity) -> None:
        """It is known whose a namespace is."""
        self._ended.discard(namespace)  # that was another one with its number
        if identity.kind == "container":
            self._containers[namespace] = any(
                wanted == identity.name
                or (len(wanted) >= ID_LETTERS and identity.id.startswith(wanted))
                for wanted in self._wanted.containers
            )

    def forget(self, namespace: int) -> None:
        """A namespace has ended; effects in it may still wait."""
        self._ended.add(namespace)

    def drop_ended(self) -> None:
        """No effect in a namespace that has ended waits any more."""
        for namespace in self._ended:
            self._containers.pop(namespace, None)
        self._ended.clear()

    def wants_call(self, call: CallEnded, effects: Iterable[EffectRow], cgroup: str) -> bool:
        """Whether an operation is wanted, and its effects with it.

        Args:
            call: the operation.
            effects: what was found with it, of any operation.
            cgroup: path of its process's cgroup.
        """
        wanted, row = self._wanted, call.row
        if wanted.pids and not call.descends:
            return False
        if wanted.cgroups and not _is_below(cgroup, wanted.cgroups):
            return False
        own = [effect for effect in effects if effect["seq"] == row["seq"]]
        is_wanted = self._touches_wanted(row, own)
        self._operations[row["seq"]] = None if is_wanted else row
        if len(self._operations) > OPERATIONS_KEPT:
            self._operations.popitem(last=False)
        return is_wanted

    def wanted_late(self, effects: Iterable[EffectRow]) -> list[OperationRow]:
        """The operations that were not wanted, but are with effects that were found now."""
        found: list[OperationRow] = []
        for effect in effects:
            row = self._operations.get(effect["seq"] or 0)
            if row is not None and self._touches_wanted(row, [effect]):
                self._operations[row["seq"]] = None
                found.append(row)
        return found

    def wants_effect(self, effect: EffectRow) -> bool:
        """Whether an effect is wanted: with its operation, or else for where it is."""
        mount = effect["mnt_id_unique"]
        is_wanted = self._is_wanted(effect) or (effect["seq"] is None and mount in self._mounts)
        if mount is not None:
            if effect["action"] == "detach":
                self._mounts.discard(mount)
            elif effect["action"] == "attach" and is_wanted:
                self._mounts.add(mount)
        return is_wanted

    def _is_wanted(self, effect: EffectRow) -> bool:
        seq, wanted = effect["seq"], self._wanted
        if seq is not None and seq in self._operations:
            return self._operations[seq] is None
        return (
            not wanted.pids
            and not wanted.cgroups
            and (not wanted.namespaces or effect["ns"] in wanted.namespaces)
            and (not wanted.containers or self._is_wanted_container(effect["ns_id"]))
            and (not wanted.paths or _is_below(effect["mountpoint"], wanted.paths))
        )

    def _touches_wanted(self, row: OperationRow, effects: list[EffectRow]) -> bool:
        """Whether an operation was done, or had effects, where that is wanted."""
        wanted = self._wanted
        places = [row["path"], row["source_path"], *(effect["mountpoint"] for effect in effects)]
        touched = {row["ns"], row["ns_target"], *(effect["ns"] for effect in effects)}
        keys = [row["ns_id"], row["ns_target_id"], *(effect["ns_id"] for effect in effects)]
        return (
            (not wanted.namespaces or bool(touched & wanted.namespaces))
            and (not wanted.containers or any(self._is_wanted_container(key) for key in keys))
            and (not wanted.paths or any(_is_below(place, wanted.paths) for place in places))
        )

    def _is_wanted_container(self, key: int | None) -> bool:
        return key is not None and self._containers.get(key, False)


def _is_below(path: str, tops: Iterable[str]) -> bool:
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)
