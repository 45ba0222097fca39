"""From the kernel's records to calls: a row of the table `operations`, and what came with it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mnttrace.capture.stream.fs_context import Stories
from mnttrace.linux import flags
from mnttrace.linux.errnos import errno_name
from mnttrace.linux.fanotify import MountEvent
from mnttrace.linux.namespaces import namespace_link
from mnttrace.linux.syscalls import ArgKind, Syscall, SyscallKind, by_number
from mnttrace.probes import records as kernel
from mnttrace.probes.records import (
    MountEntry,
    MountsRecord,
    OperationRecord,
    PathRecord,
    ProcessRecord,
)

_SECRET = re.compile(r"(?i)\b(pass(?:word|wd|phrase)?|cred(?:ential)?s?|secret|token|key)(=)[^,]*")
_SECRET_KEY = re.compile(r"(?i)(pass|cred|secret|token|key)")
_REDACTED = "<redacted>"
_STRINGS = {ArgKind.STRING, ArgKind.PATH, ArgKind.PATH_AT, ArgKind.VALUE_BY_COMMAND}
# The arguments that are an operation's source and target, by call.
_SOURCE = {"mount": 0, "pivot_root": 1, "move_mount": 1}
_TARGET = {
    "mount": 1,
    "umount2": 0,
    "pivot_root": 0,
    "chroot": 0,
    "open_tree": 1,
    "open_tree_attr": 1,
    "move_mount": 3,
    "fspick": 1,
    "mount_setattr": 1,
}
# The argument that is the operation's flags, by call; fsconfig's is its command.
_FLAGS = {
    "umount2": 1,
    "open_tree": 2,
    "open_tree_attr": 2,
    "move_mount": 4,
    "fsopen": 1,
    "fsconfig": 1,
    "fsmount": 1,
    "fspick": 2,
    "mount_setattr": 2,
    "setns": 1,
    "unshare": 0,
    "clone": 0,
}
_TEXTS_KEPT = 1 << 12  # of each kind: the same paths and names come again and again


def redact(text: str) -> str:
    """Mount data without its secrets: password=…, credentials=…, key=…."""
    return _SECRET.sub(rf"\1\2{_REDACTED}", text)


@dataclass(slots=True)
class Call:
    """One finished call, with what the kernel sent of it.

    Attributes:
        row: a row of the table `operations`.
        does: what such a call does when it succeeds.
        lists: the mounts that it made, or those of a namespace, in the order they were sent.
        names: key of a dentry → its path within its file system.
        notified: unique id of the last mount that the call detached, by the end of it.
        notified_by: one of BY_… in probes/records.py, what says so.
        cut: the kernel's list is not complete.
        mount_flags: the flags of mount(2) as a number; 0 of other calls.
    """

    row: dict[str, Any]
    does: SyscallKind
    lists: list[MountList]
    names: dict[int, str]
    notified: int
    notified_by: int
    cut: bool
    mount_flags: int


@dataclass(slots=True)
class MountList:
    """Mounts as the kernel listed them: `entries` are mount_entry of bpf/records.h.

    A list comes in parts: one that is `first` replaces what came before it.
    """

    why: int
    ns: int
    ns_id: int
    first: bool
    last: bool
    entries: list[Any]


@dataclass(slots=True)
class Process:
    """A process when it was first seen: `row` has the columns of the table `processes`."""

    row: dict[str, Any]


@dataclass(slots=True)
class _Parts:
    """What has come of a call whose operation record has not."""

    entered: int
    bases: dict[int, tuple[Any, str]] = field(default_factory=dict)
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
        self._calls = by_number(os.uname().machine)
        self._parts: dict[int, _Parts] = {}
        self._wall_offset = wall_offset
        self._keep_secrets = keep_secrets
        self._stories = Stories()
        self._seq = 0
        self.cut = 0

    def take(self, raw: bytes) -> Call | MountList | Process | MountEvent | None:
        """One record; gives a call once it is whole, a list that the recorder asked for, a process,
        or a mount that was attached or detached."""
        kind = raw[0]
        if kind == kernel.RECORD_OPERATION:
            return self._take_operation(raw)
        if kind == kernel.RECORD_PATH:
            self._take_path(raw)
        elif kind == kernel.RECORD_MOUNTS:
            return self._take_mounts(raw)
        elif kind == kernel.RECORD_PROCESS:
            return self._take_process(raw)
        elif kind == kernel.RECORD_EVENT:
            event = kernel.EventRecord.unpack(raw)
            return MountEvent(event.mask, event.tid, event.unique)
        return None

    def _parts_of(self, record: PathRecord | MountsRecord) -> _Parts:
        parts = self._parts.get(record.tid)
        if parts is None or parts.entered != record.entered:
            parts = self._parts[record.tid] = _Parts(record.entered)
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
            parts.bases[record.argument] = (record, text)

    def _take_mounts(self, raw: bytes) -> MountList | None:
        record = MountsRecord.unpack(raw)
        entries = list(MountEntry.unpack_many(raw, kernel.MOUNTS_RECORD_SIZE, record.entry_count))
        ends = bool(record.first), bool(record.last)
        found = MountList(record.why, record.mntns, record.mntns_id, *ends, entries)
        if record.why == kernel.LIST_SURVEY:
            return found
        lists = self._parts_of(record).lists
        if found.first:
            lists.clear()
        lists.append(found)
        return None

    def _take_process(self, raw: bytes) -> Process:
        record = ProcessRecord.unpack(raw)
        words = raw[kernel.PROCESS_RECORD_SIZE :].split(b"\0")
        text = " ".join(os.fsdecode(word) for word in words).rstrip()
        return Process(
            {
                "pid": record.pid,
                "started": record.started,
                "seen": record.entered,
                "parent": record.parent,
                "uid": record.uid,
                "comm": _comm(record.comm),
                "parent_comm": _comm(record.parent_comm),
                "command": text if self._keep_secrets else redact(text),
                "ns": record.mntns,
                "ns_id": record.mntns_id or record.mntns,
                "cgroup": record.cgroup,
            }
        )

    def _take_operation(self, raw: bytes) -> Call:
        record = OperationRecord.unpack(raw)
        call = self._calls[record.number]
        parts = self._parts.pop(record.tid, None)
        if parts is None or parts.entered != record.entered:
            parts = _Parts(record.entered)
        strings, unread = self._strings(call, record, raw[kernel.OPERATION_RECORD_SIZE :])
        self._seq += 1
        row: dict[str, Any] = {
            "seq": self._seq,
            "ts": record.entered + self._wall_offset,
            "monotonic": record.entered,
            "latency": record.left - record.entered,
            "syscall": call.name,
            "result": record.result,
            "error": errno_name(record.result),
            "pid": record.pid,
            "tid": record.tid,
            "parent": record.parent,
            "child": record.child or None,
            "uid": record.uid,
            "comm": _comm(record.comm),
            "cgroup": record.cgroup,
            "ns": record.mntns_before,
            "ns_id": record.mntns_id_before or record.mntns_before,
            "ns_after": record.mntns_after,
            "ns_target": record.mntns_target or None,
            "ns_target_id": record.mntns_id_target or None,
            "pidns": record.pidns,
            "pid_inside": record.pid_inside,
            "userns": record.userns,
            "root_unique": record.root_unique or None,
            "unread": ",".join(unread),
            "descends": bool(record.descends),
        }
        self._arguments(row, call, record, strings, parts.bases)
        self._stories.tell(row, call, parts.bases, strings)
        return Call(
            row,
            call.kind,
            parts.lists,
            parts.names,
            record.last_detached,
            record.last_detached_known_by,
            bool(record.walk_cut),
            record.arguments3 if call.kind == SyscallKind.MOUNT else 0,
        )

    def _strings(
        self, call: Syscall, record: OperationRecord, tail: bytes
    ) -> tuple[dict[int, str], list[str]]:
        found: dict[int, str] = {}
        unread = []
        at = 0
        lengths = record.lengths
        for index, argument in enumerate(call.arguments):
            length = lengths[index]
            if length == kernel.STRING_UNREADABLE:
                unread.append(argument.name)
            elif argument.kind in _STRINGS and length:
                if length == kernel.STRING_CUT:
                    unread.append(argument.name)
                    length = kernel.STRING_SIZE
                found[index] = os.fsdecode(tail[at : at + length - 1])
                at += length
        self.cut += len(unread)
        return found, unread

    def _arguments(
        self,
        row: dict[str, Any],
        call: Syscall,
        record: OperationRecord,
        strings: dict[int, str],
        bases: dict[int, tuple[Any, str]],
    ) -> None:
        for column, resolved, table in (
            ("source", "source_path", _SOURCE),
            ("target", "path", _TARGET),
        ):
            index = table.get(call.name, -1)
            row[column] = strings.get(index, "")
            row[resolved] = self._resolve(row[column], bases.get(index))
            if column == "target":
                row["path_unique"] = self._leads_to(row, bases.get(index))
        row["fstype"] = strings.get({"mount": 2, "fsopen": 0}.get(call.name, -1), "")
        row["data"] = self._data(call, strings)
        values = record.arguments
        attr = record.attr
        row["flags"], row["propagation"], row["attributes"] = _flags(call, values, attr)

    def _resolve(self, text: str, base: tuple[Any, str] | None) -> str:
        """The path that a relative one, an empty one or /proc/self/fd/N stands for."""
        if base is None:
            return text
        record, path = base
        if record.base == kernel.BASE_PROC_FD:
            _, _, rest = text.partition("/fd/")
            text = rest.partition("/")[2]
        return os.path.normpath(os.path.join(path, text)) if text else path

    def _leads_to(self, row: dict[str, Any], base: tuple[Any, str] | None) -> int | None:
        """The mount that the target leads to, where that does not take a path lookup."""
        if base is None:
            is_root = bool(row["target"]) and not row["target"].strip("/")
            return row["root_unique"] if is_root else None
        rest = row["target"]
        if base[0].base == kernel.BASE_PROC_FD:
            rest = rest.partition("/fd/")[2].partition("/")[2]
        return base[0].mount_unique or None if rest.strip("./") == "" and ".." not in rest else None

    def _data(self, call: Syscall, strings: dict[int, str]) -> str:
        if call.name == "mount":
            data = strings.get(4, "")
            return data if self._keep_secrets else redact(data)
        if call.name == "fsconfig" and 2 in strings:
            key, value = strings[2], strings.get(3, "")
            if value and _SECRET_KEY.search(key) and not self._keep_secrets:
                value = _REDACTED
            return f"{key}={value}" if value else key
        return ""


@lru_cache(_TEXTS_KEPT)
def _comm(raw: bytes) -> str:
    return os.fsdecode(raw.split(b"\0")[0])


@lru_cache(_TEXTS_KEPT)
def _path_text(raw: bytes) -> str:
    """The path of NUL-terminated names, the last component first."""
    return "/" + "/".join(os.fsdecode(name) for name in reversed(raw.split(b"\0")[:-1]))


def _flags(call: Syscall, values: tuple[int, ...], attr: tuple[int, ...]) -> tuple[str, str, str]:
    """An operation's flags by name, the propagation type that it asks for, and the attributes of
    mounts that it sets (+) and clears (-)."""
    if call.name == "mount":
        return _mount_flags(values[3])
    if call.name == "clone3":
        return _flag_words("clone3", attr[0]), "", ""
    index = _FLAGS.get(call.name)
    if index is None:
        return "", "", ""
    text = _flag_words(call.arguments[index].meaning, values[index])
    if call.name == "fsmount":
        return text, "", _attributes(values[2], 0)
    if call.name in {"mount_setattr", "open_tree_attr"}:
        set_, clear, asked = attr[:3]
        return text, flags.propagation(asked), _attributes(set_, clear)
    return text, "", ""


@lru_cache(_TEXTS_KEPT)
def _mount_flags(value: int) -> tuple[str, str, str]:
    propagation, rest = flags.split_mount_flags(value)
    return rest, propagation, ""


@lru_cache(_TEXTS_KEPT)
def _flag_words(meaning: str, value: int) -> str:
    return flags.DECODERS[meaning](value)


def _attributes(set_: int, clear: int) -> str:
    signed = (("+", flags.mount_attr(set_)), ("-", flags.mount_attr(clear)))
    return " ".join(sign + text for sign, text in signed if text)
