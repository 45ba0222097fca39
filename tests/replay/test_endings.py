# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Namespaces that end and nothing reports it: that is found out, and nothing of them is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mnttrace.capture.join.events import (
    NamespacesGone,
    RoundBegan,
    RoundEnded,
    ThreadChecked,
    TimePassed,
)
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.requests import CheckNamespaces, CheckThread, ForgetNamespace
from mnttrace.capture.join.selection import Filter
from mnttrace.capture.join.setting import Setting
from tests.replay.build import (
    ME,
    MS,
    NS,
    OTHER,
    WALL_OFFSET,
    Core,
    M,
    attached,
    birth,
    call,
    detached,
    everything,
    table,
)

ROOT, THERE = M(1), M(101, ns=OTHER, minor=1)
A = M(102, THERE, "/a", ns=OTHER)
SECOND = 1000 * MS
DEATH = [("namespace-death", "snapshot", 102)]


def tables(core: Core, *namespaces: Sequence[M]) -> None:
    """All mount tables are read."""
    core.take(RoundBegan(0, "operation"))
    for mounts in namespaces:
        ids = {mount.mount_id: mount.unique for mount in mounts}
        core.take(table(*mounts, is_listed=False, is_watched=False, unique_ids=ids))
    core.take(RoundEnded(0, "operation", [mounts[0].ns for mounts in namespaces]))


def without_ids(backend: str) -> Core:
    """Where the kernel does not say whether a namespace exists."""
    core = Core()
    core.join = Join(Setting(WALL_OFFSET, backend, False, can_check_namespaces=False), Filter())
    return core


@pytest.mark.parametrize("backend", ["syscalls", "none"])
def test_one_that_only_its_table_was_known_of(backend: str) -> None:
    core = Core(backend, uses_fanotify=False)
    tables(core, [ROOT], [THERE, A])
    core.take(TimePassed(core.now + 2 * SECOND))
    assert core.ask(CheckNamespaces) == [CheckNamespaces(frozenset({NS, OTHER}))]
    core.answer(NamespacesGone(0, [OTHER]))
    core.catch_up(10 * MS)
    assert core.effects("via", "evidence", "mnt_id_unique") == DEATH
    assert ForgetNamespace(OTHER) in core.ask(ForgetNamespace)


def test_where_the_kernel_does_not_say_it_those_that_were_not_found_twice_are_asked_about() -> None:
    core = without_ids("syscalls")
    tables(core, [ROOT], [THERE, A])
    tables(core, [ROOT])
    core.take(TimePassed(core.now + 20 * SECOND))
    assert core.ask(CheckNamespaces) == []
    tables(core, [ROOT])
    core.take(TimePassed(core.now + 20 * SECOND))
    assert core.ask(CheckNamespaces) == [CheckNamespaces(frozenset({OTHER}))]
    core.answer(NamespacesGone(0, []))  # a descriptor holds it
    tables(core, [ROOT])
    core.catch_up(SECOND)
    assert core.effects() == []
    core.take(TimePassed(core.now + 20 * SECOND), NamespacesGone(0, [OTHER]))
    core.catch_up(SECOND)
    assert core.effects("via", "evidence", "mnt_id_unique") == DEATH


def test_one_that_is_found_again_is_not_asked_about() -> None:
    core = without_ids("none")
    for others in ([THERE, A],), (), (), ([THERE, A],):
        tables(core, [ROOT], *others)
    core.take(TimePassed(core.now + 20 * SECOND))
    assert core.ask(CheckNamespaces) == []


def test_another_one_has_the_number_before_all_is_told_of_the_one_that_is_gone() -> None:
    core = without_ids("none")
    for others in ([THERE, A],), (), ():
        tables(core, [ROOT], *others)
    core.take(TimePassed(core.now + 20 * SECOND), NamespacesGone(0, [OTHER]))
    new = M(201, ns=OTHER, minor=1)
    tables(core, [ROOT], [new, M(202, new, "/new", ns=OTHER)])
    core.catch_up(SECOND)
    assert core.effects("via", "evidence", "mnt_id_unique") == DEATH


def test_one_whose_end_was_reported_and_that_was_lost() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    core.take(everything([ROOT]))
    core.take(attached(ME, THERE, A))
    core.take(call("unshare", birth(THERE, A), seq=5, ns_target=OTHER, ns_after=OTHER))
    for _ in range(3):
        core.answer()
    core.take(TimePassed(core.now + 2 * SECOND))
    assert core.ask(CheckNamespaces) == []
    core.take(TimePassed(core.now + 20 * SECOND))
    assert core.ask(CheckNamespaces) == [CheckNamespaces(frozenset({NS, OTHER}))]
    core.answer(NamespacesGone(0, [OTHER]))
    core.catch_up(10 * MS)  # the report can still come
    assert core.effects("via")[1:] == []
    core.catch_up(SECOND)
    assert core.effects("via", "evidence", "mnt_id_unique")[1:] == DEATH
    assert core.join._known.pending.attached.by(102) is None


def test_a_report_that_waits_for_its_call_says_who_ended_it() -> None:
    core = Core("kernel-hooks", uses_fanotify=False)
    core.take(everything([ROOT], [THERE, A]))
    core.take(detached(ME, THERE, A), TimePassed(core.now + 20 * SECOND))
    assert core.ask(CheckNamespaces) == [CheckNamespaces(frozenset({NS, OTHER}))]
    core.answer(NamespacesGone(0, [OTHER]))
    core.catch_up(250 * MS)
    assert core.ask(CheckThread) == [CheckThread(ME)]
    core.answer(ThreadChecked(0, ME, is_in_call=False))
    core.catch_up(250 * MS)
    core.answer()
    assert core.effects("via", "evidence", "tid") == [("namespace-death", "kernel", ME)]
