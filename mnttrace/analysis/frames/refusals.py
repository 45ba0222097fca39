# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations that the kernel refused, and why, where the mount tables show it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import MountId, Obstacle, Refused
from mnttrace.analysis.model.operation import is_root
from mnttrace.analysis.model.propagation import NOT_A_MOUNT
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.names import labels
from mnttrace.analysis.obstacles.advice import advice
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Command, Reason
from mnttrace.analysis.obstacles.facts import INITIAL_USER_NS, Facts, within
from mnttrace.analysis.obstacles.limits import (
    MAKES_NAMESPACES,
    too_many_mounts,
    too_many_namespaces,
)
from mnttrace.analysis.obstacles.locked_flags import locked_flags
from mnttrace.analysis.obstacles.overlays import overlay
from mnttrace.analysis.obstacles.owners import not_its_namespace
from mnttrace.analysis.obstacles.sources import removed, root_directory
from mnttrace.analysis.obstacles.visibility import not_visible
from mnttrace.analysis.run import Run
from mnttrace.analysis.settings import is_shared
from mnttrace.analysis.state.replay import Replay

COLUMNS = ["seq", "ts", "ns", "ns_id", "name", "pid", "comm", "syscall", "path", "source_path"]
_COMMANDS = pd.ArrowDtype(
    pa.list_(pa.struct([("words", pa.list_(pa.string())), ("ns_id", pa.uint64())]))
)
COLUMNS += ["error", "obstacle", "reason", "in_the_way", "since_seq", "advice", "commands"]
# The errors that mount tables can explain.
_ERRORS = {"EINVAL", "EBUSY", "ELOOP", "ENOSPC", "EPERM", "ENOENT"}
_CALLS = {*calls.TRIED, *MAKES_NAMESPACES, "fsopen", "fsconfig", "fsmount"}
_ASKED = ["seq", "monotonic", "error", "attributes", "pid", "parent", "pidns", "userns"]
_ASKED += ["source", "fstype", "data", *calls.COLUMNS]
# What other tables than those of the model explain; each is asked, the first that knows tells.
_REASONS = (
    not_its_namespace,
    root_directory,
    removed,
    locked_flags,
    not_visible,
    overlay,
    too_many_namespaces,
)
_AS_SHARED = ("shared", "copy-in-use")  # what is in the way because it is shared
_SHOWN = 5  # mounts or processes in the way that are named


@dataclass(frozen=True)
class Refusal:
    """Why one operation was refused.

    Attributes:
        seq: the operation.
        obstacle: what stands in the way.
        reason: in words.
        mounts: unique ids of the mounts in the way.
        in_the_way: these mounts, or the processes that use the mount, in words; "" if not known.
        advice: what can be done.
        path_outside: its path from the root of the namespace, if the caller was in a chroot, and
            the recording is an older one that has the path in there.
        is_usual: whether programs try it in vain as a matter of course: a umount, or a change of
            propagation, of what is no mount.
    """

    seq: int
    obstacle: Obstacle
    reason: str
    mounts: tuple[MountId, ...]
    in_the_way: str
    advice: Advice
    path_outside: str | None = None
    is_usual: bool = False


def refused(
    run: Run, most: int | None = None, operations: pd.DataFrame | None = None
) -> list[Refusal]:
    """The failed operations that mount tables explain, in order.

    Args:
        run: the whole recording.
        most: look at the first so many failed operations; None: at all.
        operations: of these; None: of all.

    An operation is tried on the tables as they were when it began. If it is refused there with the
    error that the kernel gave, the reason is taken for the kernel's.
    """
    operations = run.operations if operations is None else operations
    failed = operations[operations["error"] != ""].head(most or len(operations))
    failed = failed[failed["error"].isin(_ERRORS) & failed["syscall"].isin(_CALLS)]
    if failed.empty:
        return []
    # Other namespaces matter only if one may have too many mounts, a directory that an overlay
    # wants, or the original of a mount that is locked in this one.
    wide = (failed["error"] == "ENOSPC") | (failed["fstype"] == "overlay")
    wide |= failed["userns"] != INITIAL_USER_NS
    narrow = not wide.any()
    trial = _Trial(run, Replay(run, failed[["seq", "monotonic", "ns_id"]], narrow))
    return [one for row in rows(failed, _ASKED) if (one := trial.of(row))]


