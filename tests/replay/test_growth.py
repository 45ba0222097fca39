# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Four times as many mounts take some four times as long, not sixteen."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from mnttrace.capture.join.events import AnyEvent, RoundBegan, RoundEnded, TableRead
from mnttrace.linux.flags import UMOUNT
from tests.replay.build import ME, NS, Core, M, call, detached, everything, line, table

BASE = 1_000_000_000
COPIES = 4
# Each size is tried so often, as others use the processors, too; what is shorter is not compared.
TRIES, SHORTEST = 2, 0.02

Case = Callable[[int], tuple[Core, AnyEvent]]


def seconds(case: Case, size: int) -> float:
    """What the last event of a case takes."""
    taken = []
    for _ in range(TRIES):
        core, event = case(size)
        begin = time.process_time()
        core.take(event)
        taken.append(time.process_time() - begin)
    return min(taken)


def check(case: Case, size: int) -> None:
    assert seconds(case, 4 * size) < 9 * max(seconds(case, size), SHORTEST)


# ---- umounts of large trees


def namespaces() -> Iterator[tuple[M, M]]:
    """The root of each namespace, and a mount on that."""
    for number in range(1 + COPIES):
        ns, base = NS + number, BASE * (1 + number)
        root = M(base + 1, ns=ns, group=1, minor=1)
        yield root, M(base + 5, root, "/t", ns=ns, group=2, minor=2)


def umounted(worlds: list[list[M]]) -> tuple[Core, AnyEvent]:
    core = Core("kernel-hooks", uses_fanotify=False)
    core.take(everything(*worlds))
    taken = [mount for root, *mounts in worlds for mount in mounts]
    core.take(detached(ME, *taken))
    last = taken[-1].unique
    return core, call(
        "umount2", path="/t", flags_value=UMOUNT["MNT_DETACH"], last_detached=last, seq=7
    )


def side_by_side(size: int) -> tuple[Core, AnyEvent]:
    """Each mount is at a place of its own."""
    worlds = []
    for root, top in namespaces():
        first = top.unique + 1000
        mounts = [
            M(first + i, top, f"/t/m{i}", ns=top.ns, group=10 + i, minor=5) for i in range(size)
        ]
        worlds.append([root, top, *mounts])
    return umounted(worlds)


def at_one_dentry(size: int) -> tuple[Core, AnyEvent]:
    """A folder is bound again and again, with a mount in it: all of those are at one dentry."""
    worlds = []
    for root, top in namespaces():
        first, ns = top.unique + 1000, top.ns
        binds = [
            M(first + i, top, f"/t/m{i}", ns=ns, group=3, minor=5, root="/d") for i in range(size)
        ]
        inside = [
            M(first + size + i, bind, f"{bind.at}/x", ns=ns, group=4, minor=6)
            for i, bind in enumerate(binds)
        ]
        worlds.append([root, top, *binds, *inside])
    return umounted(worlds)


def test_umounts_of_large_trees() -> None:
    check(side_by_side, 500)


def test_umounts_of_many_mounts_at_one_dentry() -> None:
    check(at_one_dentry, 25)


def test_what_went_where_in_such_umounts() -> None:
    for case, size in ((side_by_side, 30), (at_one_dentry, 15)):
        core, event = case(size)
        core.take(event)
        found = Counter(core.effects("seq", "via"))
        assert found[7, "direct"] * COPIES == found[7, "peer"]
        assert found.total() == sum(found[7, via] for via in ("direct", "peer"))


# ---- calls between two mount tables


def between_tables(syscall: str, flags: int, goes: bool, copies: int = 0) -> Case:
    """Mounts came or went between two tables, each by a call of its own.

    Args:
        syscall, flags: of the calls.
        goes: whether they take mounts away.
        copies: in how many other namespaces each mount has a copy.
    """

    def case(size: int) -> tuple[Core, AnyEvent]:
        roots = [M(BASE * (1 + i), ns=NS + i, group=1, minor=1) for i in range(1 + copies)]
        mounts = [
            [M(root.unique + 1 + i, root, f"/m{i}", ns=root.ns, minor=2) for i in range(size)]
            for root in roots
        ]
        empty = [[root] for root in roots]
        full = [[root, *those] for root, those in zip(roots, mounts, strict=True)]
        core = Core("syscalls", uses_fanotify=False)
        core.take(_tables(full if goes else empty))
        core.take(RoundEnded(0, "start", [root.ns for root in roots]))
        for number in range(size):
            core.take(call(syscall, path=f"/m{number}", flags_value=flags, seq=1 + number))
        core.take(_tables(empty if goes else full))
        return core, RoundEnded(0, "operation", [root.ns for root in roots])

    return case


def _tables(worlds: list[list[M]]) -> list[AnyEvent]:
    read = [_table(mounts) for mounts in worlds]
    return [RoundBegan(0, "operation"), *read]


def _table(mounts: list[M]) -> TableRead:
    """A table with an id for each mount: build.py makes but 1,000 of them."""
    lines = [line(mount)._replace(mount_id=10 + i) for i, mount in enumerate(mounts)]
    lines[1:] = [one._replace(parent_id=10) for one in lines[1:]]
    unique_ids = {10 + i: mount.unique for i, mount in enumerate(mounts)}
    read = table(mounts[0], is_listed=False, unique_ids=unique_ids)
    read.mounts = lines
    return read


MANY = [
    between_tables("mount", 0, goes=False),
    between_tables("umount2", 0, goes=True),
    between_tables("umount2", UMOUNT["MNT_DETACH"], goes=True),
    between_tables("mount", 0, goes=False, copies=2),
]


def test_calls_between_two_tables() -> None:
    for case in MANY:
        check(case, 250)


def test_what_such_calls_are_found_to_have_done() -> None:
    for case in MANY:
        core, event = case(20)
        core.take(event)
        found = core.effects("seq", "via", "evidence", "mountpoint")
        namespaces = len(event.alive) if isinstance(event, RoundEnded) else 0
        assert Counter(one[1] for one in found) == Counter(
            {"direct": 20, "peer": 20 * (namespaces - 1)}
        )
        for seq, _, evidence, mountpoint in found:
            assert (evidence, mountpoint) == ("model", f"/m{seq - 1}")
