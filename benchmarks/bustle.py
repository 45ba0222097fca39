# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that come and go, for a synthetic recording: all of an epoch at once, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from world import BOOTED, Mount, Namespace, World, actor, call_columns

from mnttrace.linux.flags import flags_value
from mnttrace.recording.schema import schema

# Mount ids and peer groups from here on are used again and again, by what is gone soon.
BRIEF = 1 << 24
SOURCES = ["scratch", "tmpfs", "/dev/mapper/data", 'a "quoted" <b>source</b>', "line\nbreak"]
PRIVATE_STEPS = 6

Values = Any  # a scalar, a numpy array or an Arrow array


class Bustle:
    """What goes on between births: mounts that come and go, failures, calls that do nothing.

    Who has the volumes does not change meanwhile, so all is made at once, as arrays.
    """

    def __init__(self, world: World, count: int, effects: int) -> None:
        """Plan `count` operations with about as many `effects`."""
        self._world, self._rng, self._count = world, world.rng, count
        self._members = [[(volume, ""), *world.receivers(volume)] for volume in world.volumes]
        self._containers = [ns for ns in world.alive.values() if ns.kind == "container"]
        fan_out = sum(map(len, self._members)) / len(self._members)
        share = np.clip((effects / count - 0.85) / max(fan_out - 0.85, 0.1), 0.02, 0.8)
        self._carried = int(share * count / 2)
        self._own = int((0.85 - share if share < 0.75 else 0.1) * count / PRIVATE_STEPS)
        self._failed = (count - 2 * self._carried - PRIVATE_STEPS * self._own) // 2
        self._idle = count - 2 * self._carried - PRIVATE_STEPS * self._own - self._failed
        steps = np.repeat(
            [2, PRIVATE_STEPS, 1], [self._carried, self._own, self._failed + self._idle]
        )
        self._seqs = self._order(steps)
        gaps = 400_000 + self._rng.exponential(600_000, count).astype(np.int64)
        self._times = world.now + np.cumsum(gaps)
        self._effects: list[tuple[np.ndarray, np.ndarray, dict[str, Values]]] = []
        self._operations: list[tuple[np.ndarray, dict[str, Values]]] = []

    def _order(self, steps: np.ndarray) -> np.ndarray:
        """The place in the order of each step of each episode; steps of one follow each other."""
        episode = np.repeat(np.arange(len(steps)), steps)
        starts = np.repeat(np.cumsum(steps) - steps, steps)
        waited = np.cumsum(self._rng.exponential(20 / self._count, len(episode)))
        keys = self._rng.random(len(steps))[episode] + waited - waited[starts]
        places = np.empty(len(keys), np.int64)
        places[np.argsort(keys, kind="stable")] = np.arange(len(keys))
        return places

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """The operations and the effects, in order."""
        carried, own = 2 * self._carried, PRIVATE_STEPS * self._own
        self._in_volumes(self._seqs[:carried].reshape(-1, 2))
        self._in_containers(self._seqs[carried : carried + own].reshape(-1, PRIVATE_STEPS))
        self._without_effects(self._seqs[carried + own :])
        operations = pa.concat_tables(
            made_of("operations", len(seqs), columns) for seqs, columns in self._operations
        )
        seqs = np.concatenate([seqs for seqs, _ in self._operations])
        operations = operations.take(np.argsort(seqs))
        effects = pa.concat_tables(
            made_of("effects", len(seqs), columns) for seqs, _, columns in self._effects
        )
        seqs = np.concatenate([seqs for seqs, _, _ in self._effects])
        ranks = np.concatenate([ranks for _, ranks, _ in self._effects])
        effects = effects.take(np.lexsort((ranks, seqs)))
        self._world.now = int(self._times[-1])
        self._world.seq += self._count
        return operations, effects

    def _when(self, places: np.ndarray) -> dict[str, Values]:
        times = self._times[places]
        return {
            "seq": places + self._world.seq + 1,
            "monotonic": times,
            "ts": pa.array(times + BOOTED).cast(pa.timestamp("ns", tz="UTC")),
        }

    def _operate(self, places: np.ndarray, actors: dict[str, Values], **columns: Values) -> None:
        told = call_columns("", "") | {"source": "", "target": ""} | actors | columns
        told |= {"path": told["target"], "source_path": told["source"]} | self._when(places)
        told["flags_value"] = flags_value(str(told["flags"]), str(told["propagation"]))
        told["latency"] = self._rng.integers(5_000, 100_000, len(places))
        self._operations.append((places, told))

    def _affect(
        self, places: np.ndarray, actors: dict[str, Values], ranks: np.ndarray, action: str,
        **columns: Values,
    ) -> None:  # fmt: skip
        told = {"evidence": "kernel", "root": "/", "unbindable": False, "locked": False}
        told |= {"pid": actors["pid"], "tid": actors["pid"], "action": action}
        told |= {
            "fstype": "tmpfs",
            "source": pa.array(SOURCES).take(pa.array(places % len(SOURCES))),
        }
        self._effects.append((places, ranks, told | self._when(places) | columns))

    def _in_volumes(self, places: np.ndarray) -> None:
        """Mounts under the volumes and their umounts, by whoever has a peer of it."""
        count, rng = len(places), self._rng
        sizes = np.array([len(members) for members in self._members])
        peers = np.array([sum(v != "slave" for _, v in members) for members in self._members])
        first = np.cumsum(sizes) - sizes
        flat = [mount for members in self._members for mount, _ in members]
        volume = rng.integers(0, len(sizes), count)
        by_host = rng.random(count) < 0.6
        actor = first[volume] + np.where(
            by_host, 0, (rng.random(count) * peers[volume]).astype(int)
        )
        # A row for each member of the volume's group, whose own mount comes first.
        episode = np.repeat(np.arange(count), sizes[volume])
        member = np.arange(len(episode)) - np.repeat(
            np.cumsum(sizes[volume]) - sizes[volume], sizes[volume]
        )
        is_slave = member >= peers[volume][episode]
        member = member + first[volume][episode]
        is_own = member == actor[episode]
        rank = np.where(is_own, 0, np.where(is_slave, 2, 1))
        order = np.lexsort((rank, places[episode, 0]))
        episode, member, is_slave, is_own, rank = (
            column[order] for column in (episode, member, is_slave, is_own, rank)
        )
        unique = self._world.skip_uniques(len(episode)) + np.arange(len(episode))
        mount_id = BRIEF + np.arange(len(episode))
        direct = np.empty(count, np.int64)
        direct[episode[is_own]] = np.flatnonzero(is_own)
        on, by = Mounts(flat, member), Mounts(flat, actor)
        name = _texts("/brief-%d", np.arange(count))
        target = _joined(by.path, name)
        group = BRIEF + episode
        origin = pa.array(direct[episode], mask=is_own)
        by_each = Mounts(flat, actor[episode])
        actors = by_each.actors
        columns = {
            **on.as_parents(),
            "via": pa.array(["direct", "peer", "slave"]).take(pa.array(rank)),
            **{"mount_id": mount_id, "mnt_id_unique": unique},
            "mountpoint": _joined(on.path, name.take(pa.array(episode))),
            "device": _texts("0:%d", 1000 + episode),
            **{"shared": pa.array(group, mask=is_slave), "master": pa.array(group, mask=~is_slave)},
            "propagation": pa.array(["shared", "slave"]).take(pa.array(is_slave.astype(int))),
            **{
                "copy_of": pa.array(mount_id).take(origin),
                "copy_of_unique": pa.array(unique).take(origin),
            },
            "copy_of_path": target.take(pa.array(episode, mask=is_own)),
            "copy_of_ns": pa.array(actors["ns"], mask=is_own),
            "copy_of_ns_id": pa.array(actors["ns_id"], mask=is_own),
            "via_group": pa.array(by_each.of("shared"), mask=is_own),
            "via_unique": pa.array(by_each.of("unique"), mask=is_own),
            "via_path": by_each.path.take(pa.array(np.arange(len(episode)), mask=is_own)),
        }
        told = {"comm": "mount", "fstype": "tmpfs", "source": "scratch", "target": target}
        self._operate(places[:, 0], by.actors, syscall="mount", **told)
        told = {"comm": "umount", "target": target}
        self._operate(places[:, 1], by.actors, syscall="umount2", **told)
        source = pa.array(SOURCES).take(pa.array(places[episode, 0] % len(SOURCES)))
        for step, action in enumerate(("attach", "detach")):
            at = places[episode, step]
            self._affect(at, actors, rank, action, **columns | {"source": source})

    def _in_containers(self, places: np.ndarray) -> None:
        """Trees in the containers' own roots: mounted, made read-only, moved and unmounted."""
        count = len(places)
        chosen = self._rng.integers(0, len(self._containers), count)
        on = Mounts([ns.root for ns in self._containers], chosen)
        actors, zeros = on.actors, np.zeros(count, int)
        first = self._world.skip_uniques(2 * count) + 2 * np.arange(count)
        old, new = _texts("/data-%d", np.arange(count)), _texts("/moved/%d", np.arange(count))
        id = 2 * BRIEF + 2 * np.arange(count)
        outer = on.as_parents() | {"mount_id": id, "mnt_id_unique": first}
        outer |= {"device": _texts("0:%d", 500_000 + np.arange(count)), "propagation": "private"}
        inner = outer | {"mount_id": id + 1, "mnt_id_unique": first + 1}
        inner |= {"parent_id": id, "parent_unique": first}
        root_id = _texts(" on %d", on.of("mount_id"))
        moves = {"before": _joined(old, root_id), "after": _joined(new, root_id)}
        remounts = {"before": "private rw,relatime", "after": "private ro,relatime"}
        inside = [_joined(path, pa.repeat("/in", count)) for path in (old, new)]
        remount = {"flags": "MS_RDONLY|MS_REMOUNT|MS_BIND"}
        within = [inner | {"parent_path": path} for path in (old, new)]
        steps: list[tuple[str, str, Values, Values, dict[str, Values], dict[str, Values]]] = [
            ("mount", "attach", "data", old, {"fstype": "tmpfs"}, outer),
            ("mount", "attach", "in", inside[0], {"fstype": "tmpfs"}, within[0]),
            ("mount", "change", "", old, remount, outer | remounts),
            ("mount", "move", old, new, {"flags": "MS_MOVE"}, outer | moves),
            ("umount2", "detach", "", inside[1], {}, within[1]),
            ("umount2", "detach", "", new, {}, outer),
        ]
        source = pa.array(SOURCES).take(pa.array(places[:, 0] % len(SOURCES)))
        for step, (syscall, action, what, target, more, did) in enumerate(steps):
            at, called = places[:, step], {"source": what, "target": target}
            self._operate(at, actors, syscall=syscall, comm="sh", **called | more)
            where = {"mountpoint": target, "source": source, "via": "direct"}
            self._affect(at, actors, zeros, action, **did | where)

    def _without_effects(self, places: np.ndarray) -> None:
        chosen = self._rng.integers(0, len(self._containers), len(places))
        failed = _actors(self._containers, chosen[: self._failed])
        idle = _actors(self._containers, chosen[self._failed :])
        at, rest = places[: self._failed], places[self._failed :]
        told = {"target": _texts("/volume/none-%d", at), "result": -22, "error": "EINVAL"}
        self._operate(at, failed, syscall="umount2", comm="umount", **told)
        self._operate(rest, idle, syscall="setns", comm="nsenter", flags="CLONE_NEWNS")


