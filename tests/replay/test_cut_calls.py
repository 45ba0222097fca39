# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Calls whose lists were cut: which of the mounts that a survey finds later are theirs."""

from __future__ import annotations

import pytest

from mnttrace.capture.join.events import MountsFound, ThreadChecked
from mnttrace.capture.join.requests import CheckThread, FindMounts
from tests.replay.build import ME, MS, YOU, Core, M, attached, call, everything, made, survey

ROOT = M(1)
A, B, C, D = (M(number, ROOT, f"/{number}") for number in (2, 3, 4, 5))
HOUR = 3_600_000 * MS

each_way = pytest.mark.parametrize("uses_fanotify", [False, True])


def started(uses_fanotify: bool) -> Core:
    core = Core("walk" if uses_fanotify else "kernel-hooks", uses_fanotify)
    core.take(*everything([ROOT]))
    return core


def found_by_surveys(core: Core, *mounts: M) -> None:
    core.take(survey(ROOT, *mounts))
    core.take(survey(ROOT, *mounts, at=core.now + 1000 * MS))


def causes(core: Core) -> dict[int, int | None]:
    """The call that each mount is said to be of."""
    return dict(core.effects("mnt_id_unique", "seq"))


@each_way
def test_what_a_cut_list_lacks_is_of_its_call(uses_fanotify: bool) -> None:
    core = started(uses_fanotify)
    core.take(attached(ME, A, B), call("mount", made(A), is_cut=True, seq=5, path=A.at))
    found_by_surveys(core, A, B)
    assert causes(core) == {2: 5, 3: 5}


@each_way
def test_what_the_thread_attaches_afterwards_is_not(uses_fanotify: bool) -> None:
    core = started(uses_fanotify)
    core.take(attached(ME, A, B), call("mount", made(A), is_cut=True, seq=5, path=A.at))
    found_by_surveys(core, A, B)
    core.now += HOUR
    core.take(attached(ME, C))  # by a call that is lost, or by another thread with that number
    found_by_surveys(core, A, B, C)
    assert causes(core) == {2: 5, 3: 5, 4: None}


@each_way
def test_nor_what_another_thread_attached(uses_fanotify: bool) -> None:
    core = started(uses_fanotify)
    core.take(attached(YOU, C), attached(ME, A, B))
    core.take(call("mount", made(A), is_cut=True, seq=5, path=A.at))
    found_by_surveys(core, A, B, C)
    assert causes(core) == {2: 5, 3: 5, 4: None}


@each_way
def test_each_of_two_cut_calls_of_a_thread_keeps_its_own(uses_fanotify: bool) -> None:
    core = started(uses_fanotify)
    core.take(attached(ME, A, B), call("mount", made(A), is_cut=True, seq=5, path=A.at))
    core.take(attached(ME, C, D), call("mount", made(C), is_cut=True, seq=6, path=C.at))
    found_by_surveys(core, A, B, C, D)
    assert causes(core) == {2: 5, 3: 5, 4: 6, 5: 6}


def test_it_is_of_its_call_also_where_it_is_looked_for_before_the_next_survey() -> None:
    core = started(uses_fanotify=True)
    core.take(attached(ME, A, B), call("mount", made(A), is_cut=True, seq=5, path=A.at))
    core.take(attached(ME, C))  # without a call
    while not core.ask(FindMounts):
        core.catch_up(after=50 * MS)
        if core.ask(CheckThread):
            core.answer(ThreadChecked(core.now, ME, False))
    core.answer(MountsFound(core.now, [ROOT.ns]))
    core.take(survey(ROOT, A, B, C))
    core.catch_up(after=50 * MS)
    assert core.effects("mnt_id_unique", "seq", "evidence") == [
        (2, 5, "kernel"),
        (3, 5, "snapshot"),
        (4, None, "kernel"),
    ]
