"""From the kernel's records to rows of the table `operations`."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from mnttrace.capture import layout
from mnttrace.linux import flags
from mnttrace.linux.syscalls import Fetch, Syscall, by_number

_SECRET = re.compile(r"(?i)\b(pass(?:word|wd|phrase)?|cred(?:ential)?s?|secret|token|key)(=)[^,]*")
_SECRET_KEY = re.compile(r"(?i)(pass|cred|secret|token|key)")
_STRINGS = {Fetch.STRING, Fetch.PATH, Fetch.PATH_AT, Fetch.VALUE_BY_COMMAND}
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
_FLAGS = {
    "mount": 3,
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


def redact(text: str) -> str:
    """Mount data without its secrets: password=…, credentials=…, key=…."""
    return _SECRET.sub(r"\1\2<redacted>", text)


def _wrap(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


class Decoder:
    """Puts the records of one recording together: paths, then the operation they belong to.

    Args:
        wall_offset: CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
        keep_secrets: leave passwords and keys in mount data as they are.
    """

    def __init__(self, wall_offset: int, keep_secrets: bool = False) -> None:
        self._calls = by_number(os.uname().machine)
        self._constants = layout.constants()
        self._operation = layout.dtype("operation_record")
        self._path = layout.dtype("path_record")
        self._paths: dict[int, tuple[int, dict[int, tuple[Any, str]]]] = {}
        self._wall_offset = wall_offset
        self._keep_secrets = keep_secrets
        self._newest: dict[int, int] = {}
        self._seq = 0
        self.cut = 0

    def take(self, raw: bytes) -> dict[str, Any] | None:
        """One record; gives an operation's row once it is whole."""
        if int.from_bytes(raw[:2], "little") == self._constants["RECORD_PATH"]:
            self._take_path(raw)
            return None
        record = np.frombuffer(raw, self._operation, 1)[0]
        return self._row(record, raw[self._operation.itemsize :])

    def _take_path(self, raw: bytes) -> None:
        record = np.frombuffer(raw, self._path, 1)[0]
        names = raw[self._path.itemsize :].split(b"\0")[:-1]
        text = "/" + "/".join(os.fsdecode(name) for name in reversed(names))
        if not record["complete"]:
            text = "…" + text
        tid, entered = int(record["tid"]), int(record["entered"])
        if self._paths.get(tid, (0, {}))[0] != entered:
            self._paths[tid] = (entered, {})
        self._paths[tid][1][int(record["argument"])] = (record, text)

    def _row(self, record: Any, tail: bytes) -> dict[str, Any]:
        call = self._calls[int(record["number"])]
        strings, unread = self._strings(call, record, tail)
        entered, bases = self._paths.pop(int(record["tid"]), (0, {}))
        if entered != int(record["entered"]):
            bases = {}
        result = int(record["result"])
        self._seq += 1
        row: dict[str, Any] = {
            "seq": self._seq,
            "ts": entered_wall(int(record["entered"]), self._wall_offset),
            "monotonic": int(record["entered"]),
            "latency": int(record["left"]) - int(record["entered"]),
            "syscall": call.name,
            "result": result,
            "error": flags.errno_name(result),
            "comm": bytes(record["comm"]).split(b"\0")[0].decode("utf-8", "surrogateescape"),
            "ns": int(record["mntns_before"]),
            "ns_after": int(record["mntns_after"]),
            "ns_target": int(record["mntns_target"]),
            "unread": ",".join(unread),
        }
        for name in ("pid", "tid", "parent", "child", "uid", "cgroup", "pidns", "userns"):
            row[name] = int(record[name])
        row |= self._made(row, bases)
        self._arguments(row, call, record, strings, bases)
        return row

    def _made(self, row: dict[str, Any], bases: dict[int, tuple[Any, str]]) -> dict[str, Any]:
        """The newest mount of the namespace after a call that may have made one."""
        base = bases.get(self._constants["ARGUMENT_RESULT"])
        if base is None or base[0]["base"] != self._constants["BASE_MOUNT"]:
            return {}
        record, path = base
        unique = int(record["mount_unique"])
        if unique <= self._newest.get(row["ns"], 0):
            return {}
        self._newest[row["ns"]] = unique
        return {
            "made": int(record["mount_id"]),
            "made_unique": unique,
            "made_path": path,
            "made_group": int(record["group"]),
            "parent_group": int(record["parent_group"]),
            "parent_master": int(record["parent_master"]),
        }

    def _strings(self, call: Syscall, record: Any, tail: bytes) -> tuple[dict[int, str], list[str]]:
        found: dict[int, str] = {}
        unread = []
        at = 0
        for index, argument in enumerate(call.arguments):
            length = int(record["lengths"][index])
            if length == self._constants["STRING_UNREADABLE"]:
                unread.append(argument.name)
            elif argument.fetch in _STRINGS and length:
                if length == self._constants["STRING_CUT"]:
                    unread.append(argument.name)
                    length = self._constants["STRING_SIZE"]
                found[index] = os.fsdecode(tail[at : at + length - 1])
                at += length
        self.cut += len(unread)
        return found, unread

    def _arguments(
        self,
        row: dict[str, Any],
        call: Syscall,
        record: Any,
        strings: dict[int, str],
        bases: dict[int, tuple[Any, str]],
    ) -> None:
        values = [int(value) for value in record["arguments"]]
        for column, table in (("source", _SOURCE), ("target", _TARGET)):
            index = table.get(call.name)
            text = strings.get(index, "") if index is not None else ""
            row[column] = text
            name = "path" if column == "target" else "source_path"
            row[name] = self._resolve(text, bases.get(index if index is not None else -1))
        row["fstype"] = strings.get({"mount": 2, "fsopen": 0}.get(call.name, -1), "")
        row["flags"], row["propagation"] = self._flags(call, record, values)
        row["data"] = self._data(call, strings)

    def _resolve(self, text: str, base: tuple[Any, str] | None) -> str:
        """The path that a relative one, an empty one or /proc/self/fd/N stands for."""
        if base is None:
            return text
        record, path = base
        if record["base"] == self._constants["BASE_PROC_FD"]:
            _, _, rest = text.partition("/fd/")
            text = rest.partition("/")[2]
        return os.path.normpath(os.path.join(path, text)) if text else path

    def _flags(self, call: Syscall, record: Any, values: list[int]) -> tuple[str, str]:
        if call.name == "mount":
            propagation, rest = flags.split_mount_flags(values[3])
            return rest, propagation
        if call.name == "clone3":
            return flags.DECODERS["clone3"](int(record["attr"][0])), ""
        index = _FLAGS.get(call.name)
        if index is None:
            return "", ""
        text = flags.DECODERS[call.arguments[index].meaning](values[index])
        propagation = ""
        if call.name in {"mount_setattr", "open_tree_attr"}:
            propagation = flags.DECODERS["propagation"](int(record["attr"][2]))
        return text, propagation

    def _data(self, call: Syscall, strings: dict[int, str]) -> str:
        if call.name == "mount":
            data = strings.get(4, "")
            return data if self._keep_secrets else redact(data)
        if call.name == "fsconfig" and 2 in strings:
            key, value = strings[2], strings.get(3, "")
            if value and _SECRET_KEY.search(key) and not self._keep_secrets:
                value = "<redacted>"
            return f"{key}={value}" if value else key
        return ""


def entered_wall(monotonic: int, offset: int) -> int:
    """Nanoseconds since the epoch of a monotonic time."""
    return monotonic + offset
