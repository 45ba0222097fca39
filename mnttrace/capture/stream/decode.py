# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""From the kernel's records to events of the core."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache

from mnttrace.capture.join.events import (
    CallEnded,
    MountsChanged,
    NamespaceEnded,
    NamespaceListed,
    ProcessSeen,
)
from mnttrace.capture.join.mount_list import MountList, namespace_key
from mnttrace.capture.stream.arguments import (
    STRINGS,
    Base,
    Bases,
    Strings,
    data_of,
    flags_of,
    fstype_of,
    root_of,
    source_mount_of,
    source_of,
    target_of,
)
from mnttrace.capture.stream.fs_context import FsContexts
from mnttrace.capture.stream.secrets import redact_command
from mnttrace.linux.errnos import errno_name
from mnttrace.linux.mount_events import MountEvent
from mnttrace.linux.namespaces import namespace_link
from mnttrace.linux.syscalls import Syscall, SyscallKind, by_compat_number, by_number
from mnttrace.linux.text import decode, words
from mnttrace.probes import records as kernel
from mnttrace.probes.records import (
    MountEntry,
    MountsRecord,
    OperationRecord,
    PathRecord,
    ProcessRecord,
)
from mnttrace.recording.rows import OperationRow

CALLS_AT_ONCE = 10240  # that the programs keep, as in the map `inflight` of bpf/calls.h
_Decoded = CallEnded | NamespaceListed | NamespaceEnded | ProcessSeen | MountsChanged
_TEXTS_KEPT = 1 << 12  # of each kind: the same paths and names come again and again


@dataclass(slots=True)
class _Parts:
    """What has come of a call whose operation record has not."""

    entered: int
    bases: Bases = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    lists: list[MountList] = field(default_factory=list)


