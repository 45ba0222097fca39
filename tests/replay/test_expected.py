# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What follows from an operation in another namespace is looked for there, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from mnttrace.capture.join.events import CallEnded, NamespaceEnded, ThreadChecked, TimePassed
from mnttrace.capture.join.requests import CheckThread, SurveySome
from mnttrace.linux.flags import UMOUNT
from tests.replay.build import (
    ME,
    MS,
    NS,
    OTHER,
    THIRD,
    YOU,
    Core,
    M,
    after,
    birth,
    call,
    detached,
    everything,
    listed,
    made,
    survey,
    table,
)

SECOND = 1000 * MS
ROOT = M(1, group=1)
A = M(2, ROOT, "/a", source="a")
THERE = M(101, ns=OTHER, group=1, minor=1)
COPY = M(102, THERE, "/a", ns=OTHER, minor=2)


def umounted() -> Core:
    """A umount elsewhere was to take the copy, too, in a namespace that is watched only now."""
    core = Core()
    core.take(*everything([ROOT, A], [THERE, COPY], is_watched=False))
    core.take(detached(ME, A), call("umount2", after(ROOT), seq=5, path="/a", last_detached=2))
    return core


def looked_for(core: Core) -> list[frozenset[int]]:
    return [one.keys for one in core.ask(SurveySome)]


# ---- mounts that are to go


def test_what_was_to_go_and_went_is_of_the_umount() -> None:
    core = umounted()
    core.take(survey(THERE), survey(THERE, at=core.now + SECOND))
    assert core.effects()[1:] == [(5, "detach", "peer", "snapshot", 102)]


def test_what_was_to_go_and_did_not_is_no_longer_the_umounts() -> None:
    core = umounted()
    core.take(survey(THERE, COPY))
    core.now += 3600 * SECOND
    core.take(survey(THERE), survey(THERE, at=core.now + SECOND))
    assert core.effects()[1:] == [(None, "detach", "", "snapshot", 102)]


def test_a_call_whose_list_has_it_shows_that_as_well() -> None:
    core = umounted()
    core.now += MS
    whole = after(THERE, COPY, ns=OTHER)
    core.take(call("mount", whole, seq=6, ns=OTHER, path="/x", flags_value=1 << 20))
    core.take(survey(THERE), survey(THERE, at=core.now + SECOND))
    assert core.effects()[1:] == [(None, "detach", "", "snapshot", 102)]


def test_what_went_with_one_call_is_told_the_oldest_first() -> None:
    a = M(10, ROOT, "/a", group=4)
    b = M(11, a, "/a/b", minor=4)
    # A set of these two has the newer one first.
    there = M(129, THERE, "/a", ns=OTHER, group=4, minor=10)
    inside = M(200, there, "/a/b", ns=OTHER, minor=4)
    core = Core()
    core.take(*everything([ROOT, a, b], [THERE, there, inside], is_watched=False))
    lazy = UMOUNT["MNT_DETACH"]
    core.take(detached(ME, a, b))
    core.take(call("umount2", seq=5, path="/a", flags_value=lazy, last_detached=11))
    whole = after(THERE, ns=OTHER)
    core.take(call("mount", whole, seq=6, ns=OTHER, path="/x", flags_value=1 << 20))
    assert core.effects("seq", "mnt_id_unique")[2:] == [(5, 129), (5, 200)]


def test_a_survey_of_before_the_umounts_end_does_not() -> None:
    core = Core()
    core.take(*everything([ROOT, A], [THERE, COPY], is_watched=False))
    begun = core.now
    umount = call("umount2", after(ROOT), seq=5, path="/a", last_detached=2, monotonic=begun)
    umount.row["latency"] = 50 * MS
    core.take(detached(ME, A))
    umount.at = begun + 60 * MS
    read = table(THERE, COPY, at=begun + 10 * MS)  # its list comes late
    core.take(read, umount, listed(THERE, COPY))
    core.take(survey(THERE), survey(THERE, at=core.now + SECOND))
    assert core.effects()[1:] == [(5, "detach", "peer", "snapshot", 102)]


def test_what_was_on_a_removed_file_and_stayed_is_no_longer_the_removals() -> None:
    core = Core()
    core.take(*everything([ROOT, A]))
    top = M(101, ns=OTHER, minor=1)
    a = M(102, top, "/a", ns=OTHER)
    core.take(call("clone", birth(top, a), seq=5, child=8, ns_target=OTHER))
    core.answer()
    core.take(detached(ME, A), call("rmdir", seq=6, ns=THIRD, last_detached=2))
    core.take(survey(top, a, is_watched=False))
    core.now += 3600 * SECOND
    core.take(*everything([ROOT], [top], reason="end", is_watched=False))
    assert (None, "detach", "", "snapshot", 102) in core.effects()


