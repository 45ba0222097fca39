# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where mount tables are all there is: what differs between them, and the calls that explain it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mnttrace.capture.join.events import (
    AnyEvent,
    CallEnded,
    RoundBegan,
    RoundEnded,
    TimePassed,
)
from mnttrace.capture.join.requests import ForgetNamespace, SurveyAll
from tests.replay.build import MS, NS, OTHER, THIRD, Core, M, call, table

ROOT = M(1, group=1)
THERE = M(101, ns=OTHER, master=1, minor=1)
A = M(2, ROOT, "/a", source="a", group=2)
COPY = M(102, THERE, "/a", ns=OTHER, minor=2, master=2)


def tables(
    *namespaces: Sequence[M], meanwhile: Sequence[CallEnded] = (), **fields: Any
) -> list[AnyEvent]:
    """All mount tables are read; the kernel makes no lists."""
    given: dict[str, Any] = {"is_watched": False, "is_listed": False} | fields
    if "unique_ids" not in given:
        given["unique_ids"] = {m.mount_id: m.unique for mounts in namespaces for m in mounts}
    reason = given.pop("reason", "operation")
    read = [table(*mounts, reason=reason, **given) for mounts in namespaces]
    alive = [mounts[0].ns for mounts in namespaces]
    return [RoundBegan(0, reason), *read, *meanwhile, RoundEnded(0, reason, alive)]


def started(*namespaces: Sequence[M], **fields: Any) -> Core:
    core = Core("syscalls", uses_fanotify=False)
    core.take(*tables(*namespaces, reason="start", **fields))
    return core


def test_a_mount_its_copy_and_the_call_that_made_both() -> None:
    core = started([ROOT], [THERE])
    core.take(call("mount", seq=5, path="/a"), *tables([ROOT, A], [THERE, COPY]))
    assert core.effects() == [
        (5, "attach", "direct", "model", 2),
        (5, "attach", "slave", "model", 102),
    ]
    assert core.effects("copy_of_unique", "via_group")[1] == (2, 1)


def test_a_umount_and_what_went_with_it() -> None:
    core = started([ROOT, A], [THERE, COPY])
    core.take(call("umount2", seq=5, path="/a"), *tables([ROOT], [THERE]))
    assert core.effects("seq", "action", "via", "mnt_id_unique") == [
        (5, "detach", "direct", 2),
        (5, "detach", "slave", 102),
    ]


def test_what_no_call_explains_has_no_cause() -> None:
    core = started([ROOT])
    core.take(call("mount", seq=5, path="/elsewhere"), *tables([ROOT, A]))
    assert core.effects() == [(None, "attach", "", "snapshot", 2)]


def test_what_each_kind_of_call_can_have_done() -> None:
    moved = M(2, ROOT, "/b", source="a", group=2)
    private = M(2, ROOT, "/a", source="a")
    below = M(3, A, "/a/c")
    for made, then, action in (
        (call("mount", seq=5, path="/b", flags_value=0x2000), [ROOT, moved], "move"),
        (call("move_mount", seq=5, path="/b"), [ROOT, moved], "move"),
        (call("pivot_root", seq=5, path="/"), [ROOT, moved], "move"),
        (call("mount", seq=5, path="/a", flags_value=1 << 18), [ROOT, private], "change"),
        (call("mount_setattr", seq=5, path="/a"), [ROOT, private], "change"),
        (call("mount", seq=5, path="/a", flags_value=0x5000), [ROOT, A, below], "attach"),
        (call("umount2", seq=5, path="/", flags_value=2), [ROOT], "detach"),
    ):
        core = started([ROOT, A])
        core.take(made, *tables(then))
        found = core.effects("seq", "action", "via")
        assert found == [(5, action, "direct")], (made.row["syscall"], found)


def test_a_call_that_came_while_tables_were_read_explains_them_too() -> None:
    core = started([ROOT])
    late = call("mount", seq=5, path="/a")
    core.take(*tables([ROOT, A], meanwhile=[late]))
    assert core.effects("seq", "via") == [(5, "direct")]


def test_a_remount_does_not_show_in_a_namespace_that_has_no_table_any_more() -> None:
    a, there = M(2, ROOT, "/a", minor=9), M(102, THERE, "/a", ns=OTHER, minor=9)
    third = M(201, ns=THIRD, minor=3)
    gone = M(202, third, "/a", ns=THIRD, minor=9)
    core = started([ROOT, a], [THERE, there], [third, gone])
    read_only = replace(a, super_flags=1), replace(there, super_flags=1)
    core.take(
        call("mount", seq=5, path="/a", flags_value=32),
        *tables([ROOT, read_only[0]], [THERE, read_only[1]]),
    )
    assert core.effects("seq", "via", "mnt_id_unique") == [
        (5, "direct", 2),
        (None, "super-block", 102),
    ]