class Decoder:
    """Puts the records of one recording together.

    Args:
        wall_offset: CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
        keep_secrets: leave passwords and keys in mount data as they are.

    Attributes:
        cut: how many arguments were cut or could not be read.
    """

    def __init__(self, wall_offset: int, keep_secrets: bool = False) -> None:
        machine = os.uname().machine
        self._calls = by_number(machine) | by_compat_number(machine)
        self._parts: OrderedDict[int, _Parts] = OrderedDict()
        self._wall_offset = wall_offset
        self._keep_secrets = keep_secrets
        self._contexts = FsContexts()
        self._seq = 0
        self.cut = 0

    def take(self, raw: bytes, at: int) -> _Decoded | None:
        """One record, which had come by a time (CLOCK_MONOTONIC, ns).

        Returns:
            A call once it is whole, a list that a survey asked for, a process, a mount that was
            attached or detached, or the end of a namespace; None: more records belong to it.
        """
        kind = raw[0]
        if kind == kernel.RECORD_OPERATION:
            return self._take_operation(raw, at)
        if kind == kernel.RECORD_PATH:
            self._take_path(raw)
        elif kind == kernel.RECORD_MOUNTS:
            return self._take_mounts(raw, at)
        elif kind == kernel.RECORD_PROCESS:
            return self._take_process(raw, at)
        elif kind == kernel.RECORD_EVENT:
            event = kernel.EventRecord.unpack(raw)
            return MountsChanged(at, [MountEvent(event.mask, event.tid, event.unique)])
        elif kind == kernel.RECORD_ENDED:
            ended = kernel.EndedRecord.unpack(raw)
            return NamespaceEnded(ended.at, namespace_key(ended.mntns, ended.mntns_id))
        return None

    def _parts_of(self, record: PathRecord | MountsRecord) -> _Parts:
        parts = self._parts.get(record.tid)
        if parts is None or parts.entered != record.entered:
            parts = self._parts[record.tid] = _Parts(record.entered)
        # Of a call whose own record was lost no more will come.
        self._parts.move_to_end(record.tid)
        if len(self._parts) > CALLS_AT_ONCE:
            self._parts.popitem(last=False)
        return parts

    def _take_path(self, raw: bytes) -> None:
        record = PathRecord.unpack(raw)
        text = _path_text(raw[kernel.PATH_RECORD_SIZE :])
        if not record.complete:
            text = "…" + text
        parts = self._parts_of(record)
        if record.base == kernel.BASE_DENTRY:
            if record.nsfs_type:
                text = namespace_link(record.nsfs_type, record.nsfs_inode)
            parts.names[record.dentry] = text
        else:
            parts.bases[record.argument] = Base(record, text)

    def _take_mounts(self, raw: bytes, at: int) -> NamespaceListed | None:
        record = MountsRecord.unpack(raw)
        entries = list(MountEntry.unpack_many(raw, kernel.MOUNTS_RECORD_SIZE, record.entry_count))
        ends = bool(record.first), bool(record.last)
        found = MountList(record.why, record.mntns, record.mntns_id, *ends, entries)
        if record.why == kernel.LIST_SURVEY:
            return NamespaceListed(at, found)
        lists = self._parts_of(record).lists
        if found.is_first:  # a walk that was begun anew
            lists[:] = [one for one in lists if not found.replaces(one)]
        lists.append(found)
        return None

    def _take_process(self, raw: bytes, at: int) -> ProcessSeen:
        record = ProcessRecord.unpack(raw)
        argv = words(raw[kernel.PROCESS_RECORD_SIZE :])
        if not self._keep_secrets:
            argv = redact_command(argv)
        return ProcessSeen(
            at,
            {
                "pid": record.pid,
                "started": record.started,
                "seen": record.entered,
                "parent": record.parent,
                "uid": record.uid,
                "comm": _comm(record.comm),
                "parent_comm": _comm(record.parent_comm),
                "command": " ".join(argv).rstrip(),
                "ns": record.mntns,
                "ns_id": record.mntns_id or record.mntns,
                "cgroup": record.cgroup,
                "cgroup_path": "",
            },
            argv,
        )

    def _take_operation(self, raw: bytes, at: int) -> CallEnded:
        record = OperationRecord.unpack(raw)
        call = self._calls[record.number]
        parts = self._parts.pop(record.tid, None)
        if parts is None or parts.entered != record.entered:
            parts = _Parts(record.entered)
        strings, unread = self._strings(call, record, raw[kernel.OPERATION_RECORD_SIZE :])
        row = self._row(call, record, strings, parts.bases)
        row["unread"] = ",".join(unread)
        if parts.bases or call.kind == SyscallKind.DESCRIPTOR:
            self._contexts.complete(row, call, parts.bases, strings)
        return CallEnded(
            at,
            row,
            call.kind,
            parts.lists,
            parts.names,
            record.last_detached,
            record.last_detached_known_by,
            bool(record.walk_cut),
            bool(record.descends),
            record.last_released,
            source_mount_of(call, strings, parts.bases),
        )

    def _row(
        self, call: Syscall, record: OperationRecord, strings: Strings, bases: Bases
    ) -> OperationRow:
        self._seq += 1
        root_unique = record.root_unique or None
        source, source_path = source_of(call, record.arguments, strings, bases)
        target, path, path_unique = target_of(call, strings, bases, root_unique)
        flags = flags_of(call, record.arguments, record.attr)
        return {
            "seq": self._seq,
            "ts": record.entered + self._wall_offset,
            "monotonic": record.entered,
            "latency": record.left - record.entered,
            "syscall": call.name,
            "result": record.result,
            "error": errno_name(record.result) if record.result < 0 else "",
            "pid": record.pid,
            "tid": record.tid,
            "parent": record.parent,
            "child": record.child or None,
            "uid": record.uid,
            "comm": _comm(record.comm),
            "cgroup": record.cgroup,
            "ns": record.mntns_before,
            "ns_after": record.mntns_after,
            "ns_target": record.mntns_target or None,
            "ns_id": record.mntns_id_before or record.mntns_before,
            "ns_target_id": record.mntns_id_target or None,
            "pidns": record.pidns,
            "pid_inside": record.pid_inside,
            "userns": record.userns,
            "root_unique": root_unique,
            # A removal is seen when it ends, without its paths.
            "root_path": None if call.kind == SyscallKind.REMOVE else root_of(bases),
            "source": source,
            "target": target,
            "fstype": fstype_of(call, strings),
            "path": path,
            "path_unique": path_unique,
            "source_path": source_path,
            "flags": flags.text,
            "flags_value": flags.value,
            "propagation": flags.propagation,
            "attributes": flags.attributes,
            "data": data_of(call, strings, self._keep_secrets),
            "fs_context": None,
            "unread": "",
        }

    def _strings(
        self, call: Syscall, record: OperationRecord, tail: bytes
    ) -> tuple[Strings, list[str]]:
        found: Strings = {}
        unread = []
        at = 0
        for index, (argument, length) in enumerate(
            zip(call.arguments, record.lengths, strict=False)
        ):
            if not length:
                continue
            if length == kernel.STRING_UNREADABLE:
                unread.append(argument.name)
            elif argument.kind in STRINGS:
                if length == kernel.STRING_CUT:
                    unread.append(argument.name)
                end = at + min(length, kernel.STRING_SIZE)
                found[index] = decode(tail[at : end - 1])
                at = end
        self.cut += len(unread)
        return found, unread


@lru_cache(_TEXTS_KEPT)
def _comm(raw: bytes) -> str:
    return decode(raw.split(b"\0")[0])


@lru_cache(_TEXTS_KEPT)
def _path_text(raw: bytes) -> str:
    """The path of NUL-terminated names, the last component first."""
    return "/" + "/".join(decode(name) for name in reversed(raw.split(b"\0")[:-1]))
