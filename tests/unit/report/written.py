# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings that are made up, row by row, with the project's own writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mnttrace.analysis.recording import Recording
from mnttrace.recording.schema import COLUMNS
from mnttrace.recording.writer import Writer

HOST, WEB = 100, 200  # unique ids of two mount namespaces; their inodes are ten times that
GROUP = 7
START = 1_790_000_000_000_000_000  # ns
META = {
    "mnttrace": "0.1.0",
    "host": "lab",
    "kernel": "6.18.0",
    "boot_id": "made-up",
    "started": START,
    "stopped": START + 2_500_000_000,
    "command": ["sh", "-c", "mount"],
    "traced": ["mount", "umount2"],
    "missing": [],
    "sees": {"mounts made": True, "mounts detached": True},
    "filters": {},
    "home_ns_id": HOST,
    "losses": {},
}

Name = Callable[[str], str]
Row = dict[str, Any]


def write(
    directory: Path, operations: int, name: Name = str, busy: str = "EBUSY", **meta: Any
) -> Recording:
    """A recording in which a container mounts below a volume that it shares with the host.

    Of each three operations the first mounts at /data/N, and has its copy on the host at
    /srv/data/N; the second unmounts that in the container alone, where N is even, else fails as
    busy; the third fails with ENOENT. Latencies go up and down.

    Args:
        directory: NAME.mnttrace.
        operations: how many there are.
        name: makes other text of each that a stranger could have chosen.
        busy: the error of a umount that fails; each EBUSY is tried on the tables of its moment.
        meta: what of META is otherwise.
    """
    writer = Writer(directory)
    writer.meta |= META | {"host": name("lab")} | meta
    _tables(writer, name)
    for seq in range(1, operations + 1):
        number, step = divmod(seq - 1, 3)
        error = ("", busy if number % 2 else "", "ENOENT")[step]
        writer.add("operations", _operation(seq, number, step, error, name))
        if not error:
            for effect in _effects(seq, number, step, name):
                writer.add("effects", effect)
    writer.close()
    return Recording(directory)


def _full(table: str, **values: Any) -> Row:
    """A row whose other text is empty, as that of a recorder is."""
    texts = {column: "" for column, kind, *_ in COLUMNS[table] if str(kind) == "string"}
    return texts | values


def _tables(writer: Writer, name: Name) -> None:
    for snapshot, ns_id in enumerate((HOST, WEB)):
        where = {"ns": ns_id * 10, "ns_id": ns_id}
        moment = {"snapshot": snapshot, "started": 0, "ended": 1, "operations": 0}
        writer.add("snapshots", where | moment | {"reason": "start"})
        volume = "/srv/data" if ns_id == HOST else "/data"
        for at, path in enumerate(("/", name(volume))):
            mount = {
                "change": "initial",
                "mount_id": ns_id + at,
                "mnt_id_unique": ns_id + at,
                "parent_id": ns_id if at else 1,
                "device": f"8:{at}",
                "root": "/",
                "mountpoint": path,
                "options": "rw",
                "shared": GROUP if at else None,
                "propagation": "shared" if at else "private",
                "unbindable": False,
                "fstype": "ext4",
                "source": name("/dev/sda"),
                "super_options": "rw",
            }
            writer.add("mounts", where | {"snapshot": snapshot} | mount)
    for ns_id, kind, label in ((HOST, "host", "host"), (WEB, "container", "web")):
        row = _full(
            "namespaces", ns=ns_id * 10, ns_id=ns_id, kind=kind, name=name(label), pid=ns_id
        )
        writer.add("namespaces", row | {"command": name("init"), "image": name("nginx")})
    process = {"pid": 4242, "ns": WEB * 10, "ns_id": WEB, "comm": name("mount")}
    writer.add("processes", _full("processes", **process, command=name("mount -t tmpfs")))


def _operation(seq: int, number: int, step: int, error: str, name: Name) -> Row:
    path = name(f"/missing/{number}" if step == 2 else f"/data/{number}")
    return _full(
        "operations",
        seq=seq,
        ts=START + seq * 1_000,
        monotonic=seq * 1_000,
        latency=(seq * 7919 % 1009) * 1_000,
        syscall="umount2" if step == 1 else "mount",
        result=-1 if error else 0,
        error=error,
        pid=4242,
        tid=4242,
        comm=name("mount"),
        ns=WEB * 10,
        ns_id=WEB,
        source=name("tmpfs"),
        source_path=name("tmpfs"),
        target=path,
        path=path,
        fstype="" if step == 1 else name("tmpfs"),
        flags_value=0,
    )


def _effects(seq: int, number: int, step: int, name: Name) -> Iterator[Row]:
    original, copy = 10_000 + 2 * number, 10_001 + 2 * number
    common = {
        "seq": seq,
        "ts": START + seq * 1_000,
        "monotonic": seq * 1_000,
        "pid": 4242,
        "tid": 4242,
        "action": "detach" if step == 1 else "attach",
        "evidence": "kernel",
        "root": "/",
        "device": f"0:{number}",
        "fstype": "tmpfs",
        "source": name("tmpfs"),
        "propagation": "shared",
        "unbindable": False,
    }
    inside = {
        "ns": WEB * 10,
        "ns_id": WEB,
        "via": "direct",
        "mount_id": original,
        "mnt_id_unique": original,
        "parent_id": WEB + 1,
        "parent_unique": WEB + 1,
        "parent_path": name("/data"),
        "mountpoint": name(f"/data/{number}"),
    }
    yield _full("effects", **common, **inside)
    if step == 1:
        return
    outside = {
        "ns": HOST * 10,
        "ns_id": HOST,
        "via": "peer",
        "mount_id": copy,
        "mnt_id_unique": copy,
        "parent_id": HOST + 1,
        "parent_unique": HOST + 1,
        "parent_path": name("/srv/data"),
        "mountpoint": name(f"/srv/data/{number}"),
        "copy_of": original,
        "copy_of_unique": original,
        "copy_of_path": name(f"/data/{number}"),
        "copy_of_ns": WEB * 10,
        "copy_of_ns_id": WEB,
        "via_group": GROUP,
        "via_unique": WEB + 1,
        "via_path": name("/data"),
    }
    yield _full("effects", **common, **outside)
