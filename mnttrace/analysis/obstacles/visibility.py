# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""New mounts of proc and sysfs in user namespaces: they may not show what is hidden there.

mount_too_revealing() in fs/namespace.c: one mount of the type in the namespace must show all of it,
with nothing locked on it, and must not be read-only where the new one is not. Before that, the
caller's user namespace must own the pid namespace (proc) or network namespace (sysfs) to be shown.
"""

from __future__ import annotations

from mnttrace.analysis.dataframes import Row
from mnttrace.analysis.diagnosis import calls
from mnttrace.analysis.model.mounts import Mount, Refused, Spot, lies_under
from mnttrace.analysis.obstacles.attempt import Advice, Attempt, Command, Reason
from mnttrace.analysis.obstacles.facts import INITIAL_PID_NS, Given
from mnttrace.analysis.obstacles.locked_flags import ATIME
from mnttrace.linux import flags
from mnttrace.linux.flags import MOUNT, MOUNT_ATTR, MOUNT_ATTR_ATIME, MOUNT_ATTR_ATIME_MASK

# Directories that are always empty, so that mounts on them hide nothing: the kernel makes them with
# sysfs_create_mount_point(), proc_create_mount_point() and register_sysctl_mount_point().
_EMPTY = {
    "proc": {"/fs/nfsd", "/openprom", "/sys/fs/binfmt_misc", "/xen"},
    "sysfs": {
        "/firmware/efi/efivars",
        "/fs/bpf",
        "/fs/cgroup",
        "/fs/fuse/connections",
        "/fs/pstore",
        "/fs/resctrl",
        "/fs/selinux",
        "/fs/smackfs",
        "/hypervisor/s390",
        "/kernel/config",
        "/kernel/debug",
        "/kernel/security",
        "/kernel/tracing",
    },
}
_OWNERS = {"proc": "pid", "sysfs": "network"}


def not_visible(attempt: Attempt) -> Reason | None:
    """Why a new proc or sysfs was refused with EPERM; None if not for what it would show."""
    row = attempt.row
    fstype = row["fstype"]
    if row["error"] != "EPERM" or fstype not in _EMPTY or not attempt.is_unprivileged:
        return None
    if row["syscall"] in ("fsopen", "fsconfig"):
        return _not_owned(fstype, is_certain=True)
    if not (row["syscall"] == "fsmount" or _is_new(row)):
        return None
    if fstype == "proc" and row["pidns"] == INITIAL_PID_NS:
        return _not_owned(fstype, is_certain=True)
    there = [
        mount
        for mount in attempt.tables.in_namespace(row["ns_id"])
        if mount.root == "/" and attempt.facts.fstype(mount.id) == fstype
    ]
    if not there:
        reason = (
            f"no {fstype} is mounted whole in this namespace, so that what it hides is not known"
        )
        words = f"keep a mount of {fstype} in the namespace, or bind the host's"
        return Reason(Refused("EPERM", reason, kind="not-visible"), Advice(words))
    found = [_hides(attempt, mount, fstype) for mount in there]
    hidden = [one for one in found if one is not None]
    if len(hidden) < len(there):  # one of them shows all
        return _not_owned(fstype, is_certain=False)
    return hidden[0]


def _is_new(row: Row) -> bool:
    return bool(row["syscall"] == "mount" and calls.action_of(row) == "new")


def _not_owned(fstype: str, *, is_certain: bool) -> Reason:
    what = _OWNERS[fstype]
    may = "belongs" if is_certain else "may belong"
    reason = f"the {what} namespace that it would show {may} to a more privileged user namespace"
    short = {"pid": "--pid --fork", "network": "--net"}[what]
    words = f"make a {what} namespace, too (unshare {short}), or bind the {fstype} that is there"
    return Reason(Refused("EPERM", reason, kind="foreign"), Advice(words))


def _hides(attempt: Attempt, mount: Mount, fstype: str) -> Reason | None:
    """Why one mount does not show all that a new one would; None if it does."""
    given = attempt.facts.given(mount.id, attempt.row)
    path = attempt.tables.path(mount.id)
    is_ro = (given is not None and "ro" in given.options) or "ro" in (
        attempt.facts.super_options(mount.id).split(",")
    )
    new = _asked(attempt.row)
    if is_ro and "ro" not in new:
        reason = f"the {fstype} that this namespace has, at {path}, is read-only: a new one must be"
        return _with_options(attempt, mount, reason, "mount it read-only", given, "ro")
    if given and given.options & ATIME != new & ATIME:
        kept = ",".join(sorted(given.options & ATIME)) or "strictatime"
        reason = f"the {fstype} that this namespace has, at {path}, is {kept}: a new one must be"
        return _with_options(attempt, mount, reason, f"mount it with {kept}", given)
    on_it, is_certain = attempt.locked_on(Spot(mount.id, mount.root))
    covers = [
        child.id
        for child in on_it
        if not any(lies_under(child.place, empty) for empty in _EMPTY[fstype])
    ]
    if not covers:
        return None
    may = "cover" if is_certain else "may cover"
    reason = f"mounts that came with this namespace {may} parts of {path}, which a new {fstype} "
    refused = Refused("EPERM", f"{reason}would show", *covers, kind="not-visible")
    return Reason(refused, attempt.unmount_originals(tuple(covers)))


def _asked(row: Row) -> frozenset[str]:
    """The options that the new mount would have, in the words of mountinfo."""
    if row["syscall"] == "fsmount":
        to_set, _ = flags.attributes_values(row["attributes"])
        how = to_set & MOUNT_ATTR_ATIME_MASK
        words = {"ro"} if to_set & MOUNT_ATTR["MOUNT_ATTR_RDONLY"] else set()
        noatime = how == MOUNT_ATTR_ATIME["MOUNT_ATTR_NOATIME"]
        strict = how == MOUNT_ATTR_ATIME["MOUNT_ATTR_STRICTATIME"]
        no_directories = to_set & MOUNT_ATTR["MOUNT_ATTR_NODIRATIME"]
    else:
        words = {"ro"} if calls.has(row, MOUNT["MS_RDONLY"]) else set()
        noatime = calls.has(row, MOUNT["MS_NOATIME"])
        strict = calls.has(row, MOUNT["MS_STRICTATIME"])
        no_directories = calls.has(row, MOUNT["MS_NODIRATIME"])
    if not strict:
        words.add("noatime" if noatime else "relatime")
    return frozenset(words | ({"nodiratime"} if no_directories else set()))


def _with_options(
    attempt: Attempt, mount: Mount, reason: str, words: str, given: Given | None, *more: str
) -> Reason:
    """A refusal that other options of the new mount would have avoided."""
    fstype, path = attempt.row["fstype"], attempt.row["path"]
    options = ",".join((*more, *sorted((given.options if given else frozenset()) & ATIME)))
    command = Command(("mount", "-t", fstype, "-o", options or "strictatime", fstype, path))
    refused = Refused("EPERM", reason, mount.id, kind="not-visible")
    return Reason(refused, Advice(words, (command,) if path else ()))
