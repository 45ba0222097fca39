# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings made up with the project's own Writer: what is in them is known beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mnttrace.analysis.recording import Recording
from mnttrace.recording.writer import Writer

HOST, FIRST = 1_000, 2_000  # unique ids of namespaces
START = 1_790_000_000_000_000_000  # wall time, ns
Rows = dict[str, list[dict[str, Any]]]


def write(directory: Path, tables: Rows, **meta: Any) -> Recording:
    """A recording of these tables."""
    writer = Writer(directory)
    writer.meta |= {"home_ns_id": HOST, "wall_offset": START, "losses": {}, **meta}
    for table, rows in tables.items():
        for row in rows:
            writer.add(table, row)
    writer.close()
    return Recording(directory)


def namespace(ns_id: int, name: str, kind: str = "container") -> dict[str, Any]:
    return {"ns": 4_026_530_000 + ns_id, "ns_id": ns_id, "name": name, "kind": kind}


def operation(seq: int, ns_id: int, at: int, syscall: str = "mount", **more: Any) -> dict[str, Any]:
    """A call that began `at` ns after the start."""
    row = {"seq": seq, "ts": START + at, "monotonic": at, "syscall": syscall, "error": ""}
    row |= {"ns": 4_026_530_000 + ns_id, "ns_id": ns_id, "pid": 100 + ns_id, "tid": 100 + ns_id}
    return row | {"latency": 20_000, "comm": "mount", "path": "/mnt", "result": 0} | more


def effect(seq: int | None, ns_id: int, at: int, unique: int, **more: Any) -> dict[str, Any]:
    row = {"seq": seq, "ts": START + at, "monotonic": at, "ns_id": ns_id, "action": "attach"}
    row |= {
        "ns": 4_026_530_000 + ns_id,
        "mnt_id_unique": unique,
        "mount_id": unique,
        "via": "direct",
    }
    row |= {"mountpoint": f"/mnt/{unique}", "parent_path": "/", "fstype": "tmpfs", "root": "/"}
    return row | {"source": "tmpfs", "evidence": "kernel"} | more


def mount(snapshot: int, ns_id: int, unique: int, mountpoint: str, **more: Any) -> dict[str, Any]:
    row = {"snapshot": snapshot, "ns_id": ns_id, "change": "initial", "mnt_id_unique": unique}
    row |= {"mount_id": unique, "parent_id": 0, "mountpoint": mountpoint, "root": "/"}
    return row | {"ns": 4_026_530_000 + ns_id, "fstype": "tmpfs"} | more


def snapshot(number: int, ns_id: int, at: int = 0, reason: str = "start") -> dict[str, Any]:
    row = {"snapshot": number, "ns_id": ns_id, "ns": 4_026_530_000 + ns_id, "reason": reason}
    return row | {"started": at, "ended": at}


def many(namespaces: int = 200, operations: int = 100_000, seconds: int = 600) -> Rows:
    """Containers that each have the host's mounts as slaves, and a volume as peer of the host's.

    The host mounts and unmounts below its root, which all containers get; each container mounts
    below its volume, which the host gets. Some calls fail.
    """
    random = np.random.default_rng(1)
    busy = np.append(random.zipf(1.5, operations) % (namespaces - 1), -1)[:operations]
    rows: Rows = {name: [] for name in ("namespaces", "operations", "effects", "mounts")}
    rows["snapshots"] = [snapshot(n, HOST if n == 0 else FIRST + n) for n in range(namespaces)]
    rows["namespaces"] = [namespace(HOST, "host", "host")]
    rows["namespaces"] += [namespace(FIRST + n, f"web-{n}") for n in range(1, namespaces)]
    rows["mounts"] += _standing(namespaces)
    unique = 1_000_000
    when = np.sort(random.integers(0, seconds * 10**9, operations))
    chance = random.random(operations)
    for seq in range(operations):
        at, ns_id = int(when[seq]), FIRST + 1 + int(busy[seq])
        if chance[seq] < 0.005:
            rows["operations"].append(operation(seq, HOST, at))
            rows["effects"] += _to_all(seq, at, namespaces, unique)
            unique += namespaces
            continue
        syscall = ("mount", "umount2", "move_mount", "pivot_root", "unshare")[seq % 5]
        is_bad = chance[seq] > 0.97
        outcome = {"error": "EBUSY", "result": -16} if is_bad else {}
        slow = int(10 ** (3.5 + 2 * random.random() + (seq % 5) / 4))
        rows["operations"].append(operation(seq, ns_id, at, syscall, latency=slow, **outcome))
        if syscall == "mount" and not is_bad:
            rows["effects"] += _to_host(seq, at, ns_id, unique)
            unique += 2
    return rows


def _standing(namespaces: int) -> Iterable[dict[str, Any]]:
    """The mounts that are there before: the root, and volumes."""
    yield mount(0, HOST, 10, "/", shared=1)
    for n in range(1, namespaces):
        volume = {"shared": 10 + n, "parent_id": 10}
        yield mount(0, HOST, 10_000 + n, f"/var/lib/volumes/{n}", **volume)
        yield mount(n, FIRST + n, 20_000 + n, "/", master=1)
        yield mount(n, FIRST + n, 30_000 + n, "/volume", **volume | {"parent_id": 20_000 + n})


def _to_all(seq: int, at: int, namespaces: int, unique: int) -> Iterable[dict[str, Any]]:
    group = unique
    yield effect(seq, HOST, at, unique, shared=group, parent_unique=10)
    for n in range(1, namespaces):
        carried = {"via": "slave", "master": group, "copy_of_unique": unique, "via_group": 1}
        carried |= {
            "mountpoint": f"/mnt/{unique}",
            "via_unique": 10,
            "parent_unique": 20_000 + n,
            "copy_of_ns_id": HOST,
        }
        yield effect(seq, FIRST + n, at, unique + n, **carried)


def _to_host(seq: int, at: int, ns_id: int, unique: int) -> Iterable[dict[str, Any]]:
    n = ns_id - FIRST
    yield effect(seq, ns_id, at, unique, shared=unique, parent_unique=30_000 + n)
    carried = {"via": "peer", "shared": unique, "copy_of_unique": unique, "via_group": 10 + n}
    carried |= {"via_unique": 30_000 + n, "parent_unique": 10_000 + n, "copy_of_ns_id": ns_id}
    yield effect(seq, HOST, at, unique + 1, **carried)