def reasons(run: Run, operations: pd.DataFrame | None = None) -> pd.DataFrame:
    """Operations that failed, why, since when, and what can be done.

    Args:
        run: the whole recording.
        operations: those to look at, rows of `run.operations`; None: all.

    Returns:
        A frame with COLUMNS, a row an operation. `ns` and `ns_id` are the caller's namespace,
        `name` its label. `obstacle` is what stands in the way, one of
        :data:`mnttrace.analysis.model.mounts.Obstacle`; `in_the_way` are the mounts or processes,
        `since_seq` is the operation that attached the first of these mounts, or made it shared if
        it is in the way as such; null if it was so before the recording. `advice` is in words,
        `commands` are those that do it: each with `words` and `ns_id`, null for the namespace of
        the call. `path_outside` and `is_usual` come last: see :class:`Refusal`.

    Raises:
        RecordingError: a table cannot be read.
    """
    found = refused(run, operations=operations)
    frame = pd.DataFrame(
        {
            "seq": pd.array([one.seq for one in found], "UInt64"),
            "obstacle": pd.array([one.obstacle for one in found], "string[pyarrow]"),
            "reason": pd.array([one.reason for one in found], "string[pyarrow]"),
            "in_the_way": pd.array([one.in_the_way for one in found], "string[pyarrow]"),
            "since_seq": pd.array(_since(run, found), "UInt64"),
            "advice": pd.array([one.advice.words for one in found], "string[pyarrow]"),
            "commands": pd.Series([_told(one.advice.commands) for one in found], dtype=_COMMANDS),
            "path_outside": pd.array([one.path_outside for one in found], "string[pyarrow]"),
            "is_usual": pd.array([one.is_usual for one in found], "boolean"),
        }
    ).merge(run.operations, on="seq")
    inode = "mnt:[" + frame["ns"].astype("string[pyarrow]") + "]"
    return frame.assign(name=frame["ns_id"].map(labels(run)).astype(inode.dtype).fillna(inode))[
        [*COLUMNS, "path_outside", "is_usual"]
    ]


def refusals(run: Run) -> pd.DataFrame:
    """The same without what programs try in vain as a matter of course, and without what nothing
    is in the way of.

    Returns:
        A frame with COLUMNS.

    Raises:
        RecordingError: a table cannot be read.
    """
    found = run.reasons
    counts = ~found["is_usual"] & ((found["obstacle"] != "other") | (found["in_the_way"] != ""))
    return found.loc[counts, COLUMNS].reset_index(drop=True)


def _told(commands: tuple[Command, ...]) -> list[dict[str, object]]:
    return [{"words": list(one.words), "ns_id": one.ns_id} for one in commands]


def _since(run: Run, found: list[Refusal]) -> list[int | None]:
    """The operations since which the first mount in the way was in the way."""
    effects = run.effects
    theirs = effects[effects["mnt_id_unique"].isin({one.mounts[0] for one in found if one.mounts})]
    theirs = theirs[theirs["action"].isin(["attach", "change"]) & theirs["seq"].notna()]
    by_mount: dict[MountId, list[Row]] = {}
    for row in rows(theirs, ["seq", "mnt_id_unique", "action", "shared", "before"]):
        by_mount.setdefault(row["mnt_id_unique"], []).append(row)

    def since(one: Refusal) -> int | None:
        for row in reversed(by_mount.get(one.mounts[0], []) if one.mounts else []):
            became_shared = row["shared"] is not None and not is_shared(row["before"])
            counts = row["action"] == "attach" or (one.obstacle in _AS_SHARED and became_shared)
            if counts and row["seq"] < one.seq:
                return int(row["seq"])
        return None

    return [since(one) for one in found]


