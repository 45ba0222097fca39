# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mount tables as text, to be written and compared in tests.

A line is one mount: its namespace, its mountpoint, its device with its root, and what else there is
to it in any order: shared:N, master:N, unbindable, locked.

    host /      8:1/
    host /mnt   8:2/sub  shared:1 master:2

A mount is on the last one above it in whose directory it lies; so the same mountpoint twice is a
mount that covers another one.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Hashable, Mapping

import pytest

from mnttrace.analysis.model.mounts import Effect, Mount, Refused, Spot, place_of
from mnttrace.analysis.model.tables import Tables

# The propagation types of a mount, as fields of a line. Group 8 and 9 are those of others.
TYPES = {
    "shared": "shared:1",
    "private": "",
    "slave": "master:8",
    "shared-and-slave": "shared:1 master:8",
    "unbindable": "unbindable",
}
SHARED = ("shared", "shared-and-slave")
NOT_SHARED = ("private", "slave", "unbindable")

_WHERE = re.compile("([0-9]+):([0-9]+)(.+)")


def world(text: str, *, owners: Mapping[Hashable, Hashable] | None = None) -> Tables:
    """The tables that a text describes; ids are the numbers of its lines, from 1 on.

    The parent of each "/" is one that is not in the tables, as in those of the kernel.
    """
    mounts: list[Mount] = []
    paths: list[str] = []
    for number, line in enumerate(textwrap.dedent(text).strip().splitlines(), 1):
        ns, path, where, *rest = line.split()
        fields = dict(field.partition(":")[::2] for field in rest)
        major, minor, root = _WHERE.fullmatch(where).groups()  # type: ignore[union-attr]
        above = [
            (mount, at)
            for mount, at in zip(mounts, paths, strict=True)
            if mount.ns == ns and (at in ("/", path) or path.startswith(at + "/"))
        ]
        parent, at = above[-1] if above else (None, "")
        mounts.append(
            Mount(
                number,
                ns,
                1000 + number if parent is None else parent.id,
                "/" if parent is None else place_of(path, at, parent.root),
                f"{major}:{minor}",
                root,
                int(fields["shared"]) if "shared" in fields else None,
                int(fields["master"]) if "master" in fields else None,
                "unbindable" in fields,
                "locked" in fields,
            )
        )
        paths.append(path)
    return Tables(mounts, owners=owners)


def text(tables: Tables) -> str:
    """Tables as text that is the same for all that are alike.

    Each mount comes after the one it is on, and is indented by how many it is on; groups are
    numbered as they appear.
    """
    numbers: dict[int, int] = {}

    def number(group: int) -> int:
        return numbers.setdefault(group, len(numbers) + 1)

    lines = []
    for ns in sorted(tables.roots, key=str):
        tops = [mount for mount in tables.in_namespace(ns) if mount.parent not in tables.mounts]
        pending = [(mount, 0) for mount in reversed(tops)]
        while pending:
            mount, depth = pending.pop()
            fields = [str(ns), "  " * depth + tables.path(mount.id), mount.device + mount.root]
            if mount.group is not None:
                fields.append(f"shared:{number(mount.group)}")
            if mount.master is not None:
                fields.append(f"master:{number(mount.master)}")
            fields += ["unbindable"] * mount.unbindable + ["locked"] * mount.locked
            lines.append(" ".join(fields))
            below = sorted(tables.children(mount.id), key=lambda child: child.place, reverse=True)
            pending += [(child, depth + 1) for child in below]
    return "\n".join(lines)


def assert_like(tables: Tables, expected: str) -> None:
    """Compare tables with those that a text describes."""
    assert text(tables) == text(world(expected))


def told(effects: list[Effect], tables: Tables) -> list[str]:
    """Effects, each as a line."""
    return [
        f"{effect.action} {effect.mount.ns} {tables.path(effect.mount.id)} {effect.via}"
        for effect in effects
    ]


def refusal(function: Callable[[], object]) -> str:
    """The error that an operation is refused with."""
    with pytest.raises(Refused) as refused:
        function()
    assert refused.value.reason in str(refused.value)
    return refused.value.errno


def at(tables: Tables, path: str, ns: str = "host") -> Spot:
    """Where a path leads."""
    return tables.resolve(ns, path)


def seen(tables: Tables, path: str, ns: str = "host") -> Mount:
    """The mount that a path leads to."""
    return tables.mounts[tables.resolve(ns, path).mount]


def check_indexes(tables: Tables) -> None:
    """The indexes are those that tables made anew from the mounts would have."""
    fresh = Tables(tables.mounts.values())
    for mount in tables.mounts.values():
        assert {child.id for child in tables.children(mount.id)} == {
            child.id for child in fresh.children(mount.id)
        }
        for look in (
            lambda tables, mount=mount: tables.members(mount.group),
            lambda tables, mount=mount: tables.slaves(mount.group),
            lambda tables, mount=mount: tables.in_namespace(mount.ns),
            lambda tables, mount=mount: tables.with_root(mount.device, mount.root),
            lambda tables, mount=mount: tables.mounted_on(mount.device, mount.place),
        ):
            assert {found.id for found in look(tables)} == {found.id for found in look(fresh)}