# ---- mounts that are to change


def expecting() -> Core:
    """A group has ended: its slave elsewhere is to lose its master."""
    shared, slave = M(3, ROOT, "/s", group=5), M(103, THERE, "/s", ns=OTHER, master=5)
    core = Core("kernel-hooks", uses_fanotify=False)
    core.take(*everything([ROOT, shared], [THERE, slave]))
    looked_for(core)
    core.take(detached(ME, shared), call("umount2", seq=5, path="/s", last_detached=3))
    return core


def test_a_namespace_in_which_something_is_expected_is_surveyed_at_once() -> None:
    core = expecting()
    core.take(TimePassed(0))
    assert looked_for(core) == [frozenset({OTHER})]


def test_a_namespace_that_does_not_answer_is_asked_for_less_and_less_often() -> None:
    core = expecting()
    core.now += 10 * SECOND
    core.take(*everything([ROOT]))
    for _ in range(6000):
        core.take(TimePassed(core.now + 10 * MS))
    asked = [keys for keys in looked_for(core) if OTHER in keys]
    assert 4 <= len(asked) <= 8, "in a minute"


def test_once_it_has_answered_it_is_asked_at_once_for_what_is_expected_next() -> None:
    core = expecting()
    for _ in range(400):
        core.take(TimePassed(core.now + 10 * MS))
    lost = M(103, THERE, "/s", ns=OTHER)
    core.take(survey(THERE, lost))
    again, slave = M(4, ROOT, "/t", group=6), M(104, THERE, "/t", ns=OTHER, master=6)
    core.take(*everything([ROOT, again], [THERE, lost, slave]))
    core.take(*everything([ROOT, again], [THERE, lost, slave], at=core.now + SECOND))
    looked_for(core)
    core.take(detached(ME, again), call("umount2", seq=7, path="/t", last_detached=4))
    core.take(TimePassed(0))
    (asked,) = looked_for(core)
    assert OTHER in asked


# ---- whose it was


def test_what_a_thread_detached_before_its_call_has_the_process_of_the_call() -> None:
    b = M(3, ROOT, "/b")
    for backend, uses_fanotify in (("kernel-hooks", False), ("walk", True)):
        core = Core(backend, uses_fanotify)
        core.take(*everything([ROOT, A, b]))
        core.take(detached(ME, b, A))
        core.take(call("umount2", seq=5, path="/a", last_detached=2, pid=77))
        found = core.effects("seq", "pid", "tid", "mnt_id_unique")
        assert sorted(found, key=str) == [(5, 77, ME, 2), (None, 77, ME, 3)]


# What has a master in the group that a mount is to leave, in a namespace that ends a moment later.
SHARED = M(3, ROOT, "/s", group=5, minor=9)
SLAVE_ROOT = M(120, ns=OTHER, minor=1)
SLAVE = M(121, SLAVE_ROOT, "/s", ns=OTHER, master=5, minor=9)
PRIVATE: dict[str, Any] = {
    "path": "/s",
    "path_unique": 3,
    "flags_value": 1 << 18,
    "propagation": "private",
}


def made_private(seq: int = 5) -> CallEnded:
    return call("mount", after(ROOT, M(3, ROOT, "/s", minor=9)), seq=seq, **PRIVATE)


def changes(core: Core) -> list[tuple[object, ...]]:
    found = core.effects("action", "seq", "via", "evidence", "mnt_id_unique")
    return [one[1:] for one in found if one[0] == "change"]


def test_a_master_that_went_just_before_a_namespace_ended_is_told() -> None:
    core = Core()
    core.take(*everything([ROOT, SHARED], [SLAVE_ROOT, SLAVE]))
    core.take(made_private(), detached(YOU, SLAVE_ROOT, SLAVE))
    core.now += 10 * SECOND
    core.catch_up(after=SECOND)
    core.answer(*(ThreadChecked(core.now, YOU, False) for _ in core.ask(CheckThread)))
    core.catch_up(after=SECOND)
    assert changes(core) == [(5, "direct", "kernel", 3), (5, "slave", "model", 121)]
    told = core.effects("action", "via", "master", "mnt_id_unique")
    assert told[-1] == ("detach", "namespace-death", None, 121)


def test_it_is_not_if_the_end_was_reported_before_the_call() -> None:
    core = Core()
    core.take(*everything([ROOT, SHARED], [SLAVE_ROOT, SLAVE]))
    core.take(detached(YOU, SLAVE_ROOT, SLAVE), made_private())
    core.take(*everything([ROOT, M(3, ROOT, "/s", minor=9)], reason="end", alive=[NS]))
    assert changes(core) == [(5, "direct", "kernel", 3)]


