# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A loop of mounts that was there before the recorder: `starting`."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from tests.replay.scenarios import EXACT
from tests.replay.told import AnyRow, Told, name, paths, told

every = pytest.mark.parametrize("path", paths("starting"), ids=name)
exact = pytest.mark.parametrize(
    "path", [path for path in paths("starting") if told(path).backend in EXACT], ids=name
)


def by_number(run: Told, action: str, ns_id: int) -> dict[int, AnyRow]:
    """The effects on the loop's mounts in a namespace, by the number of the mount."""
    rows = [row for row in run.effects if row["ns_id"] == ns_id and row["action"] == action]
    numbered = {int(row["source"].removeprefix("loop-")): row for row in rows}
    assert len(numbered) == len(rows)
    return numbered


@every
def test_only_the_loops_mounts_come_and_go(path: Path) -> None:
    run = told(path)
    assert {row["source"].split("-")[0] for row in run.effects} <= {"loop"}
    assert {row["action"] for row in run.effects} <= {"attach", "detach"}


@every
def test_paths_are_right_from_the_first_one_on(path: Path) -> None:
    run = told(path)
    known = {run.namespace("outside"): None, run.namespace("slave"): "/srv/shared/loop"}
    for row in run.effects:
        assert row["mountpoint"] == "/srv/shared/loop"
        assert row["parent_path"] == "/srv/shared"
        assert row["ns_id"] in known
        assert row["evidence"] != "ambiguous"
    for call in run.operations.values():
        assert (call["path"], call["comm"]) == ("/srv/shared/loop", "loop")
        assert (call["syscall"] == "mount") == bool(call["source"])


@exact
def test_both_namespaces_have_each_mount_from_the_first_one_on(path: Path) -> None:
    run = told(path)
    outside, slave = run.namespace("outside"), run.namespace("slave")
    calls = {int(call["source"].removeprefix("loop-")) for call in run.calls(syscall="mount")}
    assert calls == set(range(min(calls), max(calls) + 1))
    following = dict(pairwise(run.operations))  # some calls of others have numbers and no rows
    for ns_id, via in ((outside, "direct"), (slave, "slave")):
        came, went = (by_number(run, action, ns_id) for action in ("attach", "detach"))
        assert came.keys() == calls
        # One that was there at first goes, too.
        assert calls <= went.keys() <= {min(calls) - 1, *calls}
        for number, row in came.items():
            assert (row["via"], row["evidence"]) == (via, "kernel")
            assert run.call(row)["source"] == f"loop-{number}"
            assert went[number]["via"] == via
            assert run.call(went[number])["syscall"] == "umount2"
            assert went[number]["seq"] == following[row["seq"]]
            assert went[number]["mnt_id_unique"] == row["mnt_id_unique"]


@exact
def test_each_umount_has_its_two_effects(path: Path) -> None:
    run = told(path)
    effects = defaultdict(list)
    for row in run.effects:
        effects[row["seq"]].append(row)
    assert None not in effects
    first = run.calls(syscall="mount")[0]["seq"]
    for seq in run.operations:
        if seq >= first:
            assert len(effects[seq]) == 2
