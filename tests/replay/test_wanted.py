# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Where not all is wanted: an effect is written with its operation, whenever it is found."""

from __future__ import annotations

import pytest

from mnttrace.capture.join.events import CallEnded, RoundBegan, RoundEnded
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.selection import Filter
from mnttrace.recording.rows import Row
from tests.replay.build import (
    ME,
    NS,
    OTHER,
    YOU,
    Core,
    M,
    after,
    call,
    detached,
    made,
    survey,
    table,
)
from tests.replay.logs import NAMES, load

ROOT, THERE = M(1001, group=1), M(9001, ns=OTHER, minor=1, group=1)
A, COPY = M(1002, ROOT, "/a"), M(9002, THERE, "/a", ns=OTHER, minor=2)
ELSEWHERE = M(9003, THERE, "/z", ns=OTHER)
MINE = Filter(pids=frozenset({1}))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("6.18-none")])
def test_what_fits_every_call_leaves_out_only_what_no_call_did_to_older_mounts(name: str) -> None:
    log = load(name)
    join, rows = Join(log.setting, MINE), list[tuple[str, Row]]()
    for event in log.events():
        if isinstance(event, CallEnded):
            event.descends = True
        rows += join.take(event).rows
    rows += join.finish().rows
    everything = [row for kind, row in log.rows() if kind == "effects"]
    by_calls = [row for row in everything if row["seq"] is not None]
    made = {row["mnt_id_unique"] for row in by_calls if row["action"] == "attach"}
    wanted = [row for row in everything if row["seq"] is not None or row["mnt_id_unique"] in made]
    assert [row for kind, row in rows if kind == "effects"] == wanted


def found_with_the_next_call(wanted: Filter, mine: int) -> Core:
    """A umount in one namespace, whose copy elsewhere is found gone with the list of a mount there;
    one of both is a wanted process's."""
    core = Core(wanted=wanted)
    core.take(RoundBegan(0, "start"), survey(ROOT, A), survey(THERE, COPY, is_watched=False))
    core.take(RoundEnded(0, "start", [NS, OTHER]), detached(ME, A))
    core.take(call("umount2", path="/a", last_detached=1002, seq=5, descends=mine == 5))
    lists = made(ELSEWHERE, ns=OTHER), after(THERE, ELSEWHERE, ns=OTHER)
    core.take(call("mount", *lists, seq=6, tid=YOU, ns=OTHER, path="/z", descends=mine == 6))
    return core


@pytest.mark.parametrize(("mine", "mounts"), [(5, [(5, 1002), (5, 9002)]), (6, [(6, 9003)])])
def test_an_effect_that_another_call_shows_goes_with_its_own(
    mine: int, mounts: list[tuple[int, int]]
) -> None:
    core = found_with_the_next_call(MINE, mine)
    assert [row["seq"] for row in core.of("operations")] == [mine]
    assert core.effects("seq", "mnt_id_unique") == mounts


def test_an_operation_whose_wanted_effect_is_found_late_is_written_then() -> None:
    core = found_with_the_next_call(Filter(namespaces=frozenset({OTHER})), 5)
    assert sorted(row["seq"] for row in core.of("operations")) == [5, 6]
    assert sorted(core.effects("seq", "mnt_id_unique")) == [(5, 9002), (6, 9003)]


def test_so_where_tables_are_all_there_is() -> None:
    for wanted, seqs in (
        (Filter(namespaces=frozenset({OTHER})), [5]),
        (Filter(namespaces=frozenset({OTHER}), pids=frozenset({1})), []),
    ):
        core = Core("syscalls", uses_fanotify=False, wanted=wanted)
        for mounts, there in (([ROOT], [THERE]), ([ROOT, A], [THERE, COPY])):
            if A in mounts:
                core.take(call("mount", path="/a", seq=5))
            core.take(RoundBegan(0, "start"))
            for one in (mounts, there):
                ids = {mount.mount_id: mount.unique for mount in one}
                core.take(table(*one, is_listed=False, unique_ids=ids))
            core.take(RoundEnded(0, "start", [NS, OTHER]))
        assert [row["seq"] for row in core.of("operations")] == seqs
        assert sorted({row["seq"] for row in core.of("effects")}) == seqs
