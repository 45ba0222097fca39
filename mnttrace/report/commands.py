# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Commands as lines for a shell."""

from __future__ import annotations

import re

from mnttrace.analysis.diagnosis.commands import (
    Bind,
    ChangeType,
    MountFileSystem,
    Move,
    PivotRoot,
    RemoveDirectory,
    Umount,
)

ShellCommand = Umount | ChangeType | RemoveDirectory | MountFileSystem | Bind | Move | PivotRoot

_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def quoted(path: str) -> str:
    """A path as one word of bash; control characters and other bytes as escapes."""
    if _PLAIN.fullmatch(path):
        return path
    data = path.encode(errors="surrogateescape")
    if path.isprintable():
        return "'" + path.replace("'", "'\\''") + "'"
    return "$'" + "".join(_escaped(byte) for byte in data) + "'"


def _escaped(byte: int) -> str:
    if byte in b"\\'":
        return "\\" + chr(byte)
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def line(command: ShellCommand, pid: str | None) -> str:
    """A command as a line.

    Args:
        command: that one.
        pid: a process of the command's mount namespace, as a word; None: that is the one that the
            line is given in. With -N of mount(8) and umount(8), tried with util-linux 2.38,
            the namespace needs no such programs, only a /proc for -l and -R.
    """
    there = [] if pid is None else ["-N", pid]
    match command:
        case Umount(_, paths, lazy, recursive):
            words = ["umount", *there, *(["-l"] if lazy else []), *(["-R"] if recursive else [])]
        case ChangeType(_, path, to, recursive):
            paths = (path,)
            words = ["mount", *there, f"--make-{'r' if recursive else ''}{to}"]
        case MountFileSystem(_, path, source, _):
            paths = (source, path)
            words = ["mount", *there]
        case Bind(_, source, path, recursive):
            paths = (source, path)
            words = ["mount", *there, "--rbind" if recursive else "--bind"]
        case Move(_, source, path):
            paths = (source, path)
            words = ["mount", *there, "--move"]
        case RemoveDirectory(_, path):
            paths = (path,)
            words = [*_enter(pid), "rmdir"]
        case PivotRoot(_, new_root, put_old):
            paths = (new_root, put_old)
            words = [*_enter(pid), "pivot_root"]
    return " ".join([*words, *map(quoted, paths)])


def _enter(pid: str | None) -> list[str]:
    return [] if pid is None else ["nsenter", "-t", pid, "-m"]