class _Trial:
    """Tries operations on the mount tables as they were when each began."""

    def __init__(self, run: Run, replay: Replay) -> None:
        self._replay = replay
        self._names = labels(run)
        self._most = run.meta.get("mount_max")
        self._facts = Facts(run)
        users = run.users
        self._users = {seq: list(rows(some)) for seq, some in users.groupby("seq")}

    def of(self, row: Row) -> Refusal | None:
        tables = self._replay.to(row["seq"], row["monotonic"])
        row["chroot"] = self._facts.chroot(row) if row["root_unique"] is None else None
        if _is_in_vain(row, tables):
            return Refusal(
                row["seq"], "no-mount", NOT_A_MOUNT, (), "", Advice(""), _outside(row), True
            )
        attempt = Attempt(row, tables, self._facts)
        try:
            found = self._reason(attempt)
        except Refused as error:
            found = Reason(error)  # a path does not resolve
        except KeyError:
            return None  # a mount that it worked on is not in the tables
        if found is None or found.refused.errno != row["error"]:
            return None
        why = found.refused
        in_the_way = [self._mount(tables, mount) for mount in why.mounts if mount in tables.mounts]
        if why.kind in ("in-use", "copy-in-use"):
            in_the_way = self._users_of(row)
        can_do = found.advice or advice(attempt, why)
        is_usual = why.kind == "no-mount" and (row["syscall"] == "umount2" or row["propagation"])
        return Refusal(
            row["seq"],
            why.kind,
            why.reason,
            why.mounts,
            _listed(in_the_way),
            can_do,
            _outside(row),
            bool(is_usual),
        )

    def _reason(self, attempt: Attempt) -> Reason | None:
        row = attempt.row
        for reason in _REASONS:
            if (found := reason(attempt)) is not None:
                return found
        if row["syscall"] not in calls.TRIED:
            return None
        if (refused := calls.refusal(attempt.tables, row)) is not None:
            return Reason(refused)
        if row["syscall"] == "umount2" and row["error"] == "EBUSY":
            return Reason(self._busy(attempt))
        return too_many_mounts(attempt, self._most, self._names)

    def _mount(self, tables: Tables, mount: MountId) -> str:
        found = tables.mounts[mount]
        where = self._names.get(found.ns, "")
        return f"{tables.path(mount)} in {where}" if where else tables.path(mount)

    def _busy(self, attempt: Attempt) -> Refused:
        """A umount that processes are in the way of, or those of a copy that it would take along:
        the parent's peer group is in the way then."""
        tables = attempt.tables
        target = tables.mounts[tables.top(attempt.spot()).mount]
        used = {user["mnt_id_unique"] for user in self._users.get(attempt.row["seq"], [])}
        what = "it"
        kind: Obstacle = "in-use"
        mounts: tuple[MountId, ...] = ()
        if used and target.id not in used:
            what = "a copy of it that the umount would take along, not this mount"
            kind, mounts = "copy-in-use", (target.parent,)
        reason = f"processes use {what}: as working or root directory, or through open files"
        return Refused("EBUSY", reason, *mounts, kind=kind)

    def _users_of(self, row: Row) -> list[str]:
        users = self._users.get(row["seq"], [])
        return [f"{user['comm']}[{user['pid']}] ({user['how']} {user['path']})" for user in users]


def _is_in_vain(row: Row, tables: Tables) -> bool:
    """Whether a umount is of what is no mount, as programs ask for by the thousand: told at once,
    as it would be by trying."""
    if row["syscall"] != "umount2" or row["error"] != "EINVAL":
        return False
    if row["path"] == (row["root_path"] or "/"):
        return False  # its root directory is none: that is said
    try:
        return not is_root(tables, tables.top(calls.spot_of(tables, row, "path")))
    except (KeyError, Refused):
        return False


def _outside(row: Row) -> str | None:
    is_known = row["chroot"] is None or row["root_path"] is not None
    return None if is_known else within(row["chroot"], row["path"])


def _listed(things: list[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return ", ".join(dict.fromkeys(things[:_SHOWN])) + more
