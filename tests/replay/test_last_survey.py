# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The last survey lists what calls did whose ends come after it: it is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mnttrace.capture.join.events import AnyEvent, NamespaceEnded, RoundBegan, RoundEnded
from tests.replay.build import (
    ME,
    NS,
    OTHER,
    YOU,
    Core,
    M,
    after,
    attached,
    birth,
    call,
    dentry,
    detached,
    everything,
    made,
    survey,
    table,
)

ROOT = M(1, group=1)
A = M(2, ROOT, "/a", source="a")
NEW = M(3, ROOT, "/b", source="b")
SET = M(2, ROOT, "/a", source="a", flags=0x40)
REMOUNTED = M(2, ROOT, "/a", source="a", super_flags=1)
MOVED = M(2, ROOT, "/b", source="a")
NAMES = {dentry(ROOT, path): path for path in ("/a", "/b")}
REMOUNT: dict[str, Any] = {"path": "/a", "flags_value": 32 | 1}

# What was there, what the last survey lists, and the end of the call that did it.
Kind = tuple[list[M], list[M], list[AnyEvent]]
KINDS: dict[str, Kind] = {
    "attach": (
        [ROOT, A],
        [ROOT, A, NEW],
        [attached(ME, NEW), call("mount", made(NEW), path="/b", seq=5, names=NAMES)],
    ),
    "detach": (
        [ROOT, A],
        [ROOT],
        [detached(ME, A), call("umount2", path="/a", last_detached=2, seq=5)],
    ),
    "move": (
        [ROOT, A],
        [ROOT, MOVED],
        [
            call(
                "move_mount",
                made(MOVED),
                after(ROOT, MOVED),
                path="/b",
                source_path="/a",
                seq=5,
                names=NAMES,
            )
        ],
    ),
    "change": (
        [ROOT, A],
        [ROOT, SET],
        [call("mount_setattr", after(ROOT, SET), path="/a", path_unique=2, seq=5)],
    ),
    "super block": (
        [ROOT, A],
        [ROOT, REMOUNTED],
        [call("mount", after(ROOT, REMOUNTED), path_unique=2, seq=5, **REMOUNT)],
    ),
}
VIA = {"super block": "super-block"}
kinds = pytest.mark.parametrize("kind", KINDS)


def ended(core: Core, there: Sequence[M], *meanwhile: AnyEvent) -> None:
    """The last survey of a namespace, and what comes before it has ended."""
    alive = [mount.ns for mount in there[:1]]
    core.take(
        RoundBegan(0, "end"),
        survey(*there, reason="end"),
        meanwhile,
        RoundEnded(0, "end", alive),
    )


@kinds
def test_it_is_told_once_and_as_the_calls(kind: str) -> None:
    before, there, its_end = KINDS[kind]
    core = Core()
    core.take(everything(before))
    ended(core, there, *its_end)
    (effect,) = core.effects("seq", "via", "evidence")
    assert effect == (5, VIA.get(kind, "direct"), "kernel")


@kinds
def test_it_is_told_without_a_call_if_none_ends(kind: str) -> None:
    before, there, _ = KINDS[kind]
    core = Core()
    core.take(everything(before))
    ended(core, there)
    (effect,) = core.effects("seq", "via", "evidence")
    assert effect == (None, VIA.get(kind, ""), "snapshot")


@kinds
def test_it_is_not_told_twice_if_it_ended_before(kind: str) -> None:
    before, there, its_end = KINDS[kind]
    core = Core()
    core.take(everything(before), its_end)
    ended(core, there)
    assert core.effects("seq", "via") == [(5, VIA.get(kind, "direct"))]


def test_what_came_and_went_meanwhile_is_not_told_again() -> None:
    core = Core()
    core.take(everything([ROOT, A]))
    mounted, unmounted = (
        KINDS["attach"][2],
        [
            detached(ME, NEW),
            call("umount2", path="/b", last_detached=NEW.unique, seq=6),
        ],
    )
    ended(core, [ROOT, A, NEW], *mounted, *unmounted)
    assert core.effects("seq", "action", "via") == [
        (5, "attach", "direct"),
        (6, "detach", "direct"),
    ]


def test_what_is_found_in_a_namespace_that_ends_meanwhile_ends_with_it() -> None:
    there = M(101, ns=OTHER)
    child = M(102, there, "/c", ns=OTHER)
    unseen = M(103, there, "/d", ns=OTHER)
    core = Core()
    core.take(everything([ROOT], [there, child]))
    core.take(
        RoundBegan(0, "end"),
        survey(ROOT, reason="end"),
        survey(there, child, unseen, reason="end"),
        detached(ME, there, child, unseen),
        RoundEnded(0, "end", [NS]),
    )
    assert core.effects("action", "via", "mnt_id_unique") == [
        ("attach", "", unseen.unique),
        ("detach", "namespace-death", child.unique),
        ("detach", "namespace-death", unseen.unique),
    ]


@pytest.mark.parametrize("is_during", [False, True])
def test_a_namespace_born_during_it_has_not_ended(is_during: bool) -> None:
    core = Core()
    core.take(everything([ROOT]))
    root = M(11, group=1, ns=OTHER)
    unshare = call("unshare", birth(root, M(12, root, "/a", ns=OTHER)), ns_target=OTHER, seq=5)
    found: list[AnyEvent] = [*survey(ROOT, reason="end"), RoundEnded(0, "end", [NS])]
    begin = RoundBegan(0, "end")
    core.take([begin, unshare, *found] if is_during else [unshare, begin, *found])
    ended = [] if is_during else [("detach", "namespace-death")]
    assert core.effects("action", "via") == [("attach", "namespace-copy"), *ended]


@pytest.mark.parametrize("is_reported", [False, True])
def test_one_that_was_born_and_ended_during_it_has(is_reported: bool) -> None:
    core = Core()
    core.take(everything([ROOT]))
    root = M(11, group=1, ns=OTHER)
    mounts = [root, M(12, root, "/a", ns=OTHER)]
    unshare = call("unshare", birth(*mounts), ns_target=OTHER, seq=5)
    core.take(RoundBegan(0, "end"), unshare)
    if is_reported:
        core.take(table(*mounts, reason="birth", is_listed=False), detached(YOU, *mounts))
    else:
        core.take(NamespaceEnded(0, OTHER))
    core.take(survey(ROOT, reason="end"), RoundEnded(0, "end", [NS]))
    told = [("attach", "namespace-copy"), ("detach", "namespace-death")]
    assert core.effects("action", "via") == told
    reasons = [row["reason"] for row in core.of("snapshots") if row["ns_id"] == OTHER]
    assert reasons == (["birth", "gone"] if is_reported else [])
