# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A mount moves while its mount table is read: lines can have it, and what lies on it, where they
were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnttrace.capture.join.events import AnyEvent, CallEnded, MountNamed, RoundBegan, RoundEnded
from mnttrace.capture.join.requests import NameMount
from mnttrace.linux.flags import MOUNT
from tests.replay.build import (
    ME,
    MS,
    NS,
    YOU,
    Core,
    M,
    after,
    attached,
    call,
    dentry,
    detached,
    everything,
    line,
    listed,
    made,
    survey,
    table,
)

ROOT = M(1001)
BASE = M(1002, ROOT, "/base", source="base")
OLD = M(1003, BASE, "/base/a", source="moves")
NEW = replace(OLD, at="/base/b")
BELOW_OLD = M(1004, OLD, "/base/a/x", source="below")
BELOW_NEW = replace(BELOW_OLD, on=NEW, at="/base/b/x")
BEFORE, AFTER = [ROOT, BASE, OLD, BELOW_OLD], [ROOT, BASE, NEW, BELOW_NEW]
TORN = [ROOT, BASE, OLD, BELOW_NEW]


def move(at: int = 0) -> CallEnded:
    """The move; no name of its mount point is sent."""
    return call(
        "mount",
        after(*AFTER),
        path="/base/b",
        source_path="/base/a",
        flags="MS_MOVE",
        flags_value=MOUNT["MS_MOVE"],
        seq=5,
        at=at,
    )


def mounts_below() -> list[AnyEvent]:
    """Something is mounted below, with a copy; what was not listed shows where its parent is."""
    top = M(1010, BELOW_NEW, "/base/b/x/in", source="top")
    names = {dentry(BELOW_NEW, "/in"): "/in", dentry(top, "/"): "/"}
    return [attached(YOU, top), call("mount", made(top), tid=YOU, seq=9, names=names)]


def places(core: Core) -> list[tuple[str, str]]:
    """What happened to mounts, and where."""
    return core.effects("action", "mountpoint")


EXPECTED = [("move", "/base/b"), ("attach", "/base/b/x/in")]


def test_a_table_of_before_the_move_does_not_rename() -> None:
    for read in (BEFORE, TORN, AFTER):
        core = Core()
        core.take(everything(BEFORE))
        core.take(table(*read), move(), listed(*AFTER), mounts_below())
        assert places(core) == EXPECTED, read


def test_nor_where_the_call_ends_after_the_list() -> None:
    for read in (BEFORE, TORN, AFTER):
        core = Core()
        core.take(everything(BEFORE))
        core.take(table(*read), listed(*AFTER), move(), mounts_below())
        assert places(core) == EXPECTED, read


def test_the_next_table_does() -> None:
    core = Core()
    core.take(everything(BEFORE))
    core.take(table(*BEFORE), move(), listed(*AFTER))
    renamed = replace(BASE, at="/base2")
    moved = replace(NEW, on=renamed, at="/base2/c")  # the directory has got another name
    below = replace(BELOW_NEW, on=moved, at="/base2/c/x")
    core.take(table(ROOT, renamed, moved, below), listed(*AFTER), mounts_below())
    assert places(core)[1:] == [("attach", "/base2/c/x/in")]


def test_a_mount_that_is_new_is_asked_for_as_it_lies_on_one_that_moved() -> None:
    core = Core()
    core.take(everything(BEFORE[:3]))
    core.take(table(*TORN), move(), listed(*AFTER))
    assert {ask.unique for ask in core.ask(NameMount)} == {BELOW_NEW.unique}


def test_moved_between_the_first_table_and_its_list() -> None:
    """What the first table shows of the namespace is not sure: the kernel is asked."""
    for read in (BEFORE, TORN, AFTER):
        core = Core()
        core.take(
            RoundBegan(0, "start"),
            table(*read, reason="start"),
            move(),
            listed(*AFTER),
            RoundEnded(0, "start", [NS]),
        )
        asked = core.ask(NameMount)
        assert {NEW.unique, BELOW_NEW.unique} <= {ask.unique for ask in asked}
        where = {mount.unique: mount for mount in AFTER}
        core.answer(
            *(
                MountNamed(0, ask.unique, where[ask.unique].root, where[ask.unique].at)
                for ask in asked
            )
        )
        core.take(mounts_below())
        assert places(core) == [("attach", "/base/b/x/in")], read
        shown = [(row["mountpoint"], row["parent_id"]) for row in core.of("mounts")]
        assert shown == [(one.mountpoint, one.parent_id) for one in map(line, AFTER)]


