# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What this machine offers to a recording: each thing is tried, none is inferred from a version."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mnttrace.errors import MnttraceError
from mnttrace.linux import statmount
from mnttrace.linux.btf import KERNEL_BTF, Btf
from mnttrace.linux.capabilities import check_privileges
from mnttrace.linux.fanotify import MountGroup
from mnttrace.linux.namespaces import kernel_namespaces, mount_namespaces
from mnttrace.linux.tracefs import open_tracefs
from mnttrace.probes import offsets
from mnttrace.probes.compile import bcc_version
from mnttrace.probes.kernel import KernelProbes


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is there.
        found: what was found, or what is wrong.
        needed: whether `record` cannot do without it.
        blocks: what goes without it, "" if it is there.
        mend: the command, or the change, that brings it; "" if there is none.
    """

    name: str
    ok: bool
    found: str
    needed: bool = True
    blocks: str = ""
    mend: str = ""


class _Lacking(Exception):
    """What is wrong, what that blocks, and what mends it."""


def examine(programs: Path | None = None) -> list[Check]:
    """All checks, in the order in which what they find depends on each other.

    Args:
        programs: as of :class:`mnttrace.probes.kernel.KernelProbes`.
    """
    probes: list[KernelProbes] = []
    are_numbered = False
    checks = [
        _check("root", _root, True, "recording", "run it with sudo"),
        _check("BTF", _btf, True, "recording", "a kernel with CONFIG_DEBUG_INFO_BTF"),
        _check(
            "tracefs", _tracefs, True, "recording", "mount -t tracefs tracefs /sys/kernel/tracing"
        ),
        _check("BPF programs", lambda: _programs(probes, programs), True, "recording", ""),
    ]
    # What is kept, or given, can be loaded without it.
    checks.insert(
        2,
        _check("bcc", bcc_version, not probes, "compiling", "apt-get install python3-bpfcc"),
    )
    if probes:
        checks += [
            _check("calls", lambda: _calls(probes[0]), False, "those calls", ""),
            _check("mounts made", lambda: _walk(probes[0]), False, "copies are not seen", ""),
            _check(
                "mounts detached", lambda: _detached(probes[0]), False, "who detached a copy", ""
            ),
        ]
        are_numbered = probes[0].numbers_mounts
        probes[0].close()
    checks += [
        _check(
            "unique ids",
            lambda: _unique_ids(are_numbered),
            False,
            "telling recycled mount ids apart",
            "Linux 6.8",
        ),
        _check("namespaces", _namespaces, False, "namespaces without a process", "Linux 6.12"),
        _check("mount limit", _mount_max, False, "", ""),
    ]
    return checks


def _check(name: str, look: Callable[[], str], needed: bool, blocks: str, mend: str) -> Check:
    try:
        return Check(name, True, look(), needed)
    except _Lacking as lacking:
        return Check(name, False, str(lacking), needed, blocks, mend)
    except MnttraceError as error:
        return Check(name, False, error.message, needed, blocks, error.hint or mend)
    except OSError as error:
        return Check(name, False, error.strerror or str(error), needed, blocks, mend)


def _root() -> str:
    check_privileges()
    return "root, with the capabilities that are needed"


def _btf() -> str:
    found = offsets.definitions(Btf.load())
    return f"{KERNEL_BTF}, {len(found)} members of structs found"


def _tracefs() -> str:
    mounted = [path for path in ("/sys/kernel/tracing",) if os.path.isdir(f"{path}/events")]
    os.close(open_tracefs())
    return f"mounted at {mounted[0]}" if mounted else "not mounted, which does no harm"


def _programs(probes: list[KernelProbes], given: Path | None) -> str:
    probes.append(KernelProbes(programs=given))
    probes[0].complete()
    features = probes[0].features
    return f"loaded and attached; {probes[0].origin}" + (f"; with {features}" if features else "")


def _calls(probes: KernelProbes) -> str:
    if probes.missing:
        raise _Lacking(f"this kernel has none of {', '.join(probes.missing)}")
    others = ", 32-bit ones among them" if probes.calls_by == "functions" else ""
    return f"{len(probes.traced)}, seen by their {probes.calls_by}{others}"


def _walk(probes: KernelProbes) -> str:
    if not probes.can_walk:
        raise _Lacking("this kernel's mounts cannot be walked over (before Linux 6.8)")
    return "with all their copies, from inside the kernel"


def _detached(probes: KernelProbes) -> str:
    if probes.reports_mount_events:
        kind = "kprobes" if probes.uses_kprobes else "programs"
        return f"{kind} on the kernel's functions report them, with their threads"
    if not probes.can_use_fanotify:
        raise _Lacking("neither programs on the kernel's functions nor fanotify (Linux 6.15)")
    MountGroup().close()
    return "fanotify reports them, with their threads"


def _unique_ids(are_numbered: bool) -> str:
    if statmount.available():
        return "statmount(2) and listmount(2)"
    if are_numbered:
        return "no statmount(2); programs number the mounts while it is recorded"
    raise _Lacking("no statmount(2)")


def _namespaces() -> str:
    listed = kernel_namespaces()
    found = mount_namespaces()
    if not listed:
        raise _Lacking(f"no list in the kernel; {len(found.namespaces)} found through processes")
    return f"{len(listed)} in the kernel's list, {len(found.namespaces)} with a process"


def _mount_max() -> str:
    with open("/proc/sys/fs/mount-max", encoding="ascii") as file:
        limit = int(file.read())
    most = max((entry.mounts for entry in kernel_namespaces().values()), default=0)
    return f"fs.mount-max is {limit}" + (f", the fullest namespace has {most}" if most else "")