def test_a_birth_whose_table_comes_in_the_next_round() -> None:
    core = started([ROOT, A])
    born = call("unshare", seq=5, ns_target=OTHER, ns_after=OTHER)
    core.take(*tables([ROOT, A], meanwhile=[born]))
    core.take(
        *tables(
            [ROOT, A],
            [M(101, ns=OTHER, minor=1), M(102, M(101, ns=OTHER, minor=1), "/a", ns=OTHER, minor=2)],
        )
    )
    assert core.effects("seq", "via", "evidence", "copy_of_unique") == [
        (5, "namespace-copy", "model", 2)
    ]
    (row,) = [row for row in core.of("namespaces") if row["ns"] == OTHER]
    assert (row["seq"], row["parent_ns"]) == (5, NS)


def test_a_mount_that_its_maker_has_not_is_no_copy() -> None:
    core = started([ROOT])
    top = M(101, ns=OTHER, minor=1)
    core.take(
        call("unshare", seq=5, ns_target=OTHER), *tables([ROOT], [top, M(102, top, "/x", ns=OTHER)])
    )
    assert core.effects("seq", "via", "evidence") == [(None, "", "snapshot")]


def test_nor_is_what_was_mounted_in_both_after_the_birth() -> None:
    top = M(101, ns=OTHER, group=1, minor=1)
    inside = M(102, top, "/a", ns=OTHER, group=2, minor=2, source="a")
    outside = M(103, ROOT, "/a", group=2, minor=2, source="a")
    core = started([ROOT])
    core.take(
        call("unshare", seq=5, ns_target=OTHER),
        call("mount", seq=6, path="/a", ns=OTHER, source="a"),
        *tables([ROOT, outside], [top, inside]),
    )
    assert sorted(core.effects("seq", "via", "mnt_id_unique")) == [
        (6, "direct", 102),
        (6, "peer", 103),
    ]


def test_a_call_that_began_when_the_table_had_been_read_explains_nothing_in_it() -> None:
    core = started([ROOT])
    first = call("mount", seq=5, path="/a", monotonic=core.now + 1)
    last = [call("umount2", seq=6, path="/a"), call("mount", seq=7, path="/a")]
    for late in last:
        late.row["monotonic"] = core.now + 100 * MS
    core.take(first, *tables([ROOT, A], meanwhile=last))
    assert core.effects("seq", "via") == [(5, "direct")]


def test_where_ids_are_used_again_another_mount_is_known_by_its_file_system() -> None:
    core = started([ROOT, A], unique_ids={})
    core.take(*tables([ROOT, M(2, ROOT, "/a", minor=9, source="b")], unique_ids={}))
    assert sorted(core.effects("action", "source")) == [("attach", "b"), ("detach", "a")]


def test_a_namespace_with_the_number_of_one_that_ended() -> None:
    top = M(101, ns=OTHER, minor=1)
    core = started([ROOT], [top, M(102, top, "/old", ns=OTHER)], unique_ids={})
    core.take(call("unshare", seq=5, ns_target=OTHER))
    core.take(*tables([ROOT], [top, M(103, top, "/new", ns=OTHER)], unique_ids={}))
    assert ("namespace-death", "/old") in core.effects("via", "mountpoint")
    assert ForgetNamespace(OTHER) in core.ask(ForgetNamespace)


def test_a_mount_that_went_while_its_table_was_read_is_left_out() -> None:
    core = started([ROOT])
    core.take(*tables([ROOT, A], unique_ids={1: 1}))
    assert core.effects() == []


def test_tables_are_read_when_calls_have_come_or_all_the_time() -> None:
    core = started([ROOT])
    core.take(TimePassed(core.now + 200 * MS))
    assert core.ask(SurveyAll) == []
    core.take(call("mount", seq=5, path="/a"), TimePassed(core.now + 200 * MS))
    assert core.ask(SurveyAll) == [SurveyAll("operation")]
    blind = Core("none", uses_fanotify=False)
    blind.take(*tables([ROOT], reason="start"), TimePassed(blind.now + 200 * MS))
    assert blind.ask(SurveyAll) == [SurveyAll("operation")]
