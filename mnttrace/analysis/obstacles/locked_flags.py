# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Changes of mounts that a less privileged namespace was given (mount_namespaces(7)).

It may not clear the flags that they came with, as can_change_locked_flags() in fs/namespace.c says,
nor change their file systems: their super blocks belong to another user namespace (do_remount()).
"""

from __future__ import annotations

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import MountId, Refused
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Command, Reason
from mnttrace.analysis.obstacles.facts import Given
from mnttrace.linux import flags
from mnttrace.linux.flags import MOUNT, MOUNT_ATTR, MOUNT_ATTR_ATIME, MOUNT_ATTR_ATIME_MASK

# In the words of mountinfo: the flag of mount(2) that keeps each, and the attribute of
# mount_setattr(2).
_LOCKABLE = {
    "ro": (MOUNT["MS_RDONLY"], MOUNT_ATTR["MOUNT_ATTR_RDONLY"]),
    "nosuid": (MOUNT["MS_NOSUID"], MOUNT_ATTR["MOUNT_ATTR_NOSUID"]),
    "nodev": (MOUNT["MS_NODEV"], MOUNT_ATTR["MOUNT_ATTR_NODEV"]),
    "noexec": (MOUNT["MS_NOEXEC"], MOUNT_ATTR["MOUNT_ATTR_NOEXEC"]),
}
# How access times are kept; all of it is locked, whatever it is.
ATIME = frozenset(("noatime", "nodiratime", "relatime"))
_ATIME_FLAGS = sum(
    MOUNT[name] for name in ("MS_NOATIME", "MS_NODIRATIME", "MS_RELATIME", "MS_STRICTATIME")
)


def locked_flags(attempt: Attempt) -> Reason | None:
    """Why a change of a mount was refused with EPERM; None if not for what it came with.

    Raises:
        KeyError, Refused: as :func:`calls.spot_of`.
    """
    row = attempt.row
    if row["error"] != "EPERM" or not _changes_flags(row):
        return None
    path = row["source"] if row["fs_context"] is not None else row["path"]
    target = attempt.tables.top(attempt.at(path)).mount
    recursive = row["syscall"] != "mount" and calls.has(row, flags.AT["AT_RECURSIVE"])
    tree = attempt.tables.tree(target) if recursive else [attempt.tables.mounts[target]]
    for mount in tree:
        given = attempt.facts.given(mount.id, row)
        cleared = _cleared(row, given.options) if given else []
        if given and cleared:
            return _refused(attempt, mount.id, given, ", ".join(cleared))
    given = attempt.facts.given(target, row)
    if row["syscall"] == "mount" and calls.action_of(row) == "remount" and given:
        reason = f"the file system belongs to a more privileged user namespace{_how(given)}"
        words = "change the options of the mount alone"
        refused = Refused("EPERM", reason, given.mount, kind="foreign")
        return Reason(refused, Advice(words, (_remount(row, given),)))
    return None


def _changes_flags(row: Row) -> bool:
    if row["syscall"] == "mount":
        return calls.action_of(row) in ("reconfigure", "remount")
    return row["syscall"] in ("mount_setattr", "open_tree_attr")


def _refused(attempt: Attempt, mount: MountId, given: Given, cleared: str) -> Reason:
    row = attempt.row
    reason = f"a less privileged namespace may not clear {cleared}"
    if mount == given.mount:
        reason += ": the mount " + ("came with it" if given.is_certain else "may have come with it")
    else:
        where = attempt.tables.path(mount)
        reason += f": what is mounted at {where} is bound from a mount that came with it"
    refused = Refused("EPERM", reason, given.mount, kind="locked-flags")
    words = f"keep {cleared}"
    if row["syscall"] != "mount":
        return Reason(refused, Advice(f"{words}: leave it out of the attributes to clear"))
    return Reason(refused, Advice(words, (_remount(row, given),)))


def _how(given: Given) -> str:
    return ": the mount came from there" if given.is_certain else ", if the mount came from there"


def _cleared(row: Row, has: frozenset[str]) -> list[str]:
    """Of the options that a mount came with those that a call would clear or change."""
    if row["syscall"] == "mount":
        kept = row["flags_value"]
        cleared = [name for name, (flag, _) in _LOCKABLE.items() if not kept & flag]
        atime = _asked_atime(kept)
    else:
        _, clear = flags.attributes_values(row["attributes"])
        cleared = [name for name, (_, attribute) in _LOCKABLE.items() if clear & attribute]
        atime = _set_atime(row["attributes"], has & ATIME)
    found = [name for name in cleared if name in has]
    if atime is not None and atime != has & ATIME:
        found += sorted(has & ATIME ^ atime & has) or ["strictatime"]
    return found


def _asked_atime(value: int) -> frozenset[str] | None:
    """How mount(2) is to keep access times, in the words of mountinfo; None: as before."""
    if not value & _ATIME_FLAGS:
        return None
    words = {"nodiratime"} if value & MOUNT["MS_NODIRATIME"] else set()
    if not value & MOUNT["MS_STRICTATIME"]:
        words.add("noatime" if value & MOUNT["MS_NOATIME"] else "relatime")
    return frozenset(words)


def _set_atime(attributes: str, has: frozenset[str]) -> frozenset[str] | None:
    """The same for mount_setattr(2)."""
    to_set, to_clear = flags.attributes_values(attributes)
    no_directories = MOUNT_ATTR["MOUNT_ATTR_NODIRATIME"]
    words = set(has)
    if to_clear & MOUNT_ATTR_ATIME_MASK == MOUNT_ATTR_ATIME_MASK:
        words -= {"noatime", "relatime"}
        how = to_set & MOUNT_ATTR_ATIME_MASK
        if how != MOUNT_ATTR_ATIME["MOUNT_ATTR_STRICTATIME"]:
            noatime = how == MOUNT_ATTR_ATIME["MOUNT_ATTR_NOATIME"]
            words.add("noatime" if noatime else "relatime")
    if to_clear & no_directories:
        words.discard("nodiratime")
    if to_set & no_directories:
        words.add("nodiratime")
    return frozenset(words)


def _remount(row: Row, given: Given) -> Command:
    """The remount of the mount alone that was asked for, with all that is locked kept."""
    asked = {name for name, (flag, _) in _LOCKABLE.items() if row["flags_value"] & flag}
    kept = [name for name in _LOCKABLE if name in asked | given.options]
    options = ["remount", "bind", *([] if "ro" in kept else ["rw"]), *kept]
    options += sorted(given.options & ATIME) or ["strictatime"]
    return Command(("mount", "-o", ",".join(options), row["path"]))
