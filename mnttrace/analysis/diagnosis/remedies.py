# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Remedies: which commands take some mounts away, and what else these take, tried on the model."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from mnttrace.analysis.diagnosis.commands import (
    ChangeType,
    Command,
    EndNamespace,
    Outcome,
    RefusedCommand,
    RemoveDirectory,
    Umount,
    carry_out,
    from_inside,
    outcome,
    where,
)
from mnttrace.analysis.model.mounts import Mount, MountId, Namespace, Refused, Spot, lies_under
from mnttrace.analysis.model.tables import Tables

_LISTED = 8  # mounts of a tree whose paths are listed, rather than unmounted by -R or -l
_CUT = 3  # mounts elsewhere that are made private first, so that they keep theirs
_TREES = 20  # trees that commands are sought for, for one answer

Kind = Literal["umount", "rmdir", "end"]


@dataclass(frozen=True)
class Trial:
    """Commands that were tried, and what they do.

    Attributes:
        commands: in order.
        also_gone: mounts that they take, and that nobody asked to be taken.
        cut_off: mounts that stay, and neither send to nor receive from their former peers then.
    """

    commands: tuple[Command, ...]
    also_gone: tuple[Mount, ...] = ()
    cut_off: tuple[Mount, ...] = ()


@dataclass(frozen=True)
class Remedy:
    """How to take some mounts away.

    Attributes:
        trial: the best commands.
        others: other ways that take no more than these do.
        refused: what is likely to be tried first, and would be refused.
        left: the mounts that no command takes, or that were not looked at, as they were too many.
    """

    trial: Trial
    others: tuple[Trial, ...] = ()
    refused: tuple[RefusedCommand, ...] = ()
    left: tuple[Mount, ...] = ()


def find_remedy(
    tables: Tables,
    unwanted: Collection[MountId],
    *,
    home: Namespace,
    busy: Collection[MountId] = (),
    endable: Collection[Namespace] = (),
) -> Remedy:
    """The shortest commands that take some mounts away, and nothing else where that can be had.

    Args:
        tables: as they are now; unchanged afterwards.
        unwanted: what is to be taken.
        home: the mount namespace in which commands are given that need no other one.
        busy: mounts that processes use.
        endable: namespaces whose processes can be ended.
    """
    roots = [mount for mount in _in_order(tables, unwanted) if mount.parent not in unwanted]
    search = _Search(
        tables if len(roots) == 1 else tables.copy(), frozenset(unwanted), home, busy, endable
    )
    refused = search.refused(roots[0]) if roots else None
    commands, others = search.all_of([root.id for root in roots[:_TREES]])
    whole = _Search(tables, frozenset(unwanted), home, busy, endable)
    gone = {mount.id for mount in outcome(tables, commands, busy=busy).gone}
    return Remedy(
        whole.tried(commands) or Trial(()),
        tuple(others) if len(roots) == 1 else (),
        () if refused is None else (refused,),
        tuple(mount for mount in _in_order(tables, unwanted) if mount.id not in gone),
    )


def _in_order(tables: Tables, mounts: Collection[MountId]) -> list[Mount]:
    """Mounts that are in the tables, each after its parent."""
    found = [tables.mounts[mount] for mount in mounts if mount in tables.mounts]
    return sorted(found, key=lambda mount: _depth(tables, mount))


def _depth(tables: Tables, mount: Mount) -> int:
    depth, found = 0, tables.mounts.get(mount.parent)
    while found is not None:
        depth, found = depth + 1, tables.mounts.get(found.parent)
    return depth


