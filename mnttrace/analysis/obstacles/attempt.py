# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A call that failed, with the mount tables as they were, and what is found of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import Mount, MountId, Refused, Spot
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.obstacles.facts import INITIAL_USER_NS, Facts, Original


class Command(NamedTuple):
    """A command of util-linux or coreutils.

    Attributes:
        words: the program and its arguments.
        ns_id: the mount namespace that it is for; None: where the call was made.
    """

    words: tuple[str, ...]
    ns_id: int | None = None


class Advice(NamedTuple):
    """What can be done.

    Attributes:
        words: in words; of the commands, what they are for.
        commands: one after the other, before the call is made again or in its place; () if none
            would do.
    """

    words: str
    commands: tuple[Command, ...] = ()


class Reason(NamedTuple):
    """Why a call failed.

    Attributes:
        refused: what stands in the way.
        advice: what can be done; None: what follows from the kind.
    """

    refused: Refused
    advice: Advice | None = None


@dataclass(frozen=True)
class Attempt:
    """A call that failed.

    Attributes:
        row: its row of `operations`.
        tables: the mount tables when it began.
        facts: of the recording.
    """

    row: Row
    tables: Tables
    facts: Facts

    @property
    def is_unprivileged(self) -> bool:
        """Whether it was made in another user namespace than the initial one."""
        return bool(self.row["userns"] != INITIAL_USER_NS)

    def spot(self, column: str = "path") -> Spot:
        """What a path of the call led to; raises as :func:`calls.spot_of` does."""
        return calls.spot_of(self.tables, self.row, column)

    def at(self, path: str) -> Spot:
        """What another path like that leads to; raises the same."""
        return calls.spot_at(self.tables, self.row, path)

    def inside(self, path: str) -> Spot:
        """What a path leads to from the caller's root directory on; raises the same."""
        return calls.spot_inside(self.tables, self.row, path)

    def locked_on(self, spot: Spot) -> tuple[list[Mount], bool]:
        """The mounts on a directory and below it, on its mount, that are locked there, and whether
        they are known to be.

        A namespace of another user namespace that was there before the recording may have been
        given its mounts, or may have made them itself: its mounts are taken for locked if none is
        known to be.
        """
        root = self.tables.mounts[spot.mount]
        children = [
            child
            for child in self.tables.children(root.id)
            if child.place != root.root and _is_under(child.place, spot.place)
        ]
        locked = [child for child in children if child.locked]
        if locked or not self.is_unprivileged:
            return locked, True
        found = [(child, self.facts.given(child.id, self.row)) for child in children]
        return [child for child, given in found if given and not given.is_certain], False

    def original(self, mount: MountId) -> Original | None:
        """The mount of a more privileged namespace that a locked one is a copy of: as recorded, or
        the host's mount at the same place."""
        recorded = self.facts.original(mount)
        if recorded is not None and not self.facts.is_less_privileged(recorded.ns_id):
            return recorded
        found = self.tables.mounts.get(mount if recorded is None else recorded.mount)
        parent = None if found is None else self.tables.mounts.get(found.parent)
        home = self.facts.home
        if found is None or parent is None or home is None:
            return None
        for same in self.tables.mounted_on(parent.device, found.place):
            if same.ns == home != found.ns and same.device == found.device:
                return Original(same.id, home, self.tables.path(same.id))
        return None

    def unmount_originals(self, mounts: tuple[MountId, ...]) -> Advice:
        """Unmounting what locked mounts are copies of, before their namespace is made."""
        words = "before this namespace is made, unmount what came with it"
        found = [self.original(mount) for mount in mounts]
        commands = [Command(("umount", one.path), one.ns_id) for one in found if one is not None]
        return Advice(words, tuple(dict.fromkeys(commands)))


def _is_under(place: str, above: str) -> bool:
    return above in (place, "/") or place.startswith(above + "/")
