# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Four times as many mounts take some four times as long, not sixteen."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

from mnttrace.capture.join.events import AnyEvent
from mnttrace.linux.flags import UMOUNT
from tests.replay.build import ME, NS, Core, M, call, detached, everything

BASE = 1_000_000_000
COPIES = 4
# Each size is tried so often, as others use the processors, too; what is shorter is not compared.
TRIES, SHORTEST = 3, 0.02

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
