# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""An operation as one line in the style of strace(1), from a row of the table `operations`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnttrace.linux.syscalls import REMOVALS
from mnttrace.report.text import safe

Row = Mapping[str, Any]


def call_text(row: Row) -> str:
    """Like `mount("proc", "/proc", "proc", MS_NOSUID) = 0`; paths are resolved ones.

    Args:
        row: of `operations`; with `removed`, if it has that, of
            :func:`mnttrace.analysis.frames.removals.removed`.
    """
    arguments = ", ".join(part for part in _ARGUMENTS.get(row["syscall"], _plain)(row) if part)
    return f"{row['syscall']}({arguments}) = {_result(row)}"


def _result(row: Row) -> str:
    return f"-1 {row['error']}" if row["error"] else str(row["result"])


def _quoted(text: Any) -> str:
    return f'"{safe(text)}"'


def _with_propagation(row: Row) -> str:
    """The flags with the propagation type among them: MS_REC|MS_SHARED."""
    types = [f"MS_{name.upper()}" for name in str(row["propagation"] or "").split("|") if name]
    return "|".join([*filter(None, [row["flags"]]), *types])


def _mount(row: Row) -> list[str]:
    source = _quoted(row["source_path"] or row["source"])
    target = _quoted(row["path"])
    data = _quoted(row["data"]) if row["data"] else ""
    if _ignores_source(row):
        return [target, _with_propagation(row), data]
    fstype = _quoted(row["fstype"]) if row["fstype"] else ""
    return [source, target, fstype, _with_propagation(row), data]


def _ignores_source(row: Row) -> bool:
    """Whether mount(2) ignores its source and type, whatever they are: do_mount() in
    fs/namespace.c."""
    flags = (row["flags"] or "").split("|")
    return "MS_REMOUNT" in flags or bool(row["propagation"] and "MS_BIND" not in flags)


def _at_path(row: Row) -> list[str]:
    return [_quoted(row["path"]), row["flags"], row["attributes"], row["propagation"] or ""]


def _pivot_root(row: Row) -> list[str]:
    return [_quoted(row["path"]), _quoted(row["source_path"])]


def _move_mount(row: Row) -> list[str]:
    what = _quoted(row["source_path"])
    if row["fs_context"]:
        made = safe(row["fstype"]) or f"copy of {_quoted(row['source'])}"
        what = f"{made} of operation {row['fs_context']}"
    return [what, _quoted(row["path"]), row["flags"]]


def _fsconfig(row: Row) -> list[str]:
    return [row["flags"], _quoted(row["data"]) if row["data"] else ""]


def _namespace(row: Row) -> list[str]:
    to = f"mnt:[{row['ns_target']}]" if row["ns_target"] else ""
    return [row["flags"], to]


def _plain(row: Row) -> list[str]:
    fstype = _quoted(row["fstype"]) if row["fstype"] else ""
    return [fstype, row["flags"], row["attributes"]]


def _removal(row: Row) -> list[str]:
    """They are seen when they end, without their path."""
    return [f"mount point {_quoted(row['removed'])}"] if row.get("removed") else []


_ARGUMENTS = {
    "mount": _mount,
    "umount2": _at_path,
    "chroot": _at_path,
    "open_tree": _at_path,
    "open_tree_attr": _at_path,
    "fspick": _at_path,
    "mount_setattr": _at_path,
    "pivot_root": _pivot_root,
    "move_mount": _move_mount,
    "fsconfig": _fsconfig,
    "setns": _namespace,
    "unshare": _namespace,
    "clone": _namespace,
    "clone3": _namespace,
    **dict.fromkeys((call.name for call in REMOVALS), _removal),
}
