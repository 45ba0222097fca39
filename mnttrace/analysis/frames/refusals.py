# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Operations that the kernel refused, and why, where the mount tables show it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.diagnosis.calls import action_of, spot_of
from mnttrace.analysis.model.mounts import MountId, Namespace, Refused, RefusedAsShared
from mnttrace.analysis.model.tables import Tables
from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run
from mnttrace.analysis.settings import is_shared
from mnttrace.analysis.state.replay import Replay
from mnttrace.linux import flags
from mnttrace.linux.flags import MOUNT, MOUNT_ATTR

COLUMNS = ["seq", "ts", "ns", "ns_id", "name", "pid", "comm", "syscall", "path", "source_path"]
COLUMNS += ["error", "reason", "in_the_way", "since_seq"]
# The errors that mount tables can explain.
_ERRORS = {"EINVAL", "EBUSY", "ELOOP", "ENOSPC", "EPERM"}
_ASKED = ["seq", "monotonic", "error", "attributes", *calls.COLUMNS]
# Options that a less privileged namespace may not clear (lock_mnt_tree() in fs/namespace.c), in the
# words of mountinfo: the flag of mount(2) that keeps each, and the attribute of mount_setattr(2).
_LOCKABLE = {
    "ro": (MOUNT["MS_RDONLY"], MOUNT_ATTR["MOUNT_ATTR_RDONLY"]),
    "nosuid": (MOUNT["MS_NOSUID"], MOUNT_ATTR["MOUNT_ATTR_NOSUID"]),
    "nodev": (MOUNT["MS_NODEV"], MOUNT_ATTR["MOUNT_ATTR_NODEV"]),
    "noexec": (MOUNT["MS_NOEXEC"], MOUNT_ATTR["MOUNT_ATTR_NOEXEC"]),
}
_SHOWN = 5  # mounts or processes in the way that are named


@dataclass(frozen=True)
class Refusal:
    """Why one operation was refused.

    Attributes:
        seq: the operation.
        reason: in words.
        mounts: unique ids of the mounts in the way.
        in_the_way: these mounts, or the processes that use the mount, in words; "" if not known.
        is_shared: whether the mounts are in the way because they are shared.
    """

    seq: int
    reason: str
    mounts: tuple[MountId, ...]
    in_the_way: str
    is_shared: bool = False


def refused(run: Run, most: int | None = None) -> list[Refusal]:
    """The failed operations that the rules of shared subtrees refuse, in order.

    Args:
        run: the whole recording.
        most: look at the first so many failed operations; None: at all.

    An operation is tried on the tables as they were when it began. If the model refuses it with the
    error that the kernel gave, the model's reason is taken for the kernel's.
    """
    operations = run.operations
    failed = operations[operations["error"] != ""].head(most or len(operations))
    failed = failed[failed["error"].isin(_ERRORS) & failed["syscall"].isin(calls.CALLS)]
    if failed.empty:
        return []
    # Other namespaces matter only if one of them may have had too many mounts.
    narrow = bool((failed["error"] != "ENOSPC").all())
    trial = _Trial(run, Replay(run, failed[["seq", "monotonic", "ns_id"]], narrow))
    return [one for row in rows(failed, _ASKED) if (one := trial.of(row))]


