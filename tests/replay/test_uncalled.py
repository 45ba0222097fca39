# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts that are reported to be attached, and that no call attached."""

from __future__ import annotations

from collections.abc import Sequence

from mnttrace.capture.join.events import AnyEvent, LossesCounted, MountsFound, ThreadChecked
from mnttrace.capture.join.limits import LOOKS_FOR_UNCALLED
from mnttrace.capture.join.requests import CheckThread, FindMounts, SurveySome
from mnttrace.linux.options import MNT_SHRINKABLE
from tests.replay.build import (
    ME,
    MS,
    NS,
    OTHER,
    Core,
    M,
    attached,
    call,
    detached,
    everything,
    made,
    survey,
)
from tests.replay.test_without_calls import ROOT, A, started

TOP = M(101, ns=OTHER, master=1, minor=1)
AUTO = M(7, ROOT, "/auto", flags=MNT_SHRINKABLE, minor=7)
COPY = M(108, TOP, "/auto", ns=OTHER, flags=MNT_SHRINKABLE, minor=7)


def attached_by_nobody(*mounts: M) -> Core:
    """A thread attached mounts, and was in no call; they are looked for."""
    core = started([ROOT, A], [TOP])
    core.take(attached(ME, *mounts))
    core.catch_up(30 * MS)
    assert core.ask(CheckThread) == [CheckThread(ME)]
    core.answer(ThreadChecked(0, ME, is_in_call=False))
    core.catch_up(30 * MS)
    uniques = frozenset(mount.unique for mount in mounts)
    assert core.ask(FindMounts) == [FindMounts(uniques, frozenset({NS, OTHER}))]
    return core


def found(core: Core, *lists: Sequence[AnyEvent], keys: list[int]) -> None:
    core.answer(MountsFound(0, keys))
    assert core.ask(SurveySome) == ([SurveySome(frozenset(keys))] if keys else [])
    core.answer()
    for one in lists:
        core.take(one)
    core.catch_up(30 * MS)


def test_an_automount_and_its_copies_are_told() -> None:
    core = attached_by_nobody(AUTO, COPY)
    # In whatever order they are listed, the copy is one.
    found(core, survey(TOP, COPY), survey(ROOT, A, AUTO), keys=[NS, OTHER])
    assert core.effects() == [
        (None, "attach", "automount", "kernel", 7),
        (None, "attach", "slave", "kernel", 108),
    ]
    assert core.effects("tid", "copy_of_unique") == [(ME, None), (ME, 7)]


def test_a_peer_is_told_as_such() -> None:
    auto, copy = M(7, ROOT, "/auto", group=4), M(108, TOP, "/auto", ns=OTHER, minor=7, group=4)
    core = attached_by_nobody(auto, copy)
    found(core, survey(ROOT, A, auto), survey(TOP, copy), keys=[NS, OTHER])
    assert core.effects("via", "mnt_id_unique") == [("", 7), ("peer", 108)]


def test_it_expires_without_a_call() -> None:
    core = attached_by_nobody(AUTO)
    found(core, survey(ROOT, A, AUTO), keys=[NS])
    core.take(detached(55, AUTO))
    core.catch_up(250 * MS)
    core.answer(ThreadChecked(0, 55, is_in_call=False))
    core.catch_up(250 * MS)
    assert core.effects()[-1] == (None, "detach", "expiry", "kernel", 7)


def test_copies_that_are_not_in_their_namespace_yet_are_looked_for_again() -> None:
    core = attached_by_nobody(AUTO, COPY)
    # The thread was preempted for long, and so was whoever asks.
    found(core, survey(ROOT, A, AUTO), keys=[NS])
    for after, lists, keys in (
        (3000 * MS, [], []),
        (500 * MS, [], []),
        (1000 * MS, [survey(TOP, COPY)], [OTHER]),
    ):
        core.catch_up(after)
        [asked] = core.ask(FindMounts)
        assert asked.uniques == {COPY.unique}
        found(core, *lists, keys=keys)
    assert core.effects() == [
        (None, "attach", "automount", "kernel", 7),
        (None, "attach", "slave", "kernel", 108),
    ]
    core.catch_up(9000 * MS)
    assert core.ask(FindMounts) == []


def test_what_is_gone_before_it_is_listed_is_counted() -> None:
    core = attached_by_nobody(AUTO)
    core.answer(MountsFound(0, []))
    core.take(detached(ME, AUTO))
    for _ in range(LOOKS_FOR_UNCALLED):
        core.catch_up(3000 * MS)
        core.answer(MountsFound(0, []))
    core.take(LossesCounted(0, {"lost_made": 1}))
    assert core.join.losses["lost_made"] == 2
    assert core.effects() == []


def test_a_thread_that_is_in_a_call_is_asked_again() -> None:
    core = started([ROOT, A])
    core.take(attached(ME, AUTO))
    core.catch_up(30 * MS)
    core.answer(ThreadChecked(0, ME, is_in_call=True))
    core.catch_up(30 * MS)
    assert core.ask(CheckThread) == [CheckThread(ME), CheckThread(ME)]
    core.answer(ThreadChecked(0, ME, is_in_call=True))
    core.take(call("mount", made(AUTO), seq=5))
    core.catch_up(30 * MS)
    assert core.ask(FindMounts) == []
    assert core.effects()[-1] == (5, "attach", "direct", "kernel", 7)


def test_another_mount_of_a_thread_that_was_in_no_call_is_asked_about() -> None:
    core = attached_by_nobody(AUTO)
    later = M(9, ROOT, "/later")
    core.take(attached(ME, later))
    core.catch_up(30 * MS)
    assert core.ask(CheckThread) == [CheckThread(ME)]


def test_what_a_survey_finds_first_is_told_with_its_thread() -> None:
    core = started([ROOT, A], [TOP])
    core.take(attached(ME, AUTO, COPY))
    core.take(*everything([ROOT, A, AUTO], [TOP, COPY], reason="end"))
    assert core.effects() == [
        (None, "attach", "automount", "kernel", 7),
        (None, "attach", "slave", "kernel", 108),
    ]
