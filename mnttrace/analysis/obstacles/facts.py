# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a recording tells of mounts beside their places: file systems, options, where they are from.

All of it is looked up when it is asked for: few calls fail, and of few is it asked.
"""

from __future__ import annotations

import os.path
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.model.mounts import DELETED, MountId
from mnttrace.analysis.run import Run

# The initial namespaces' inode numbers, see include/linux/proc_ns.h.
INITIAL_USER_NS = 0xEFFFFFFD
INITIAL_PID_NS = 0xEFFFFFFC

_EFFECTS = ["seq", "ns_id", "action", "via", "mnt_id_unique", "fstype", "source", "device"]
_EFFECTS += ["locked", "after", "copy_of_unique", "copy_of_path", "copy_of_ns_id"]
_MOUNTS = ["snapshot", "ns_id", "mnt_id_unique", "fstype", "source", "device", "root"]
_MOUNTS += ["options", "super_options"]


class Given(NamedTuple):
    """A mount that came to a less privileged namespace, which may not change all of it.

    Attributes:
        mount: its unique id.
        options: its options then, in the words of mountinfo.
        is_certain: whether it was seen to come; else the namespace was there before the recording.
    """

    mount: MountId
    options: frozenset[str]
    is_certain: bool


class Original(NamedTuple):
    """The mount that one in a less privileged namespace is a copy of.

    Attributes:
        mount: its unique id.
        ns_id: its namespace.
        path: where it was there.
    """

    mount: MountId
    ns_id: int
    path: str


def within(root: str, path: str) -> str:
    """A path of a process in a chroot, as it is outside.

    Args:
        root: the root directory of the process.
        path: from there.
    """
    return os.path.normpath(os.path.join(root, path.lstrip("/")))


class Facts:
    """What is known of the mounts of a recording.

    Args:
        run: the whole recording.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.home: int | None = run.meta.get("home_ns_id")

    def fstype(self, mount: MountId) -> str:
        """The type of a mount's file system; "" if it is not known."""
        return self._fstypes.get(mount, "")

    def super_options(self, mount: MountId) -> str:
        """The options of its file system, as last read; "" if they were not."""
        found = self._table_rows(mount)
        return str(found[-1]["super_options"]) if found else ""

    def options(self, mount: MountId, before: int) -> frozenset[str]:
        """Its own options before an operation, as far as they are known; else those of what it is
        a copy of."""
        told = [row for row in self._effect_rows(mount) if row["after"]]
        texts = [row["after"] for row in told if row["seq"] is None or row["seq"] < before]
        if texts:
            return frozenset(texts[-1].rpartition(" ")[2].split(","))
        if table := self._table_rows(mount):
            return frozenset(table[-1]["options"].split(","))
        copied = self._copied(mount)
        return self.options(copied, before) if copied is not None else frozenset()

    @cached_property
    def _fstypes(self) -> dict[MountId, str]:
        tables = (self._run.mounts, self._run.effects)
        return {
            mount: fstype
            for table in tables
            for mount, fstype in zip(table["mnt_id_unique"], table["fstype"], strict=True)
        }

    def is_read_only(self, mount: MountId, before: int) -> bool:
        """Whether the mount or its file system was read-only before an operation, as far as is
        known."""
        is_ro = "ro" in self.options(mount, before)
        return is_ro or "ro" in self.super_options(mount).split(",")

    def given(self, mount: MountId, call: Row) -> Given | None:
        """The mount, or the one that it was bound from, that its less privileged namespace was
        given; None if that made it itself.

        Args:
            mount: its unique id.
            call: the operation that meets it; `userns` and `ns_id` are looked at.
        """
        while True:
            born = self._birth(mount)
            if born is not None:
                is_foreign = bool(born["locked"]) or self._came_from_outside(born)
                if born["via"] == "namespace-copy" or is_foreign:
                    return Given(mount, self._first_options(mount), True) if is_foreign else None
            elif call["userns"] != INITIAL_USER_NS and self._was_there(mount, call["ns_id"]):
                return Given(mount, self._first_options(mount), False)
            copied = self._copied(mount)
            if copied is None:
                return None
            mount = copied

    def original(self, mount: MountId) -> Original | None:
        """The mount of a more privileged namespace that a locked one is a copy of, where known."""
        found: Original | None = None
        while True:
            born = self._birth(mount)
            if born is None or not born["locked"] or born["copy_of_path"] is None:
                return found
            mount = born["copy_of_unique"]
            found = Original(mount, born["copy_of_ns_id"], born["copy_of_path"])

    def is_of_the_host(self, ns_id: int) -> bool:
        """Whether a mount namespace is the recorder's, or was made from that one for no other user
        namespace."""
        while ns_id != self.home:
            parent = self._parent_namespaces.get(ns_id)
            if parent is None or ns_id in self._foreign:
                return False
            ns_id = parent
        return True

    @cached_property
    def _parent_namespaces(self) -> dict[int, int]:
        made = self._run.namespaces.dropna(subset=["parent_ns_id"])
        return dict(zip(made["ns_id"], made["parent_ns_id"], strict=True))

    def is_less_privileged(self, ns_id: int) -> bool:
        """Whether all that was seen to be done in a namespace was done in user namespaces other
        than the initial one."""
        operations = self._run.operations
        # Of a call that made a namespace, the user namespace is that after the call.
        is_here = (operations["ns_id"] == ns_id) & operations["ns_target_id"].isna()
        users = operations.loc[is_here, "userns"]
        return bool(len(users) and (users != INITIAL_USER_NS).all())

    def was_removed(self, mount: MountId) -> bool | None:
        """Whether a table that was read later shows that the root of a mount was removed; None if
        the mount was gone by then."""
        if any(row["root"].endswith(DELETED) for row in self._table_rows(mount)):
            return True
        went = any(row["action"] == "detach" for row in self._effect_rows(mount))
        return None if went or not self._run.meta.get("complete") else False

    def mounting(self, mount: MountId) -> Row | None:
        """The operation that mounted a file system which is seen as some mount."""
        device = self._last(mount, "device")
        effects = self._run.effects
        first = effects[(effects["device"] == device) & (effects["action"] == "attach")].head(1)
        found = list(rows(first, ["seq", "via"]))
        if not found or found[0]["seq"] is None or found[0]["via"] != "direct":
            return None
        return self.operation(found[0]["seq"])

    def operation(self, seq: int) -> Row | None:
        """An operation by its number."""
        operations = self._run.operations
        return next(rows(operations[operations["seq"] == seq]), None)

    def configured(self, context: int, before: int) -> list[str]:
        """What fsconfig(2) told a file system: "key=value", or "key", in order.

        Args:
            context: the operation that opened the context.
            before: a later operation.
        """
        operations = self._run.operations
        told = operations[
            (operations["fs_context"] == context)
            & (operations["syscall"] == "fsconfig")
            & (operations["error"] == "")
            & (operations["seq"] < before)
        ]
        return [text for text in told["data"] if text]

    @cached_property
    def tells_roots(self) -> bool:
        """Whether the recording shows which mounts are the callers' root directories."""
        return bool(self._run.operations["root_unique"].notna().any())

    def chroot(self, call: Row) -> str | None:
        """The path of the caller's root directory, where it is known: in older recordings if the
        caller or a process that it descends from was seen to change to it."""
        if call["root_path"] is not None:
            return str(call["root_path"])
        pid, seen = call["pid"], set[int]()
        while pid not in seen:
            seen.add(pid)
            own = self._chroots.get(pid, [])
            paths = [path for seq, ns_id, path in own if seq < call["seq"]]
            namespaces = {ns_id for seq, ns_id, _ in own if seq < call["seq"]}
            if paths:
                return paths[-1] if namespaces == {call["ns_id"]} else None
            pid = self._parents.get(pid, pid)
        return None

    @cached_property
    def _chroots(self) -> dict[int, list[tuple[int, int, str]]]:
        operations = self._run.operations
        done = operations[(operations["syscall"] == "chroot") & (operations["error"] == "")]
        found: dict[int, list[tuple[int, int, str]]] = {}
        for row in rows(done, ["seq", "pid", "ns_id", "root_path", "path"]):
            before = found.setdefault(row["pid"], [])
            # In older recordings the path within a chroot is that in there.
            above = before[-1][2] if before and row["root_path"] is None else "/"
            before.append((row["seq"], row["ns_id"], within(above, row["path"])))
        return found

    @cached_property
    def _parents(self) -> dict[int, int]:
        tables = (self._run.processes, self._run.operations)
        both = pd.concat([table[["pid", "parent"]] for table in tables])
        return dict(zip(both["pid"], both["parent"], strict=True))

    @cached_property
    def _foreign(self) -> frozenset[int]:
        """The namespaces that were made for another user namespace than their parents'."""
        effects = self._run.effects
        is_born = (effects["via"] == "namespace-copy") & effects["locked"].fillna(False)
        return frozenset(effects.loc[is_born, "ns_id"].unique())

    def _came_from_outside(self, born: Row) -> bool:
        """Whether a mount was propagated to a less privileged namespace: lock_mnt_tree()."""
        if born["via"] not in ("peer", "slave") or born["ns_id"] not in self._foreign:
            return False
        return born["copy_of_ns_id"] not in self._foreign

    def _was_there(self, mount: MountId, ns_id: int) -> bool:
        return any(row["ns_id"] == ns_id for row in self._table_rows(mount))

    def _birth(self, mount: MountId) -> Row | None:
        found = [row for row in self._effect_rows(mount) if row["action"] == "attach"]
        return found[0] if found else None

    def _copied(self, mount: MountId) -> MountId | None:
        born = self._birth(mount)
        return None if born is None else born["copy_of_unique"]

    def _first_options(self, mount: MountId) -> frozenset[str]:
        born = self._birth(mount)
        if born is not None and born["after"]:
            return frozenset(born["after"].rpartition(" ")[2].split(","))
        table = self._table_rows(mount)
        return frozenset(table[0]["options"].split(",")) if table else frozenset()

    def _last(self, mount: MountId, column: str) -> str | None:
        for found in (self._effect_rows(mount), self._table_rows(mount)):
            if found:
                return str(found[-1][column])
        return None

    def _effect_rows(self, mount: MountId) -> list[Row]:
        at = self._effects_of.get(mount)
        return [] if at is None else list(rows(self._run.effects.iloc[at], _EFFECTS))

    def _table_rows(self, mount: MountId) -> list[Row]:
        at = self._lines_of.get(mount)
        return [] if at is None else list(rows(self._run.mounts.iloc[at], _MOUNTS))

    @cached_property
    def _effects_of(self) -> dict[MountId, np.ndarray[Any, Any]]:
        return _places(self._run.effects)

    @cached_property
    def _lines_of(self) -> dict[MountId, np.ndarray[Any, Any]]:
        return _places(self._run.mounts)


def _places(table: pd.DataFrame) -> dict[MountId, np.ndarray[Any, Any]]:
    """Where the rows of each mount are, by its unique id."""
    mounts = table["mnt_id_unique"].fillna(0).to_numpy(np.uint64)
    order = np.argsort(mounts, kind="stable")
    ids, begins = np.unique(mounts[order], return_index=True)
    parts = np.split(order, begins[1:])
    return dict(zip(ids.tolist(), parts, strict=False))
