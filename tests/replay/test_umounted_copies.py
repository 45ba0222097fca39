# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which copies went with a umount, where only the last mount that its thread freed is known: what
the kernel skips (propagate_umount() in fs/pnode.c) went with the thread's next call."""

from __future__ import annotations

from typing import Any

import pytest

from mnttrace.linux.flags import UMOUNT
from mnttrace.linux.options import MNT_LOCKED
from mnttrace.probes.records import BY_RELEASE_READ
from tests.replay.build import (
    ME,
    NS,
    OTHER,
    YOU,
    Core,
    M,
    call,
    detached,
    everything,
    survey,
    table,
)

ROOT = M(1, group=1)
THERE = M(101, group=1, ns=OTHER, minor=1)
A, COPY = M(2, ROOT, "/a"), M(102, THERE, "/a", ns=OTHER, minor=2)
INSIDE = M(103, COPY, "/a/in", ns=OTHER)
FREED: dict[str, Any] = {"known_by": BY_RELEASE_READ, "path": "/a"}


def umount(last: int, seq: int = 5, **columns: Any) -> Any:
    return call("umount2", seq=seq, last_detached=last, **FREED | columns)


def detaches(core: Core) -> list[tuple[Any, ...]]:
    found = core.effects("action", "seq", "via", "mnt_id_unique")
    return [one[1:] for one in found if one[0] == "detach"]


@pytest.mark.parametrize("why", ["nothing", "a child", "a cover", "a lock"])
def test_a_copy_stays_that_has_children_or_is_locked(why: str) -> None:
    flags = MNT_LOCKED if why == "a lock" else 0
    copy = M(102, THERE, "/a", ns=OTHER, minor=2, flags=flags)
    above = {"a child": "/a/in", "a cover": "/a"}.get(why)
    on_it = [M(103, copy, above, ns=OTHER)] if above else []
    core = Core()
    core.take(*everything([ROOT, A], [THERE, copy, *on_it]))
    core.take(detached(ME, A, copy, *on_it), umount(A.unique))
    last = 103 if on_it else 102
    core.take(umount(last, seq=6, ns=OTHER, flags_value=UMOUNT["MNT_DETACH"]))
    of_second = {"a child": [102, 103], "a cover": [103], "a lock": [102]}.get(why, [])
    of_first = [] if 102 in of_second else [(5, "peer", 102)]
    rest = [(6, "direct", unique) for unique in of_second]
    assert detaches(core) == [(5, "direct", 2), *of_first, *rest]


@pytest.mark.parametrize("tid", [ME, YOU])
def test_a_child_that_went_before_keeps_no_copy(tid: int) -> None:
    """Its own call is not seen, or has not ended."""
    core = Core()
    core.take(*everything([ROOT, A], [THERE, COPY, INSIDE]))
    core.take(detached(tid, INSIDE), detached(ME, A, COPY), umount(A.unique))
    assert [one for one in detaches(core) if one[2] != INSIDE.unique] == [
        (5, "direct", A.unique),
        (5, "peer", COPY.unique),
    ]


def test_nor_does_one_that_was_to_go_before() -> None:
    """Nothing was reported of its namespace then."""
    below = M(3, A, "/a/in")
    own = M(2, ROOT, "/a", group=2)
    copy = M(102, THERE, "/a", ns=OTHER, minor=2, group=2)
    core = Core()
    core.take(*everything([ROOT, own, below], [THERE, copy, INSIDE], is_watched=False))
    core.take(survey(ROOT, own, below), detached(ME, below))
    core.take(call("umount2", seq=4, last_detached=3, path="/a/in"))
    core.take(table(THERE, copy, is_listed=False), detached(ME, own, copy), umount(own.unique))
    core.take(everything([ROOT], [THERE], reason="end", alive=[NS, OTHER]))
    assert sorted(detaches(core)) == [
        (4, "direct", 3),
        (4, "peer", 103),
        (5, "direct", 2),
        (5, "peer", 102),
    ]
