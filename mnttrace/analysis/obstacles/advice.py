# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What can be done about what the model of shared subtrees refuses, by what stands in the way."""

from __future__ import annotations

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.model.mounts import MountId, Refused
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Command


def advice(attempt: Attempt, refused: Refused) -> Advice:
    """What can be done.

    Args:
        attempt: the call.
        refused: why the model refuses it.
    """
    row, mounts = attempt.row, refused.mounts
    match refused.kind:
        case "mounts-on-it":
            return Advice(
                "unmount what is on it first (umount -R), or detach all of it (umount -l)"
            )
        case "in-use":
            return Advice("end these processes, or detach it (umount -l): it stays until they end")
        case "copy-in-use":
            words = "end these processes, or leave the copy where it is: cut it off first"
            return Advice(words, _each(attempt, mounts, "mount", "--make-slave"))
        case "locked" if row["syscall"] == "umount2":
            return attempt.unmount_originals(mounts)
        case "locked":
            return _bind_it(row)
        case "hidden" if row["syscall"] == "mount":
            command = Command(("mount", "--rbind", row["source_path"], row["path"]))
            return Advice("bind what is mounted on it, too", (command,))
        case "hidden":
            return Advice("take what is mounted on it, too (AT_RECURSIVE)")
        case "shared":
            words = "make it private, in a mount namespace of one's own"
            return Advice(words, _each(attempt, mounts, "mount", "--make-private"))
        case "unbindable":
            return Advice("let it be bound", _each(attempt, mounts, "mount", "--make-private"))
        case "no-mount":
            return _make_a_mount(row)
        case "root-directory":
            return Advice("make the root directory a mount before the chroot")
        case "within-itself":
            source = row["source_path"]
            words = "move it to a place outside of it, or bind it"
            return Advice(words, (Command(("mount", "--bind", source, row["path"])),))
        case "removed":
            return Advice("take a directory or file that exists")
    return Advice("")


def _bind_it(row: Row) -> Advice:
    """A copy can be put elsewhere, or be the root directory, where a locked mount cannot."""
    if row["syscall"] == "pivot_root":
        command = Command(("mount", "--rbind", row["path"], row["path"]))
        return Advice("put a copy of it on itself, and take that", (command,))
    command = Command(("mount", "--rbind", row["source_path"], row["path"]))
    return Advice("bind it, with what is mounted on it", (command,))


def _each(attempt: Attempt, mounts: tuple[MountId, ...], *words: str) -> tuple[Command, ...]:
    paths = [attempt.tables.path(mount) for mount in mounts if mount in attempt.tables.mounts]
    return tuple(Command((*words, path)) for path in paths)


def _make_a_mount(row: Row) -> Advice:
    is_move = row["syscall"] in ("mount", "move_mount") and not row["propagation"]
    path = row["source_path"] if is_move else row["path"]
    if row["syscall"] == "umount2":
        return Advice("")
    return Advice("make it a mount first", (Command(("mount", "--bind", path, path)),))