@pytest.mark.parametrize("ended", [-10 * MS, 10 * MS])
def test_the_same_of_one_that_nobody_watches(ended: int) -> None:
    core = Core()
    core.take(*everything([ROOT, SHARED]))
    born = M(121, SLAVE_ROOT, "/s", ns=OTHER, group=5, minor=9)
    core.take(call("clone", birth(SLAVE_ROOT, born), seq=4, child=8, ns_target=OTHER))
    core.answer()
    now_slave = after(SLAVE_ROOT, SLAVE, ns=OTHER)
    columns: dict[str, Any] = {
        "tid": 8,
        "ns": OTHER,
        "path": "/s",
        "path_unique": 121,
        "flags_value": 1 << 19,
    }
    core.take(call("mount", now_slave, seq=5, **columns))
    end = NamespaceEnded(core.now + 50 * MS + ended, OTHER)
    private = made_private(seq=6)
    private.at = core.now + 50 * MS
    core.take(*sorted((end, private), key=lambda one: one.at))
    core.now += 10 * SECOND
    core.catch_up(after=SECOND)
    assert ((6, "slave", "model", 121) in changes(core)) == (ended > 0)


def test_what_goes_with_a_umount_is_not_said_to_have_lost_its_master_before() -> None:
    core = Core()
    below = M(4, SHARED, "/s/a", group=6)
    copy = M(122, SLAVE, "/s/a", ns=OTHER, master=6)
    core.take(*everything([ROOT, SHARED, below], [SLAVE_ROOT, SLAVE, copy], is_watched=False))
    core.take(detached(ME, below), call("umount2", path="/s/a", seq=5, last_detached=4))
    listing = call("mount", after(SLAVE_ROOT, SLAVE, ns=OTHER), seq=6, ns=OTHER, path="/x")
    listing.row["flags_value"] = 1 << 20  # make something there shared
    core.take(listing)
    assert core.effects() == [
        (5, "detach", "direct", "kernel", below.unique),
        (5, "detach", "slave", "snapshot", copy.unique),
    ]


def test_it_is_if_the_same_thread_took_it_later() -> None:
    """What a thread did comes in order, though all of it may have been read at once."""
    core = Core()
    core.take(*everything([ROOT, SHARED], [SLAVE_ROOT, SLAVE]))
    core.take(detached(ME, M(3, ROOT, "/s", minor=9), SLAVE), made_private())
    core.take(call("umount2", path="/s", seq=6, last_detached=SLAVE.unique))
    assert core.effects("seq", "action", "via", "mnt_id_unique") == [
        (5, "change", "direct", 3),
        (6, "detach", "direct", 3),
        (5, "change", "slave", 121),
        (6, "detach", "slave", 121),
    ]


def test_a_mount_of_an_ended_namespace_is_no_member_of_the_group_that_has_its_number_now() -> None:
    core = Core()
    core.take(*everything([ROOT]))
    top = M(131, ns=THIRD, minor=1)
    core.take(call("clone", birth(top, ns=THIRD), seq=3, child=8, ns_target=THIRD))
    core.answer()
    member = M(132, top, "/x", ns=THIRD, group=5)
    core.take(call("mount", made(member, ns=THIRD), seq=4, tid=8, ns=THIRD, path="/x"))
    core.take(NamespaceEnded(0, THIRD))
    slave = M(121, ROOT, "/slave", master=5, minor=9)
    core.take(call("mount", made(SHARED), seq=5, path="/s"))
    core.take(call("mount", made(slave), seq=6, path="/slave"))
    core.take(made_private(seq=7))
    core.take(survey(ROOT, M(3, ROOT, "/s", minor=9), M(121, ROOT, "/slave", minor=9)))
    found = changes(core)
    assert (7, "slave", "snapshot", 121) in found


def test_a_member_that_the_same_thread_took_later_was_in_the_group() -> None:
    """A batch of mount events has the time at which it was begun to be read: they can be later."""
    core = Core()
    member = M(4, ROOT, "/t", group=5, minor=9)
    core.take(*everything([ROOT, SHARED, member], [SLAVE_ROOT, SLAVE]))
    private = made_private()
    private.row["latency"] = 0
    core.take(detached(ME, member, SLAVE), private)
    core.take(call("umount2", path="/t", seq=6, last_detached=SLAVE.unique))
    assert changes(core) == [(5, "direct", "kernel", 3)]
