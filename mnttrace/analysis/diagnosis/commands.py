# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Commands that a person can give, as the model of shared subtrees carries them out.

Each works on :class:`~mnttrace.analysis.model.tables.Tables` by the paths that a person would type,
and is refused as the kernel, or the program of util-linux, would refuse it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from mnttrace.analysis.model import propagation
from mnttrace.analysis.model.detach import detach
from mnttrace.analysis.model.mounts import (
    Effect,
    Mount,
    MountId,
    Namespace,
    PropagationType,
    Refused,
    Spot,
    is_mounted,
)
from mnttrace.analysis.model.operation import go_on_with, refuse_if
from mnttrace.analysis.model.tables import Tables


@dataclass(frozen=True)
class Umount:
    """umount(8) of some paths, one after the other.

    Attributes:
        ns: the mount namespace that it is given in.
        paths: from the root of that.
        lazy: with -l.
        recursive: with -R: first all mounts on it, from the inside out. Needs /proc in the
            namespace.
    """

    ns: Namespace
    paths: tuple[str, ...]
    lazy: bool = False
    recursive: bool = False


@dataclass(frozen=True)
class ChangeType:
    """mount(8) with --make-private and the like, or --make-rprivate and the like.

    Attributes:
        ns: as for :class:`Umount`.
        path: from the root of that.
        to: the propagation type.
        recursive: also all mounts on it.
    """

    ns: Namespace
    path: str
    to: PropagationType
    recursive: bool = True


@dataclass(frozen=True)
class RemoveDirectory:
    """rmdir(1) of a directory that is a mount point in other namespaces; that it is empty is not
    known from mount tables.

    Attributes:
        ns, path: as for :class:`ChangeType`.
    """

    ns: Namespace
    path: str


@dataclass(frozen=True)
class EndNamespace:
    """Ending all processes of a mount namespace.

    Attributes:
        ns: that one.
    """

    ns: Namespace


@dataclass(frozen=True)
class MountFileSystem:
    """mount(8) of a file system.

    Attributes:
        ns, path: as for :class:`ChangeType`.
        source: what the file system is made of, such as /dev/sdb1 or "tmpfs".
        device: its device number, like "8:1"; any other text stands for a new one.
    """

    ns: Namespace
    path: str
    source: str
    device: str


@dataclass(frozen=True)
class Bind:
    """mount(8) with --bind, or --rbind.

    Attributes:
        ns: as for :class:`Umount`.
        source: what to bind, from the root of that.
        path: where to.
        recursive: with what is mounted on it.
    """

    ns: Namespace
    source: str
    path: str
    recursive: bool = False


@dataclass(frozen=True)
class Move:
    """mount(8) with --move.

    Attributes:
        ns, source, path: as for :class:`Bind`.
    """

    ns: Namespace
    source: str
    path: str


@dataclass(frozen=True)
class PivotRoot:
    """pivot_root(8).

    Attributes:
        ns: as for :class:`Umount`.
        new_root: the new root directory, a mount point.
        put_old: where the old one is put.
    """

    ns: Namespace
    new_root: str
    put_old: str


Command = (
    Umount | ChangeType | RemoveDirectory | EndNamespace | MountFileSystem | Bind | Move | PivotRoot
)