@dataclass(frozen=True)
class _Search:
    tables: Tables
    unwanted: frozenset[MountId]
    home: Namespace
    busy: Collection[MountId]
    endable: Collection[Namespace]

    def tried(
        self, commands: tuple[Command, ...], wanted: Collection[MountId] = ()
    ) -> Trial | None:
        """What commands do; None if one is refused, or if they do not take what is wanted."""
        try:
            done = outcome(self.tables, commands, busy=self.busy)
        except (Refused, KeyError):
            return None
        gone = {mount.id for mount in done.gone}
        if not gone.issuperset(wanted):
            return None
        also = tuple(mount for mount in done.gone if mount.id not in self.unwanted)
        return Trial(commands, also, _cut_off(commands, done))

    def all_of(self, roots: list[MountId]) -> tuple[tuple[Command, ...], list[Trial]]:
        """Commands that take trees one after the other, and other ways to take the last one.

        Of more than one tree they are carried out: what one leaves decides what the next one needs.
        What cannot be taken may be when others have gone.
        """
        commands: tuple[Command, ...] = ()
        others: list[Trial] = []
        left = roots
        while left:
            later: list[MountId] = []
            for root in left:
                ways = self.ways(root)
                if not ways:
                    later.append(root)
                    continue
                commands, others = commands + ways[0].commands, ways[1:]
                if len(roots) > 1:
                    carry_out(self.tables, ways[0].commands, busy=self.busy)
            left = [root for root in later if len(later) < len(left)]
        return commands, others

    def ways(self, id: MountId) -> list[Trial]:
        """The best way of each kind to take what is left of a tree; the best one first."""
        root = self.tables.mounts.get(id)
        if root is None:
            return []
        wanted = {mount.id for mount in self.tables.tree(id)} & self.unwanted
        best: dict[Kind, Trial] = {}
        for kind, commands in self._candidates(root):
            trial = self.tried(commands, wanted)
            if trial and (kind not in best or self._price(trial) < self._price(best[kind])):
                best[kind] = trial
        found = sorted(best.values(), key=self._price)
        return [one for one in found if self._harm(one) <= self._harm(found[0]) or _ends(one)]

    def _harm(self, trial: Trial) -> tuple[int, int, int]:
        """What else goes; what is cut off at home, which others may need; what is elsewhere."""
        at_home = sum(mount.ns == self.home for mount in trial.cut_off)
        return len(trial.also_gone), at_home, len(trial.cut_off) - at_home

    def _price(self, trial: Trial) -> tuple[tuple[int, int, int], int, int]:
        """The less, the better: harm, then the number of commands, then what they cost."""
        costs = [_cost(command) for command in trial.commands]
        return self._harm(trial), len(costs), sum(costs)

    def refused(self, root: Mount) -> RefusedCommand | None:
        """The command that comes to mind first, a plain umount, if it would be refused."""
        path = self.tables.path(root.id)
        command = Umount(root.ns, (path,))
        try:
            outcome(self.tables, [command], busy=self.busy)
        except Refused as why:
            return None if path == "/" else RefusedCommand(command, why.errno, why.reason)
        except KeyError:
            pass
        return None

    def _candidates(self, root: Mount) -> Iterator[tuple[Kind, tuple[Command, ...]]]:
        for first, then in itertools.product(self._first(root), self._umounts(root)):
            yield "umount", (*first, *then)
        for path in self._paths_at_home(root):
            yield "rmdir", (RemoveDirectory(self.home, path),)
        if root.ns != self.home and root.ns in self.endable:
            yield "end", (EndNamespace(root.ns),)

    def _first(self, root: Mount) -> Iterator[tuple[Command, ...]]:
        """What can keep a umount from propagating."""
        yield ()
        path = self.tables.path(root.id)
        if any(mount.group is not None for mount in self.tables.tree(root.id)):
            yield (ChangeType(root.ns, path, "slave"),)
            yield (ChangeType(root.ns, path, "private"),)
        parent = self.tables.mounts.get(root.parent)
        if parent is not None and parent.group is not None:
            above = self.tables.path(parent.id)
            yield (ChangeType(root.ns, above, "slave", recursive=False),)
            yield (ChangeType(root.ns, above, "private", recursive=False),)
            yield from self._cut_others(root, parent)

    def _cut_others(self, root: Mount, parent: Mount) -> Iterator[tuple[Command, ...]]:
        """To make private what has copies that are to stay, where these are few."""
        others = [
            receiver
            for receiver, _ in self.tables.receivers(parent)
            if (copy := self.tables.child(Spot(receiver.id, root.place))) is not None
            and copy.id not in self.unwanted
        ]
        if 0 < len(others) <= _CUT:
            for recursive in (False, True):
                yield tuple(
                    ChangeType(other.ns, self.tables.path(other.id), "private", recursive)
                    for other in others
                )

    def _umounts(self, root: Mount) -> Iterator[tuple[Command, ...]]:
        ns, path = root.ns, self.tables.path(root.id)
        tree = from_inside(self.tables, root.id)
        ways = [Umount(ns, (path,)), Umount(ns, (path,), lazy=True)]
        if len(tree) > 1:
            ways.append(Umount(ns, (path,), recursive=True))
        if 1 < len(tree) <= _LISTED:
            ways.append(Umount(ns, tuple(self.tables.path(mount.id) for mount in tree)))
        yield from ((way,) for way in ways)
        cover = self._cover(root)
        if cover is not None:
            first = Umount(ns, (cover,), lazy=True)
            yield from ((first, way) for way in ways)

    def _cover(self, root: Mount) -> str | None:
        """The path of the lowest mount that hides a mount from paths, if there is one."""
        mount: Mount | None = root
        found = None
        while mount is not None and (parent := self.tables.mounts.get(mount.parent)) is not None:
            for other in self.tables.children(parent.id):
                if other.id != mount.id and lies_under(mount.place, other.place):
                    found = self.tables.path(other.id)
            mount = parent
        return found

    def _paths_at_home(self, root: Mount) -> Iterator[str]:
        """The paths in the home namespace of the directory that a mount elsewhere is on."""
        parent = self.tables.mounts.get(root.parent)
        if parent is None or root.ns == self.home:
            return
        for through in self.tables.in_namespace(self.home):
            if through.device == parent.device and lies_under(root.place, through.root):
                inside = root.place[len(through.root.rstrip("/")) :]
                path = self.tables.path(through.id).rstrip("/") + inside
                spot = where(self.tables, self.home, path, follow=False)
                if inside and spot == Spot(through.id, root.place):
                    yield path


def _cut_off(commands: tuple[Command, ...], done: Outcome) -> tuple[Mount, ...]:
    where = {command.ns for command in commands if isinstance(command, ChangeType)}
    return tuple(
        before
        for before, after in done.changed
        if before.ns in where and before.group is not None and after.group is None
    )


def _ends(trial: Trial) -> bool:
    return any(isinstance(command, EndNamespace) for command in trial.commands)


def _cost(command: Command) -> int:
    match command:
        case Umount(_, paths, lazy, recursive):
            return len(paths) + (_LISTED if lazy or recursive else 0)
        case ChangeType(_, _, to, _):
            return 1 if to == "slave" else 2
        case RemoveDirectory():
            return _LISTED
        case _:
            return 2 * _LISTED
