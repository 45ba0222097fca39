# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A container host for a synthetic recording: what lives longer than the bustle in between."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mnttrace.linux.flags import flags_value
from mnttrace.linux.mountinfo import propagation_type
from mnttrace.recording.schema import schema

BOOTED = 1_795_000_000_000_000_000  # CLOCK_REALTIME at CLOCK_MONOTONIC 0, ns
STARTED = 3_600_000_000_000  # CLOCK_MONOTONIC, ns
FIRST_UNIQUE = 1 << 31
RUN = "/run/containers"
BASE = ("/proc", "/sys", "/sys/fs/cgroup", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/srv", RUN)
# What a container has of its own, parents first.
INSIDE = ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/firmware")
INSIDE += ("/sys/fs/cgroup", "/etc/hosts", "/etc/resolv.conf", "/proc/acpi", "/proc/keys")


@dataclass(eq=False, slots=True)
class Mount:
    """A mount that lives longer than an epoch; `below` is its place under its parent."""

    unique: int
    mount_id: int
    ns: Namespace
    parent: Mount | None
    below: str
    device: str
    fstype: str
    source: str
    shared: int | None = None
    master: int | None = None
    options: str = "rw,relatime"

    @property
    def path(self) -> str:
        above = self.parent.path if self.parent else "/"
        return (above.rstrip("/") + self.below) or "/"

    @property
    def propagation(self) -> str:
        return propagation_type(self.shared, self.master, False)

    @property
    def settings(self) -> str:
        tags = (("shared", self.shared), ("master", self.master))
        told = " ".join(f"{tag}:{group}" for tag, group in tags if group)
        return f"{told or self.propagation} {self.options}"


@dataclass(eq=False, slots=True)
class Namespace:
    """A mount namespace; `hidden` has the ids of the root of all, which is in no table."""

    ns_id: int
    ns: int
    pid: int
    kind: str
    hidden: tuple[int, int]  # unique id, mount id
    mounts: dict[int, Mount] = field(default_factory=dict)
    root: Mount | None = None
    volume: Mount | None = None
    told: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # rows of its last snapshot


def from_rows(table: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a table; columns that one does not have are null in it."""
    columns = {
        one.name: pa.array([row.get(one.name) for row in rows], one.type) for one in schema(table)
    }
    return pa.table(columns, schema=schema(table))


class World:
    """The host, its containers and services, and what was recorded of them since the last flush."""

    def __init__(self, volumes: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.recording = False
        self.now, self.seq = STARTED, 0
        self.operations: list[dict[str, Any]] = []
        self.effects: list[dict[str, Any]] = []
        self.births: dict[int, int] = {}  # ns_id → operation
        self.left: list[tuple[Mount, Mount]] = []  # copies of what a container left, originals
        self.held: list[Mount] = []
        self._unique, self._mount_id = itertools.count(FIRST_UNIQUE), itertools.count(20)
        self._groups, self._names = itertools.count(1), itertools.count(1)
        self._numbers = itertools.count(1)
        self.host = self._namespace("host")
        self.alive: dict[int, Namespace] = {}
        root = self.host.root = self._new(
            self.host, None, "", "ext4", "/dev/vda1", next(self._groups)
        )
        made = {"/": root}
        for path in BASE:
            above = made[max((p for p in made if path.startswith(p)), key=len)]
            below = path.removeprefix(above.path.rstrip("/"))
            group = None if path == RUN else next(self._groups)
            made[path] = self._new(self.host, above, below, "tmpfs", "none", group)
        self.volumes = [
            self._new(
                self.host,
                root,
                f"/volumes/v{number}",
                "xfs",
                f"/dev/vdb{number}",
                next(self._groups),
            )
            for number in range(volumes)
        ]

    # What is recorded

    def operation(self, ns: Namespace, syscall: str, comm: str, **told: Any) -> dict[str, Any]:
        """An operation that begins now; what causes effects is its row."""
        self.now += 400_000 + int(self.rng.exponential(600_000))
        self.seq += self.recording
        path, source = told.get("target", ""), told.get("source", "")
        row = {
            **call_columns(syscall, comm),
            **actor(ns),
            **{"seq": self.seq, "ts": self.now + BOOTED, "monotonic": self.now},
            **{"latency": int(self.rng.integers(5_000, 100_000))},
            **{"source": source, "target": path, "path": path, "source_path": source},
            **told,
        }
        row["flags_value"] = flags_value(row["flags"], row["propagation"])
        if self.recording:
            self.operations.append(row)
        return row

    def effect(
        self, cause: dict[str, Any], action: str, mount: Mount, via: str = "direct",
        origin: Mount | None = None, before: str | None = None, after: str | None = None,
    ) -> None:  # fmt: skip
        """What an operation did to a mount, as it is now."""
        if not self.recording:
            return
        row = {
            **{name: cause[name] for name in ("seq", "ts", "monotonic", "pid", "tid")},
            **{"ns": mount.ns.ns, "ns_id": mount.ns.ns_id, "action": action, "via": via},
            **mount_columns(mount),
            **{"before": before, "after": after},
        }
        if origin:
            row |= _origin_columns(origin, origin.parent if via != "direct" else None)
        self.effects.append(row)

    def flush(self) -> tuple[pa.Table, pa.Table]:
        """The operations and effects since the last one."""
        found = from_rows("operations", self.operations), from_rows("effects", self.effects)
        self.operations, self.effects = [], []
        return found

    # What happens

    def attach(
        self, ns: Namespace, parent: Mount, below: str, cause: dict[str, Any], source: str = "none",
        origin: Mount | None = None,
    ) -> Mount:  # fmt: skip
        """A mount, or one bound from another, and its copies wherever it propagates to."""
        new = self._new(ns, parent, below, "tmpfs", source, None)
        if origin:
            new.device, new.fstype, new.source = origin.device, origin.fstype, origin.source
            new.shared, new.master = origin.shared, origin.master
        elif parent.shared:
            new.shared = next(self._groups)
        self.effect(cause, "attach", new, "direct", origin)
        for receiver, via in self.receivers(parent):
            copy = self._new(receiver.ns, receiver, below, new.fstype, source, None)
            copy.device = new.device
            copy.shared, copy.master = (new.shared, None) if via == "peer" else (None, new.shared)
            self.effect(cause, "attach", copy, via, new)
            if ns.kind == "container":
                self.left.append((copy, new))
        return new

    def detach(self, mount: Mount, cause: dict[str, Any], via: str, origin: Mount | None) -> None:
        self.effect(cause, "detach", mount, via, origin)
        del mount.ns.mounts[mount.unique]

    def change(self, mount: Mount, cause: dict[str, Any], **to: Any) -> None:
        before = mount.settings
        for name, value in to.items():
            setattr(mount, name, value)
        self.effect(cause, "change", mount, before=before, after=mount.settings)

    def move(self, mount: Mount, cause: dict[str, Any], parent: Mount | None, below: str) -> None:
        before = _place(mount)
        mount.parent, mount.below = parent, below
        self.effect(cause, "move", mount, before=before, after=_place(mount))

    def receivers(self, mount: Mount) -> list[tuple[Mount, str]]:
        """Peers, then slaves; nothing here is a slave and shared."""
        if mount.shared is None:
            return []
        mounts = [m for ns in (self.host, *self.alive.values()) for m in ns.mounts.values()]
        peers = [(m, "peer") for m in mounts if m.shared == mount.shared and m is not mount]
        return [*peers, *((m, "slave") for m in mounts if m.master == mount.shared)]

    def birth(self) -> Namespace:
        """A new namespace: one of 40 is a service, every other one of these a slave."""
        number = next(self._numbers)
        ns = self._namespace("service" if number % 40 == 20 else "container")
        slave = number % 80 == 60 if ns.kind == "service" else number % 2 == 0
        comm = "systemd" if ns.kind == "service" else "runc"
        target = {"ns_target": ns.ns, "ns_target_id": ns.ns_id}
        cause = self.operation(
            self.host, "unshare", comm, flags="CLONE_NEWNS", pid=ns.pid, tid=ns.pid, **target
        )
        copies: dict[int, Mount] = {}
        for old in list(self.host.mounts.values()):
            parent = copies[old.parent.unique] if old.parent else None
            new = self._new(ns, parent, old.below, old.fstype, old.source, old.shared)
            new.device, copies[old.unique] = old.device, new
            self.effect(cause, "attach", new, "namespace-copy", old, old.settings, new.settings)
        ns.root = copies[self.host.root.unique]
        if self.recording:
            self.births[ns.ns_id] = cause["seq"]
        self.alive[ns.ns_id] = ns
        if ns.kind == "service":
            self._isolate(ns, comm, slave)
        else:
            volume = copies[self.volumes[number % len(self.volumes)].unique]
            run = next(m for m in copies.values() if m.below == RUN)
            self._enter_container(ns, run, volume, slave)
        return ns

    def _isolate(self, ns: Namespace, comm: str, slave: bool) -> None:
        """Make all mounts slaves, or private; the old root of a container, too."""
        name = "slave" if slave else "private"
        cause = self.operation(ns, "mount", comm, target="/", flags="MS_REC", propagation=name)
        for mount in ns.mounts.values():
            if mount.shared and mount is not ns.volume:
                self.change(mount, cause, master=mount.shared if slave else None, shared=None)

    def _enter_container(self, ns: Namespace, run: Mount, volume: Mount, slave: bool) -> None:
        place, old = f"/c{ns.ns_id}/rootfs", ns.root
        cause = self.operation(
            ns, "mount", "runc", source="overlay", target=RUN + place, fstype="tmpfs"
        )
        root = self.attach(ns, run, place, cause, "overlay")
        inside = {"": root}
        for path in INSIDE:
            above, _, name = path.rpartition("/")
            parent = inside.get(above, root)
            told = {"source": name, "target": root.path + path, "fstype": "tmpfs"}
            cause = self.operation(ns, "mount", "runc", **told)
            below = path if parent is root else f"/{name}"
            inside[path] = self.attach(ns, parent, below, cause, name)
        told = {"source": volume.path, "target": f"{root.path}/volume", "flags": "MS_BIND"}
        cause = self.operation(ns, "mount", "runc", **told)
        ns.volume = self.attach(ns, root, "/volume", cause, origin=volume)
        if slave:
            told = {"target": ns.volume.path, "propagation": "slave"}
            cause = self.operation(ns, "mount", "runc", **told)
            self.change(ns.volume, cause, master=ns.volume.shared, shared=None)
        cause = self.operation(ns, "pivot_root", "runc", source=root.path, target=root.path)
        self.move(root, cause, None, "")
        self.move(old, cause, root, "")
        ns.root = root
        self._isolate(ns, "runc", True)
        cause = self.operation(ns, "umount2", "runc", target="/", flags="MNT_DETACH")
        for mount in [m for m in ns.mounts.values() if _is_under(m, old)]:
            self.detach(mount, cause, "direct", None)

    def death(self, ns: Namespace) -> None:
        self.now += 500_000
        cause = {"seq": None, "ts": self.now + BOOTED, "monotonic": self.now, "pid": ns.pid}
        for mount in list(ns.mounts.values()):
            self.detach(mount, cause | {"tid": ns.pid}, "namespace-death", None)
        del self.alive[ns.ns_id]

    def disk(self, births: int) -> list[Namespace]:
        """Namespaces are made while the host has a disk that it unmounts then."""
        place = f"/disk-{next(self._names)}"
        srv = next(m for m in self.host.mounts.values() if m.below == "/srv")
        cause = self.operation(
            self.host, "mount", "mount", source="/dev/sdb", target=f"/srv{place}", fstype="tmpfs"
        )
        disk = self.attach(self.host, srv, place, cause, "/dev/sdb")
        born = [self.birth() for _ in range(births)]
        cause = self.operation(self.host, "umount2", "umount", target=disk.path)
        reached = {m.unique for m, _ in self.receivers(srv)}
        self.detach(disk, cause, "direct", None)
        for ns in self.alive.values():
            for mount in [m for m in ns.mounts.values() if m.below == place]:
                if mount.parent and mount.parent.unique in reached:
                    self.detach(mount, cause, "slave", disk)
                else:
                    self.held.append(mount)
        return born

    def leave(self, ns: Namespace) -> None:
        """A container mounts something in its volume, and leaves it there."""
        below = f"/left-{next(self._names)}"
        target = ns.volume.path + below
        cause = self.operation(ns, "mount", "backup", source="left", target=target, fstype="tmpfs")
        self.attach(ns, ns.volume, below, cause, "left")

    def settle(self, ns: Namespace) -> None:
        """A container makes a tree, moves it, and makes its /proc read-only."""
        place = f"/data-{next(self._names)}"
        cause = self.operation(ns, "mount", "init", source="data", target=place, fstype="tmpfs")
        data = self.attach(ns, ns.root, place, cause, "data")
        cause = self.operation(
            ns, "mount", "init", source="in", target=f"{place}/in", fstype="tmpfs"
        )
        self.attach(ns, data, "/in", cause, "in")
        kept = f"/kept{place}"
        cause = self.operation(ns, "mount", "init", source=place, target=kept, flags="MS_MOVE")
        self.move(data, cause, ns.root, kept)
        proc = next(m for m in ns.mounts.values() if m.below == "/proc")
        cause = self.operation(
            ns, "mount", "init", target="/proc", flags="MS_RDONLY|MS_REMOUNT|MS_BIND"
        )
        self.change(proc, cause, options="ro,relatime")

    def _namespace(self, kind: str) -> Namespace:
        number = next(self._names)
        hidden = next(self._unique), next(self._mount_id)
        return Namespace(4096 + number, 0xF0000000 + number % 3000, 1000 + number, kind, hidden)

    def _new(
        self, ns: Namespace, parent: Mount | None, below: str, fstype: str, source: str,
        group: int | None,
    ) -> Mount:  # fmt: skip
        unique = next(self._unique)
        device = f"0:{unique % 0xFFFFF}"
        mount = Mount(
            unique, next(self._mount_id), ns, parent, below, device, fstype, source, group
        )
        ns.mounts[unique] = mount
        return mount

    def skip_uniques(self, count: int) -> int:
        """The first of as many unique ids, for what is gone soon."""
        first = next(self._unique)
        self._unique = itertools.count(first + count)
        return first


def _is_under(mount: Mount | None, top: Mount) -> bool:
    while mount is not None and mount is not top:
        mount = mount.parent
    return mount is top


def _place(mount: Mount) -> str:
    parent = mount.parent.mount_id if mount.parent else mount.ns.hidden[1]
    return f"{mount.path} on {parent}"


def call_columns(syscall: str, comm: str) -> dict[str, Any]:
    """What most operations have in common."""
    return {
        **dict.fromkeys(("fstype", "flags", "propagation", "attributes", "data", "unread"), ""),
        **{"syscall": syscall, "comm": comm, "result": 0, "error": ""},
        **{"parent": 1, "uid": 0, "cgroup": 1, "pidns": 0xEFFFFFFC, "userns": 0xEFFFFFFD},
    }


def actor(ns: Namespace) -> dict[str, int | None]:
    """What an operation has of who did it: the process of a namespace."""
    who = dict.fromkeys(("pid", "tid", "pid_inside"), ns.pid)
    root = ns.root.unique if ns.root else None
    return who | {"ns": ns.ns, "ns_after": ns.ns, "ns_id": ns.ns_id, "root_unique": root}


def mount_columns(mount: Mount) -> dict[str, Any]:
    """What effects and tables have of a mount."""
    parent = mount.parent
    return {
        **{"evidence": "kernel", "mount_id": mount.mount_id, "mnt_id_unique": mount.unique},
        "parent_id": parent.mount_id if parent else mount.ns.hidden[1],
        "parent_unique": parent.unique if parent else mount.ns.hidden[0],
        "parent_path": parent.path if parent else "/",
        **{"mountpoint": mount.path, "root": "/", "device": mount.device},
        **{"fstype": mount.fstype, "source": mount.source},
        **{"shared": mount.shared, "master": mount.master, "propagation": mount.propagation},
        **{"unbindable": False, "locked": False},
    }


def _origin_columns(origin: Mount, carrier: Mount | None) -> dict[str, Any]:
    return {
        **{"copy_of": origin.mount_id, "copy_of_unique": origin.unique},
        **{
            "copy_of_path": origin.path,
            "copy_of_ns": origin.ns.ns,
            "copy_of_ns_id": origin.ns.ns_id,
        },
        "via_group": carrier.shared if carrier else None,
        "via_unique": carrier.unique if carrier else None,
        "via_path": carrier.path if carrier else None,
    }