@dataclass(frozen=True)
class RefusedCommand:
    """A command that the kernel would refuse.

    Attributes:
        command: that one.
        errno: the error's name.
        reason: why, in words.
    """

    command: Command
    errno: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What commands did, one after the other.

    Attributes:
        gone: the mounts that were detached, as they were, in order of their ids.
        changed: mounts in other groups than before, or elsewhere: as they were and as they are.
    """

    gone: tuple[Mount, ...]
    changed: tuple[tuple[Mount, Mount], ...]


def outcome(
    tables: Tables, commands: Iterable[Command], *, busy: Container[MountId] = ()
) -> Outcome:
    """Try commands one after the other; the tables are unchanged afterwards.

    Args:
        tables: to try them on.
        commands: the commands.
        busy: mounts that processes use.

    Raises:
        Refused: one of them would be.
    """
    try:
        for command in commands:
            apply(tables, command, busy)
        return _outcome(tables)
    finally:
        tables.undo()


def carry_out(
    tables: Tables, commands: Iterable[Command], *, busy: Container[MountId] = ()
) -> None:
    """The same, for good.

    Raises:
        Refused: one of them would be; the tables are unchanged then.
    """
    try:
        for command in commands:
            apply(tables, command, busy)
    except Refused:
        tables.undo()
        raise
    tables.effects()


def effects_of(
    tables: Tables, command: Command, *, busy: Container[MountId] = ()
) -> list[tuple[Effect, str]]:
    """Try a command: its effects, each with the path of its mount; the tables are unchanged.

    Args:
        tables, busy: as for :func:`outcome`.
        command: the command.

    Raises:
        Refused: it would be.
        KeyError: a namespace has no mounts.
    """
    try:
        apply(tables, command, busy)
    except (Refused, KeyError):
        tables.undo()
        raise
    return tables.undo_with_effects()


def _outcome(tables: Tables) -> Outcome:
    gone: list[Mount] = []
    changed: list[tuple[Mount, Mount]] = []
    for before, after in tables.changes():
        if before is None or not is_mounted(before):
            continue
        if after is None:
            gone.append(before)
        elif after._replace(locked=before.locked) != before:
            changed.append((before, after))
    return Outcome(tuple(gone), tuple(changed))


def apply(tables: Tables, command: Command, busy: Container[MountId] = ()) -> None:
    """Carry out a command as a part of the running operation, which stays undoable.

    Args:
        tables, busy: as for :func:`outcome`.
        command: the command.

    Raises:
        Refused: it would be; the tables are to be undone then.
        KeyError: its namespace has no mounts.
    """
    match command:
        case Umount(ns, paths, lazy, recursive):
            for path in paths:
                if recursive:
                    _umount_recursively(tables, ns, path, lazy, busy)
                else:
                    _umount(tables, ns, path, lazy, busy)
        case ChangeType(ns, path, to, recursive):
            spot = where(tables, ns, path)
            go_on_with(tables, propagation.change, spot, to, recursive=recursive)
        case RemoveDirectory(ns, path):
            spot = where(tables, ns, path, follow=False)
            go_on_with(tables, propagation.remove, spot)
        case EndNamespace(ns):
            for mount in tables.in_namespace(ns):
                if mount.id in tables.mounts:
                    detach(tables, mount.id, "namespace-death")
        case MountFileSystem(ns, path, _, device):
            go_on_with(tables, propagation.mount, where(tables, ns, path), device)
        case Bind(ns, source, path, recursive):
            spots = where(tables, ns, source), where(tables, ns, path)
            go_on_with(tables, propagation.bind, *spots, recursive=recursive)
        case Move(ns, source, path):
            go_on_with(tables, propagation.move, where(tables, ns, source), where(tables, ns, path))
        case PivotRoot(ns, new_root, put_old):
            spots = where(tables, ns, new_root), where(tables, ns, put_old)
            go_on_with(tables, propagation.pivot_root, *spots)


def where(tables: Tables, ns: Namespace, path: str, *, follow: bool = True) -> Spot:
    """Where a path leads for a command that was sent to a namespace by setns(2).

    Its root directory is the topmost mount on the root of the namespace: mntns_install() in
    fs/namespace.c. Processes that were there before can have another one.

    Raises:
        KeyError: the namespace has no mounts.
        Refused: EINVAL, its root directory is not mounted any more.
    """
    return tables.resolve(ns, path, root=_root(tables, ns), follow=follow)


def _root(tables: Tables, ns: Namespace) -> Spot:
    mount = tables.mounts.get(tables.roots[ns])
    refuse_if(mount is None, "EINVAL", "the root directory is not mounted any more")
    while mount is not None and (parent := tables.mounts.get(mount.parent)) is not None:
        mount = parent
    assert mount is not None
    return tables.top(Spot(mount.id, mount.root))


def _umount(tables: Tables, ns: Namespace, path: str, lazy: bool, busy: Container[MountId]) -> None:
    spot = where(tables, ns, path)
    # A plain umount of it would only make it read-only, a lazy one leave processes without one.
    refuse_if(spot == _root(tables, ns), "EINVAL", "it is the root directory")
    go_on_with(tables, propagation.umount, spot, lazy=lazy, busy=busy)


def _umount_recursively(
    tables: Tables, ns: Namespace, path: str, lazy: bool, busy: Container[MountId]
) -> None:
    """umount -R: the mount at the path and all that is on it, each by its path.

    Of several at one path it takes the last one of the table, which is not always the topmost:
    that is left to :class:`Umount` of each.
    """
    there = [mount for mount in tables.in_namespace(ns) if tables.path(mount.id) == path]
    refuse_if(len(there) != 1, "EINVAL", "not one mount, but several or none are there")
    for inner in from_inside(tables, there[0].id):
        refuse_if(inner.id not in tables.mounts, "EINVAL", "it went with another one before")
        _umount(tables, ns, tables.path(inner.id), lazy, busy)


def from_inside(tables: Tables, mount: MountId) -> list[Mount]:
    """A mount and all that is on it, each after what is on it; in the order of umount -R, which
    takes those on one mount by their ids."""
    found: list[Mount] = []
    pending = [tables.mounts[mount]]
    while pending:
        found.append(pending.pop())
        pending += sorted(tables.children(found[-1].id), key=lambda child: _number(child.id))
    return found[::-1]


def _number(mount: MountId) -> int:
    """A number that is higher for later mounts."""
    if isinstance(mount, tuple):
        mount = mount[-1]
    return abs(mount) if isinstance(mount, int) else 0
