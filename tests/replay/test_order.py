# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Whatever order the sources allow among themselves, the same effects. Which orders these are is in
:mod:`tests.replay.reordered`."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replay.logs import NAMES, Log, Rows, load
from tests.replay.reordered import Order, Touched
from tests.replay.test_properties import examples

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
    @examples(8)
    @given(CHANGES)
    def same(numbers: list[int]) -> None:
        log, order, made = reordered(name, numbers)
        found, wanted = effects(log.rows(order.events())), usual(name)[0]
        assert found == wanted, (made, found - wanted, wanted - found)

    same()
