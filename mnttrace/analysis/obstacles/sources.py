# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Sources that were removed (ENOENT), and root directories that are no mounts (EINVAL)."""

from __future__ import annotations

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import DELETED, Refused
from mnttrace.analysis.model.operation import is_root
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Command, Reason


def removed(attempt: Attempt) -> Reason | None:
    """A mount that is to be bound, moved, or made the root directory, and whose own root was
    removed; no directory or file of its name is needed for the mount to be there.

    d_set_mounted() in fs/dcache.c refuses it, and pivot_root(2) itself. ENOENT also is the error
    for a path that does not exist: mount tables tell neither when a file was removed nor whether
    the target was there.

    Raises:
        KeyError, Refused: as :func:`calls.spot_of`.
    """
    row = attempt.row
    path = _source(row)
    if row["error"] != "ENOENT" or not path.startswith("/"):
        return None
    spot = attempt.at(path)
    mount = attempt.tables.mounts[spot.mount]
    if not is_root(attempt.tables, spot) or mount.root in ("/", ""):
        return None  # the root of a file system is not to be removed
    is_removed = mount.root.endswith(DELETED) or attempt.facts.was_removed(mount.id)
    if is_removed is False:
        return None
    was = "was" if is_removed else "may have been"
    where = attempt.tables.path(mount.id)
    reason = f"what {where} shows, {mount.root.removesuffix(DELETED)} of its file system, {was} "
    refused = Refused("ENOENT", f"{reason}removed", mount.id, kind="removed")
    words = "unmount it, and take a directory or file that exists"
    return Reason(refused, Advice(words, (Command(("umount", where)),)))


def _source(row: Row) -> str:
    """The path of the mount that a call puts elsewhere; "" if it does not do that."""
    match row["syscall"]:
        case "mount" if calls.action_of(row) in ("bind", "move"):
            return str(row["source_path"])
        case "move_mount":
            return str(row["source_path"] if row["fs_context"] is None else row["source"])
        case "pivot_root":
            return str(row["path"])
    return ""


def root_directory(attempt: Attempt) -> Reason | None:
    """A call on the caller's root directory, as on a mount, where that is none: it is in a chroot.

    Raises:
        KeyError, Refused: as :func:`calls.spot_of`.
    """
    row = attempt.row
    if row["error"] != "EINVAL" or row["root_unique"] is not None:
        return None
    path = row["chroot"]
    if not (path or attempt.facts.tells_roots) or not _is_of_root(row):
        return None
    refused = Refused("EINVAL", _no_mount(path), kind="root-directory")
    words = "make that directory a mount before the chroot"
    if path is None:
        return Reason(refused, Advice(words))
    spot = attempt.tables.resolve(row["ns_id"], path)
    if is_root(attempt.tables, spot):
        return None  # an older recording, which does not tell roots
    refused.mounts = (spot.mount,)
    return Reason(refused, Advice(words, (Command(("mount", "--bind", path, path)),)))


def _no_mount(path: str | None) -> str:
    named = "" if path is None else f", {path},"
    return f"the caller's root directory{named} is a directory and no mount: it is in a chroot"


def _is_of_root(row: Row) -> bool:
    """Whether a call treats the caller's root directory as a mount."""
    root = row["root_path"] or "/"
    match row["syscall"]:
        case "pivot_root":
            return True
        case "mount":
            action = calls.action_of(row)
            if action == "move":
                return bool(row["source_path"] == root)
            return row["path"] == root and action in ("propagation", "remount", "reconfigure")
        case "umount2" | "mount_setattr":
            return bool(row["path"] == root)
    return False
