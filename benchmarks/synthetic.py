#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Writes a recording of any size, as one of a busy container host could be.

    .venv/bin/python benchmarks/synthetic.py OUT.mnttrace --operations 1000000 --namespaces 2000

A host has shared volumes. Containers are born as runc makes them (a copy of the host's namespace,
a root of their own, one of the volumes bound in as a peer or a slave, pivot_root, the old root
unmounted lazily); services keep the whole copy, as slaves or private. Between births mounts come
and go under the volumes, with copies in all that have these, and in the containers' own roots.
Some mounts of containers stay and outlive these; some of the host's are held by private services.

Effects and tables follow the rules of shared subtrees: the tables at the end are those at the start
and the effects, and the model predicts each operation's copies. What is left over is told in
meta.json: `made`, lists of [ns_id, mount_id] under "reached" (copies that came to another namespace
and are still there), "residue" (those of them whose original is gone) and "held".

The same arguments give the same recording.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bustle import Bustle
from world import BOOTED, STARTED, Mount, Namespace, World, from_rows, mount_columns

from mnttrace.recording.schema import COLUMNS, FORMAT, schema

EFFECTS_EACH = 5  # effects an operation, on average
ROWS = 1 << 20  # of a row group


class Tables:
    """The recording's files, written in row groups."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pending: dict[str, list[pa.Table]] = {table: [] for table in COLUMNS}
        self._writers = {
            table: pq.ParquetWriter(directory / f"{table}.parquet", schema(table))
            for table in COLUMNS
        }

    def add(self, table: str, rows: pa.Table) -> None:
        pending = self._pending[table]
        pending.append(rows)
        if sum(part.num_rows for part in pending) >= ROWS:
            self._write(table)

    def _write(self, table: str) -> None:
        if self._pending[table]:
            self._writers[table].write_table(pa.concat_tables(self._pending[table]))
            self._pending[table].clear()

    def close(self) -> None:
        for table, writer in self._writers.items():
            self._write(table)
            writer.close()


class Snapshots:
    """The mount tables of namespaces, written as changes against the ones before."""

    def __init__(self, tables: Tables) -> None:
        self._tables, self._number = tables, 0

    def take(self, world: World, namespaces: Iterable[Namespace], reason: str) -> None:
        snapshots: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for ns in namespaces:
            self._number += 1
            world.now += 20_000
            at = {"snapshot": self._number, "ns": ns.ns, "ns_id": ns.ns_id}
            told = {"started": world.now, "ended": world.now + 10_000, "reason": reason}
            snapshots.append(at | told | {"operations": world.seq})
            before = ns.told
            now = {} if reason == "gone" else {u: _line(m) for u, m in ns.mounts.items()}
            first = not before
            rows += [at | dict(zip(LINE, old, strict=True)) | {"change": "removed"}
                     for u, old in before.items() if u not in now]  # fmt: skip
            for unique, line in now.items():
                if before.get(unique) != line:
                    change = "initial" if first else "changed" if unique in before else "added"
                    rows.append(at | dict(zip(LINE, line, strict=True)) | {"change": change})
            ns.told = now
        self._tables.add("snapshots", from_rows("snapshots", snapshots))
        self._tables.add("mounts", from_rows("mounts", rows))


LINE = [column.name for column in COLUMNS["mounts"]][4:]


def _line(mount: Mount) -> tuple[Any, ...]:
    told = mount_columns(mount) | {"options": mount.options, "super_options": "rw"}
    return tuple(told[name] for name in LINE)


def generate(directory: Path, operations: int, namespaces: int, seed: int = 0) -> None:
    """Write the recording; one that is there is replaced."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tables = Tables(directory)
    snapshots = Snapshots(tables)
    world = World(max(1, namespaces // 32), np.random.default_rng(seed))
    at_first = max(2, namespaces * 2 // 5)
    for _ in range(at_first):
        world.birth()
    ever = [world.host, *world.alive.values()]
    snapshots.take(world, ever, "start")
    world.recording = True
    for part in epochs(world, operations, namespaces - at_first - 1):
        ever += part.born
        snapshots.take(world, (ns for ns in part.died if ns.told), "gone")
        tables.add("operations", part.operations)
        tables.add("effects", part.effects)
    world.now += 1_000_000
    snapshots.take(world, [world.host, *world.alive.values()], "end")
    tables.add("namespaces", from_rows("namespaces", [_namespace(world, ns) for ns in ever]))
    tables.add("processes", from_rows("processes", [_process(ns) for ns in ever]))
    tables.close()
    (directory / "meta.json").write_text(json.dumps(_meta(world)))


class Epoch(NamedTuple):
    """A part of the recording."""

    born: list[Namespace]
    died: list[Namespace]
    operations: pa.Table
    effects: pa.Table


def epochs(world: World, operations: int, births: int) -> Iterator[Epoch]:
    """All that happens: births and deaths, and in between what comes and goes."""
    count = max(4, min(100, operations // 5000))
    bounds = np.linspace(0, operations, count + 1).astype(int)
    shares = np.diff(np.linspace(0, births, count + 1).astype(int))
    for begin, end, share in zip(bounds, bounds[1:], shares, strict=False):
        containers = [ns for ns in world.alive.values() if ns.kind == "container"]
        dying = world.rng.permutation(len(containers))[: share * 4 // 5]
        died = [containers[number] for number in dying]
        for ns in died:
            world.death(ns)
        born = world.disk(share)
        staying = [ns for ns in containers if ns.ns_id in world.alive]
        peers = [ns for ns in staying if ns.volume and ns.volume.shared]
        if peers:
            world.leave(peers[world.rng.integers(len(peers))])
        if staying:
            world.settle(staying[world.rng.integers(len(staying))])
        first = world.flush()
        wanted = EFFECTS_EACH * (end - begin) - first[1].num_rows
        then = Bustle(world, end - world.seq, wanted).tables()
        yield Epoch(born, died, *(pa.concat_tables(pair) for pair in zip(first, then, strict=True)))


def _namespace(world: World, ns: Namespace) -> dict[str, Any]:
    is_container = ns.kind == "container"
    comm = {"host": "systemd", "container": "runc:[2:INIT]"}.get(ns.kind, "service")
    name = "host" if ns is world.host else f"{'web' if is_container else 'service'}-{ns.ns_id}"
    row = {
        "ns": ns.ns,
        "ns_id": ns.ns_id,
        "name": name,
        "pid": ns.pid,
        "comm": comm,
        "command": name,
    }
    row |= dict.fromkeys(("runtime", "image", "pod", "pod_namespace", "unit", "id"), "")
    row |= {"kind": {"service": "process"}.get(ns.kind, ns.kind), "seq": world.births.get(ns.ns_id)}
    if is_container:
        row |= {"id": f"{ns.ns_id:064x}", "runtime": "runc", "image": "registry.example/web"}
    if ns is not world.host:
        row |= {"parent_ns": world.host.ns, "parent_ns_id": world.host.ns_id}
    return row


def _process(ns: Namespace) -> dict[str, Any]:
    row = {"pid": ns.pid, "started": STARTED, "seen": STARTED, "parent": 1, "uid": 0, "comm": "sh"}
    row |= {"parent_comm": "runc", "command": f"sh -c 'work --for {ns.ns_id}'", "ns": ns.ns}
    return row | {"ns_id": ns.ns_id, "cgroup": 1, "cgroup_path": f"/c{ns.ns_id}"}


def _meta(world: World) -> dict[str, Any]:
    there = [(copy, first) for copy, first in world.left if copy.unique in copy.ns.mounts]
    made = {
        "reached": [copy for copy, _ in there],
        "residue": [copy for copy, first in there if first.unique not in first.ns.mounts],
        "held": [copy for copy in world.held if copy.unique in copy.ns.mounts],
    }
    return {
        **{"format": FORMAT, "mnttrace": "0.1.0", "host": "synthetic", "kernel": "none"},
        **{"machine": "x86_64", "boot_id": "", "wall_offset": BOOTED, "command": []},
        **{"started": BOOTED + STARTED, "stopped": BOOTED + world.now, "complete": True},
        **{"traced": ["mount", "unshare"], "missing": [], "filters": {}, "losses": {}},
        "mount_max": 100_000,
        **{"sees": {"mounts made": True, "mounts detached": True}},
        "home_ns_id": world.host.ns_id,
        "made": {kind: [[m.ns.ns_id, m.mount_id] for m in found] for kind, found in made.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--namespaces", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generate(given.output, given.operations, given.namespaces, given.seed)


if __name__ == "__main__":
    main()
