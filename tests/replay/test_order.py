# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Whatever order the sources allow among themselves, the same effects. Which orders these are is in
:mod:`tests.replay.reordered`.

In small worlds threads mount and unmount at once: what happens first is drawn, and how much later
than others' each call's record comes. Mount events come in the order of what happens.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnttrace.capture.join.events import AnyEvent
from mnttrace.probes.records import HOW_PROPAGATED
from tests.replay.build import (
    MS,
    OTHER,
    Core,
    M,
    attached,
    call,
    dentry,
    detached,
    entry,
    everything,
    made,
)
from tests.replay.logs import NAMES, Log, Rows, load
from tests.replay.reordered import Order, Touched
from tests.replay.test_properties import examples, fewer

CHANGES = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=30)
Effect = tuple[object, ...]


def effects(rows: Rows) -> Counter[Effect]:
    """What happened to which mount, how that is known, and by whom."""
    calls = {
        row["seq"]: (row["tid"], row["monotonic"]) for table, row in rows if table == "operations"
    }
    return Counter(
        (
            row["action"],
            row["via"],
            row["evidence"],
            row["mnt_id_unique"],
            row["tid"],
            calls.get(row["seq"]),
        )
        for table, row in rows
        if table == "effects"
    )


@cache
def usual(name: str) -> tuple[Counter[Effect], Touched]:
    rows = load(name).rows()
    touched: Touched = {}
    for table, row in rows:
        if table == "effects" and row["seq"] is not None:
            mounts = {row["mnt_id_unique"], row["copy_of_unique"]}
            touched.setdefault(row["seq"], set()).update(mounts - {None})
    return effects(rows), touched


def reordered(name: str, numbers: list[int]) -> tuple[Log, Order, list[str]]:
    log = load(name)
    order = Order(log.events(), usual(name)[1], log.setting.uses_fanotify)
    return log, order, [order.change(number) for number in numbers]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_order_the_same_effects(name: str) -> None:
    @examples(fewer(name, 8))
    @given(CHANGES)
    def same(numbers: list[int]) -> None:
        log, order, made = reordered(name, numbers)
        found, wanted = effects(log.rows(order.events())), usual(name)[0]
        assert found == wanted, (made, found - wanted, wanted - found)

    same()


# ---- small worlds

ROOT, FAR = M(1, group=1), M(2, ns=OTHER, group=1, minor=1)
PATHS = ("/a", "/b", "/c")
NAMES_OF_DENTRIES = {dentry(ROOT, path): path for path in PATHS}
# Which thread does something next, and how many other things happen before its record comes.
STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=2, max_size=16)


def world(steps: list[tuple[int, int]], backend: str) -> Core:
    """Each thread mounts on a path of its own, whose mounts have copies in another namespace,
    and unmounts that again."""
    mounted: dict[int, tuple[M, M]] = {}
    stream: list[tuple[int, int, AnyEvent]] = []
    last: dict[int, int] = {}
    for now, (thread, delay) in enumerate(steps):
        tid, path = 100 + thread, PATHS[thread]
        columns = {"tid": tid, "path": path, "seq": now + 1, "monotonic": (now + 1) * 10 * MS}
        pair = mounted.pop(thread, None)
        if pair is None:
            minor = 10 + now
            pair = mounted[thread] = (
                M(100 + now, ROOT, path, minor=minor, group=minor),
                M(200 + now, FAR, path, ns=OTHER, minor=minor, group=minor),
            )
            event = attached(tid, *pair, at=now + 1)
            # A walk meets what others have mounted meanwhile, too.
            lists = [
                one
                for mount, copy in mounted.values()
                for one in (mount, entry(copy, HOW_PROPAGATED, origin=mount.unique))
            ]
            ended = call("mount", made(*lists), names=dict(NAMES_OF_DENTRIES), **columns)
        else:
            event = detached(tid, *pair, at=now + 1)
            ended = call("umount2", last_detached=pair[1].unique, **columns)
        last[thread] = max(now + delay, last.get(thread, 0))
        stream += [(now, 0, event), (last[thread], now + 1, ended)]
    core = Core(backend)
    core.take(everything([ROOT], [FAR]))
    for *_, event in sorted(stream, key=lambda one: one[:2]):
        event.at = 0
        core.take(event)
    return core


@pytest.mark.parametrize("backend", ["walk", "kernel-hooks"])
@examples(150)
@given(STEPS)
def test_threads_at_once(backend: str, steps: list[tuple[int, int]]) -> None:
    wanted, there = [], dict[int, int]()
    for now, (thread, _) in enumerate(steps):
        number = there.pop(thread, None)
        action = "attach" if number is None else "detach"
        if number is None:
            number = there[thread] = now
        wanted += [
            (now + 1, action, "direct", "kernel", 100 + number),
            (now + 1, action, "peer", "kernel", 200 + number),
        ]
    assert sorted(world(steps, backend).effects()) == sorted(wanted)