def refusals(run: Run) -> pd.DataFrame:
    """Operations that were refused, why, and since when.

    Only those that something is in the way of: runtimes often unmount what is not mounted, and
    these refusals are left out.

    Returns:
        A frame with COLUMNS, a row an operation. `ns` and `ns_id` are the caller's namespace,
        `name` its label. `in_the_way` are the mounts or processes in the way, `since_seq` is the
        operation that attached the first of these mounts, or made it shared if that is the reason;
        null if it was so before the recording.

    Raises:
        RecordingError: a table cannot be read.
    """
    busy = set(run.operations.loc[run.operations["error"].isin(["EBUSY", "ENOSPC"]), "seq"])
    found = [one for one in refused(run) if one.mounts or one.seq in busy]
    frame = pd.DataFrame(
        {
            "seq": pd.array([one.seq for one in found], "UInt64"),
            "reason": pd.array([one.reason for one in found], "string[pyarrow]"),
            "in_the_way": pd.array([one.in_the_way for one in found], "string[pyarrow]"),
            "since_seq": pd.array(_since(run, found), "UInt64"),
        }
    ).merge(run.operations, on="seq")
    inode = "mnt:[" + frame["ns"].astype("string[pyarrow]") + "]"
    return frame.assign(name=frame["ns_id"].map(labels(run)).astype(inode.dtype).fillna(inode))[
        COLUMNS
    ]


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
            counts = row["action"] == "attach" or (one.is_shared and became_shared)
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
        users = run.users
        self._users = {seq: list(rows(some)) for seq, some in users.groupby("seq")}
        effects = run.effects
        births = effects[(effects["via"] == "namespace-copy") & effects["locked"]]
        self._options = dict(zip(births["mnt_id_unique"], births["after"], strict=True))

    def of(self, row: Row) -> Refusal | None:
        tables = self._replay.to(row["seq"], row["monotonic"])
        try:
            why = self._locks(tables, row) if row["error"] == "EPERM" else None
            why = why or calls.refusal(tables, row)
        except Refused as error:
            why = error  # a path does not resolve
        except KeyError:
            return None  # a mount that it worked on is not in the tables
        if why:
            if why.errno != row["error"]:
                return None
            in_the_way = [
                self._mount(tables, mount) for mount in why.mounts if mount in tables.mounts
            ]
            as_shared = isinstance(why, RefusedAsShared)
            return Refusal(row["seq"], why.reason, why.mounts, _listed(in_the_way), as_shared)
        if row["error"] == "ENOSPC":
            return self._too_many(tables, row)
        if row["syscall"] == "umount2" and row["error"] == "EBUSY":
            return Refusal(
                row["seq"], self._how_busy(tables, row), (), _listed(self._users_of(row))
            )
        return None

    def _mount(self, tables: Tables, mount: MountId) -> str:
        found = tables.mounts[mount]
        where = self._names.get(found.ns, "")
        return f"{tables.path(mount)} in {where}" if where else tables.path(mount)

    def _how_busy(self, tables: Tables, row: Row) -> str:
        target = tables.top(spot_of(tables, row, "path")).mount
        used = {user["mnt_id_unique"] for user in self._users.get(row["seq"], [])}
        what = "it"
        if used and target not in used:
            what = "a copy of it that the umount would take along, not this mount"
        return f"processes use {what}: as working or root directory, or through open files"

    def _users_of(self, row: Row) -> list[str]:
        users = self._users.get(row["seq"], [])
        return [f"{user['comm']}[{user['pid']}] ({user['how']} {user['path']})" for user in users]

    def _locks(self, tables: Tables, row: Row) -> Refused | None:
        """Locked flags that it would clear: a less privileged namespace got the mount with them."""
        mount = tables.top(spot_of(tables, row, "path")).mount
        has = str(self._options.get(mount, "")).partition(" ")[2].split(",")
        if row["syscall"] == "mount_setattr":
            _, clear = flags.attributes_values(row["attributes"])
            cleared = [name for name, (_, attribute) in _LOCKABLE.items() if clear & attribute]
        elif row["syscall"] == "mount" and action_of(row) == "reconfigure":
            kept = row["flags_value"]
            cleared = [name for name, (flag, _) in _LOCKABLE.items() if not kept & flag]
        else:
            return None
        locked = [name for name in cleared if name in has]
        if not locked:
            return None
        reason = f"a less privileged namespace may not clear {', '.join(locked)}"
        return Refused("EPERM", f"{reason}: the mount came with it", mount)

    def _too_many(self, before: Tables, row: Row) -> Refusal | None:
        """The namespace that would get more mounts than fs.mount-max, see count_mounts()."""
        if not self._most or row["syscall"] != "mount":
            return None
        after = before.copy()
        calls.carry_out(after, row)
        touched = {mount.ns for mount in after.mounts.values() if mount.id not in before.mounts}
        for ns in touched:
            has, would = _count(before, ns), _count(after, ns)
            if would > self._most:
                name = self._names.get(ns, f"mnt:[{ns}]")
                reason = f"{name} has {has} mounts and would have {would}"
                return Refusal(row["seq"], f"{reason}: fs.mount-max is {self._most}", (), "")
        return None


def _count(tables: Tables, ns: Namespace) -> int:
    """How many mounts a namespace has, with its lowest root, which mountinfo does not show."""
    mounts = tables.in_namespace(ns)
    hidden = {mount.parent for mount in mounts} - {None} - tables.mounts.keys()
    return len(mounts) + len(hidden)


def _listed(things: list[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return ", ".join(dict.fromkeys(things[:_SHOWN])) + more
