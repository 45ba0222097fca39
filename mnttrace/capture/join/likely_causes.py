# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which calls caused what only mount tables show, by the rules of shared subtrees.

Where the kernel does not let its mounts be walked there are but the calls and the mount tables
between them. A call's own mounts are those at its path; its copies are at the same place on what
gets propagation from the mount below (mount_namespaces(7)). What fits is given the call as its
cause, with the evidence `model`; the rest keeps the evidence `snapshot`, and no cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mnttrace.capture.join.effect_rows import EffectRows, Via
from mnttrace.capture.join.events import CallEnded
from mnttrace.capture.join.mount_state import MountState
from mnttrace.capture.join.mount_tables import MountTables
from mnttrace.capture.join.mountinfo_entries import FIRST_MADE_UP
from mnttrace.capture.join.outbox import Cause
from mnttrace.capture.join.uncaused_effects import UncausedEffects
from mnttrace.linux.syscalls import SyscallKind
from mnttrace.recording.rows import EffectRow

_Fit = tuple[EffectRow, Via, MountState | None]  # an effect, how it came, what it is a copy of


class LikelyCauses:
    """Gives effects the calls that caused them.

    Args:
        tables: as they are after the effects.
        rows: what is written to.
    """

    def __init__(self, tables: MountTables, rows: EffectRows) -> None:
        self._tables = tables
        self._rows = rows
        self._births: list[tuple[int, CallEnded, Cause]] = []

    def find(self, calls: Iterable[CallEnded]) -> None:
        """Write what births copied, and fill in the effects that wait and have no cause. All
        namespaces have been surveyed.

        Args:
            calls: those that may have changed mounts since the last survey, in their order.
        """
        for key, call, when in self._births:
            self._copied(key, call, when)
        self._births.clear()
        waiting = self._rows.waiting
        left = [row for row in waiting if row["seq"] is None and row["evidence"] == "snapshot"]
        uncaused = UncausedEffects(left, self._tables)
        # Of several calls at one path only what the last one left can be seen.
        for call in reversed(list(calls)):
            cause = Cause.of(call.row)
            for row, via, origin in self._fitting(call, uncaused):
                row["seq"], row["ts"], row["monotonic"] = cause.seq, cause.ts, cause.monotonic
                row["pid"], row["tid"] = cause.pid, cause.tid
                row["via"], row["evidence"] = via, "model"
                if origin is not None:
                    self._rows.name_origin(row, origin)

    def born(self, key: int, call: CallEnded, when: Cause) -> None:
        """A namespace that a call made was surveyed for the first time.

        Args:
            key: of the namespace; its mounts are in the tables.
            call: the call.
            when: the time of that.
        """
        self._births.append((key, call, when))

    def _copied(self, key: int, call: CallEnded, when: Cause) -> None:
        """Write that each mount is a copy of the one that the namespace's maker has at that path;
        what the maker has not, or got later than that, came by another call."""
        path, root = self._tables.path, self._tables.root_of(key)
        born = root.unique if root else FIRST_MADE_UP  # the first copy is that of the root
        sources = {
            (path(mount), mount.filesystem.device, mount.root.path): mount
            for mount in self._mounts(call.key)
            if mount.unique < born or mount.unique >= FIRST_MADE_UP
        }
        for mount in self._mounts(key):
            origin = sources.get((path(mount), mount.filesystem.device, mount.root.path))
            if mount.is_root:
                continue
            if origin is None:
                self._rows.attach(mount, "", "snapshot", when)
            else:
                cause, before = Cause.of(call.row), origin.settings
                self._rows.attach(mount, "namespace-copy", "model", cause, origin, before)

    def _mounts(self, key: int) -> list[MountState]:
        return self._tables.attached(sorted(self._tables.of_namespace(key)))

    def _fitting(self, call: CallEnded, uncaused: UncausedEffects) -> list[_Fit]:
        """The effects of a call, how each came there, and what each is a copy of."""
        # What a table shows was there when it had been read.
        since = call.row["monotonic"]
        direct = [
            row
            for row in uncaused.at(call.key, call.row["path"], _actions(call), _goes_below(call))
            if row["monotonic"] >= since
        ]
        found: list[_Fit] = [(row, "direct", None) for row in direct]
        taken = {row["mnt_id_unique"] for row in direct}
        for row in direct:
            found += [
                fit
                for fit in self._copies(row, uncaused)
                if fit[0]["monotonic"] >= since and fit[0]["mnt_id_unique"] not in taken
            ]
        return found

    def _copies(self, direct: EffectRow, uncaused: UncausedEffects) -> Iterator[_Fit]:
        origin = self._tables.recall(direct["mnt_id_unique"])
        parent = self._tables.recall(origin.parent) if origin else None
        if origin is None or parent is None or direct["action"] == "change":
            return
        action = "detach" if direct["action"] == "detach" else "attach"
        for receiver in self._tables.receivers(parent):
            above = self._tables.recall(receiver)
            is_peer = above is not None and above.group == parent.group
            for row in uncaused.on(receiver, origin.mountpoint.key, action):
                yield row, "peer" if is_peer else "slave", origin


def _actions(call: CallEnded) -> set[str]:
    """What a call can do to the mounts at its path."""
    match call.kind:
        case SyscallKind.UMOUNT:
            return {"detach"}
        case SyscallKind.PIVOT:
            return {"move"}
        case SyscallKind.MOVE_MOUNT:
            return {"move", "attach"}
        case SyscallKind.MOUNT if call.mount_action == "move":
            return {"move"}
        case SyscallKind.MOUNT if call.mount_action in ("new", "bind"):
            return {"attach"}
    return {"change"}


def _goes_below(call: CallEnded) -> bool:
    """Whether a call is about all mounts below its path, too."""
    return (
        call.is_recursive
        or call.is_lazy
        or call.kind in (SyscallKind.PIVOT, SyscallKind.MOVE_MOUNT)
    )
