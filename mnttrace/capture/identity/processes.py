# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What /proc says of single processes, for the table `processes`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from mnttrace.capture.identity.hints import cgroup_paths
from mnttrace.linux.text import decode, words
from mnttrace.probes.records import EndedThread
from mnttrace.recording.rows import ProcessRow


def cgroup_path(pid: int) -> str:
    """The longest path of /proc/PID/cgroup: what made one put it into every hierarchy it uses."""
    return max(cgroup_paths(_read(pid, "cgroup", 1 << 16)), key=len, default="")


def process_of(tid: int) -> tuple[ProcessRow, tuple[str, ...]] | None:
    """The process that a thread is of, and its command line; None if it is gone."""
    fields = dict(
        line.split(":\t", 1) for line in _read(tid, "status", 1 << 16).splitlines() if ":\t" in line
    )
    try:
        pid = int(fields["Tgid"])
        argv = words(_bytes(pid, "cmdline", 1024))
        row: ProcessRow = {
            "pid": pid,
            "started": None,
            "seen": None,
            "parent": int(fields["PPid"]),
            "uid": int(fields["Uid"].split()[0]),
            "comm": fields["Name"],
            "parent_comm": None,
            "command": " ".join(argv).rstrip(),
            "ns": os.stat(f"/proc/{pid}/ns/mnt").st_ino,
            "ns_id": None,
            "cgroup": None,
            "cgroup_path": cgroup_path(pid),
        }
        return row, argv
    except (OSError, KeyError, ValueError, IndexError):
        return None


def ended_process(thread: EndedThread) -> ProcessRow:
    """The process of a thread that has ended, as it was then."""
    return {
        "pid": thread.pid,
        "started": None,
        "seen": None,
        "parent": thread.parent,
        "uid": thread.uid,
        "comm": decode(thread.comm.split(b"\0")[0]),
        "parent_comm": None,
        "command": "",
        "ns": thread.mntns,
        "ns_id": None,
        "cgroup": None,
        "cgroup_path": "",
    }


def descendants(pids: Iterable[int]) -> set[int]:
    """These processes and those that descend from them now."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    left = list(pids)
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += parents.get(pid, [])
    return found


def _read(pid: int, name: str, limit: int) -> str:
    return decode(_bytes(pid, name, limit))


def _bytes(pid: int, name: str, limit: int) -> bytes:
    with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read(limit)
    return b""