def _actors(namespaces: list[Namespace], numbers: np.ndarray) -> dict[str, Values]:
    """What operations have of who did them, by the number of the namespace."""
    rows = [actor(ns) for ns in namespaces]
    return {name: np.array([row[name] for row in rows], np.int64)[numbers] for name in rows[0]}


class Mounts:
    """Mounts by their numbers in a list, as columns."""

    def __init__(self, mounts: list[Mount], numbers: np.ndarray) -> None:
        self._mounts, self._numbers = mounts, numbers

    def of(self, name: str) -> np.ndarray:
        return np.array([getattr(m, name) or 0 for m in self._mounts], np.int64)[self._numbers]

    @property
    def path(self) -> pa.Array:
        return pa.array([m.path for m in self._mounts]).take(pa.array(self._numbers))

    @property
    def actors(self) -> dict[str, Values]:
        return _actors([m.ns for m in self._mounts], self._numbers)

    def as_parents(self) -> dict[str, Values]:
        spaces = self.actors
        return {
            **{"ns": spaces["ns"], "ns_id": spaces["ns_id"], "parent_path": self.path},
            **{"parent_id": self.of("mount_id"), "parent_unique": self.of("unique")},
        }


def _texts(template: str, numbers: np.ndarray) -> pa.Array:
    before, after = template.split("%d")
    return pc.binary_join_element_wise(before, pa.array(numbers).cast(pa.string()), after, "")


def _joined(above: pa.Array, below: pa.Array) -> pa.Array:
    """Paths below others; what is below "/" has no second slash."""
    above = pc.if_else(pc.equal(above, "/"), "", above)
    return pc.binary_join_element_wise(above, below, "")


def made_of(table: str, count: int, columns: dict[str, Values]) -> pa.Table:
    """Rows of a table from values a column; columns that are not given are null."""
    arrays = []
    for one in schema(table):
        values = columns.get(one.name)
        if values is None:
            array = pa.nulls(count, one.type)
        elif isinstance(values, np.ndarray | pa.Array | pa.ChunkedArray):
            array = pa.array(values) if isinstance(values, np.ndarray) else values
            array = array.cast(one.type)
        else:
            array = pa.repeat(pa.scalar(values, one.type), count)
        arrays.append(array)
    return pa.table(arrays, schema=schema(table))