def test_moved_after_the_first_list() -> None:
    """That is as the table shows it, though the call waits: nothing is asked."""
    core = Core()
    core.take(RoundBegan(0, "start"), survey(*BEFORE, reason="start"), move())
    core.take(RoundEnded(0, "start", [NS]), mounts_below())
    assert core.ask(NameMount) == []
    assert places(core) == EXPECTED
    assert [row["mountpoint"] for row in core.of("mounts")] == [one.at for one in BEFORE]


@pytest.mark.parametrize("is_move", [False, True])
def test_a_move_mount_that_attaches_moves_nothing(is_move: bool) -> None:
    core = Core()
    new = NEW if is_move else M(2020, BASE, "/base/n", source="n")
    names = {dentry(BASE, new.place): new.place, dentry(new, "/"): "/"}
    core.take(
        RoundBegan(0, "start"),
        table(*BEFORE, reason="start"),
        [] if is_move else attached(ME, new),
        call("move_mount", made(new), path=new.at, seq=5, names=names),
        listed(*(AFTER if is_move else [*BEFORE, new])),
        RoundEnded(0, "start", [NS]),
    )
    asked = {ask.unique for ask in core.ask(NameMount)}
    assert asked == ({mount.unique for mount in AFTER[1:]} if is_move else {new.unique})


def test_a_table_that_was_read_as_a_mount_moved_is_asked_for() -> None:
    """Its call is not seen: it began before the recorder."""
    core = Core()
    core.take(RoundBegan(0, "start"), table(*TORN, reason="start"), listed(*AFTER))
    core.take(RoundEnded(0, "start", [NS]))
    assert {ask.unique for ask in core.ask(NameMount)} == {BELOW_NEW.unique}
    core.answer()
    core.take(mounts_below())
    assert places(core) == [("attach", "/base/a/…/in")]


def test_a_table_has_no_mount_where_it_never_was() -> None:
    """It got another parent, and its call has not ended."""
    other = M(1007, ROOT, "/other", source="other")
    moved = replace(OLD, on=other, at="/other/a")
    below = replace(BELOW_OLD, on=moved, at="/other/a/x")
    core = Core()
    core.take(everything([*BEFORE, other]))
    core.take(table(*BEFORE, other), listed(ROOT, BASE, other, moved, below))
    shown = {(row["mountpoint"], row["parent_id"]) for row in core.of("mounts")}
    assert shown == {(line(one).mountpoint, line(one).parent_id) for one in [*BEFORE, other]}


@pytest.mark.parametrize(("read", "path"), [(BEFORE, "/base/…"), (AFTER, "/base/b")])
def test_the_last_survey_names_by_no_table_of_before(read: list[M], path: str) -> None:
    """The call that moved it is not seen."""
    core = Core()
    core.take(everything(BEFORE), RoundBegan(0, "end"))
    core.take(table(*read, reason="end"), listed(*AFTER), RoundEnded(0, "end", [NS]))
    assert places(core) == [("move", path)]


def test_moved_before_the_first_table() -> None:
    core = Core()
    core.take(RoundBegan(0, "start"), move(at=MS), survey(*AFTER, reason="start"))
    core.take(RoundEnded(0, "start", [NS]), mounts_below())
    assert core.ask(NameMount) == []
    assert places(core) == [("attach", "/base/b/x/in")]


def test_one_that_covered_another_takes_its_place() -> None:
    """Its line has the one below it for its parent: its mount point is not the root of that."""
    core = Core()
    above = M(1005, OLD, "/base/a", source="above")
    core.take(everything([ROOT, BASE, OLD, above]))
    left = replace(above, on=BASE)
    core.take(
        table(ROOT, BASE, OLD, above),
        detached(ME, OLD),
        call("umount2", path="/base/a", last_detached=OLD.unique, tid=ME, seq=5),
        listed(ROOT, BASE, left),
    )
    below = M(1006, left, "/base/a/y", source="top")
    names = {dentry(left, "/y"): "/y", dentry(below, "/"): "/"}
    core.take(attached(YOU, below), call("mount", made(below), tid=YOU, seq=9, names=names))
    assert places(core)[-1] == ("attach", "/base/a/y")
