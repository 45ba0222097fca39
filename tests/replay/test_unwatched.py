# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces that were just born: calls list them, as nobody reports yet what goes there."""

from __future__ import annotations

import pytest

from mnttrace.capture.join.events import LossesCounted, NamespaceEnded, ThreadChecked
from mnttrace.capture.join.mount_list import MountList
from mnttrace.probes.records import LIST_UNWATCHED
from tests.replay.build import ME, MS, OTHER, YOU, Core, M, after, birth, call, detached, everything
from tests.replay.test_without_calls import ROOT, A, started

TOP = M(101, ns=OTHER, master=1, minor=1)
COPY = M(102, TOP, "/a", ns=OTHER, minor=2)
OTHERS = M(104, TOP, "/other", ns=OTHER, minor=4)


def unwatched(*mounts: M) -> MountList:
    return after(*mounts, ns=OTHER, reason=LIST_UNWATCHED)


def born(*mounts: M) -> Core:
    """A namespace has the mounts of another one, of which alone is reported."""
    core = started([ROOT, A])
    core.take(call("clone", birth(TOP, *mounts), seq=5, child=8, ns_target=OTHER))
    core.answer()
    return core


def test_what_a_list_lacks_after_a_umount_went_with_it() -> None:
    core = born(COPY)
    core.take(detached(ME, A), call("umount2", unwatched(TOP), seq=6, path="/a", last_detached=2))
    assert core.effects()[-2:] == [
        (6, "detach", "direct", "kernel", 2),
        (6, "detach", "slave", "kernel", 102),
    ]


def test_what_a_list_has_after_a_umount_stayed() -> None:
    core = born(COPY)
    core.take(
        detached(ME, A), call("umount2", unwatched(TOP, COPY), seq=6, path="/a", last_detached=2)
    )
    core.take(NamespaceEnded(0, OTHER))
    core.catch_up(300 * MS)
    assert core.effects()[-1] == (None, "detach", "namespace-death", "snapshot", 102)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_part_of_a_list_says_nothing(is_first: bool) -> None:
    core = born(COPY)
    part = unwatched(TOP)
    part.is_first, part.is_last = is_first, not is_first
    core.take(detached(ME, A), call("umount2", part, seq=6, path="/a", last_detached=2))
    assert core.effects()[-1] == (6, "detach", "direct", "kernel", 2)


def test_what_went_with_a_call_that_is_not_over_is_its() -> None:
    core = born(COPY, OTHERS)
    # Both are gone by the end of the first call, and the second one ends later.
    core.take(detached(ME, A), call("umount2", unwatched(TOP), seq=6, path="/a", last_detached=2))
    assert 104 not in [row[-1] for row in core.effects() if row[1] == "detach"]
    core.take(call("rmdir", seq=7, tid=YOU, last_released=104))
    assert core.effects()[-1] == (7, "detach", "mountpoint-removed", "kernel", 104)


def test_what_went_and_no_call_took_has_no_cause() -> None:
    core = born(COPY, OTHERS)
    core.take(detached(ME, A), call("umount2", unwatched(TOP), seq=6, path="/a", last_detached=2))
    core.take(NamespaceEnded(0, OTHER))
    core.catch_up(300 * MS)
    assert core.effects()[-1] == (None, "detach", "", "snapshot", 104)


def test_a_removal_takes_a_tree_that_nothing_reported() -> None:
    below = M(105, COPY, "/a/below", ns=OTHER)
    core = born(COPY, below)
    core.take(call("rmdir", unwatched(TOP), seq=6, last_released=105))
    assert sorted(core.effects()[-2:], key=lambda row: row[-1]) == [
        (6, "detach", "mountpoint-removed", "kernel", 102),
        (6, "detach", "mountpoint-removed", "kernel", 105),
    ]


def test_a_umount_in_another_namespace_takes_what_nothing_reported() -> None:
    core = born(COPY)
    core.take(call("umount2", unwatched(TOP), seq=6, path="/a", last_released=102))
    assert core.effects()[-1] == (6, "detach", "direct", "ambiguous", 102)


def test_what_had_ended_before_a_call_began_was_not_taken_by_it() -> None:
    core = born(COPY)
    core.take(NamespaceEnded(0, OTHER))
    core.take(detached(ME, A), call("umount2", seq=6, path="/a", last_detached=2))
    core.catch_up(300 * MS)
    assert core.effects()[-1] == (None, "detach", "namespace-death", "snapshot", 102)


def test_what_ended_during_a_call_is_doubtful_and_counted() -> None:
    core = born(COPY)
    core.take(NamespaceEnded(0, OTHER))
    umount = call("umount2", seq=6, path="/a", last_detached=2, monotonic=core.now - MS)
    core.take(detached(ME, A), umount)
    core.catch_up(300 * MS)
    assert core.effects()[-1] == (None, "detach", "namespace-death", "ambiguous", 102)
    core.take(LossesCounted(0, {}))
    assert core.join.losses["ambiguous_detaches"] == 1


def test_a_list_of_a_namespace_that_is_taken_apart_says_nothing_of_calls() -> None:
    core = born(COPY, OTHERS)
    core.take(detached(ME, A), call("umount2", unwatched(), seq=6, path="/a", last_detached=2))
    core.take(NamespaceEnded(0, OTHER))
    core.catch_up(300 * MS)
    assert sorted(core.effects()[-2:], key=lambda row: row[-1]) == [
        (None, "detach", "namespace-death", "ambiguous", 102),  # with the umount, or with the rest
        (None, "detach", "namespace-death", "snapshot", 104),
    ]
    core.take(LossesCounted(0, {}))
    assert core.join.losses["ambiguous_detaches"] == 1


def test_an_unknown_namespace_ends() -> None:
    core = started([ROOT, A])
    core.take(NamespaceEnded(0, OTHER))
    core.catch_up(300 * MS)
    assert core.effects() == []


def test_what_is_left_of_a_namespace_whose_end_was_reported_went_before() -> None:
    core = born(COPY)
    core.take(detached(ME, A), call("umount2", seq=6, path="/a", last_detached=2))
    core.take(detached(YOU, TOP))  # its end: it came to be watched after the umount
    core.catch_up(300 * MS)
    core.answer(ThreadChecked(0, YOU, is_in_call=False))
    core.take(NamespaceEnded(0, OTHER))
    core.catch_up(300 * MS)
    assert (6, "detach", "slave", "snapshot", 102) in core.effects()


def test_mounts_whose_parents_are_in_a_circle_are_released() -> None:
    one = M(105, COPY, "/a/b", ns=OTHER)
    two = M(102, one, "/a", ns=OTHER, minor=2)
    core = born(one, two)
    core.take(call("rmdir", unwatched(TOP), seq=6, last_released=105))
    assert {row[-1] for row in core.effects() if row[0] == 6} == {102, 105}


def test_a_removal_is_written_though_what_it_took_is_known_later() -> None:
    core = born(COPY)
    core.take(call("rmdir", seq=6, last_released=102))
    core.take(*everything([ROOT, A], [TOP], reason="end", is_watched=False))
    assert core.effects()[-1] == (6, "detach", "mountpoint-removed", "snapshot", 102)
    assert [row["seq"] for row in core.of("operations")] == [5, 6]
