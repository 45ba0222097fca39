# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Three threads mount and unmount at once, under a mount with a peer and a slave: `concurrency`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.replay.scenarios import EXACT
from tests.replay.told import name, paths, told

THREADS = ("t0", "t1", "t2")
SOURCES = [(thread, number) for thread in THREADS for number in range(1, 21)]
every = pytest.mark.parametrize("path", paths("concurrency"), ids=name)
exact = pytest.mark.parametrize(
    "path", [path for path in paths("concurrency") if told(path).backend in EXACT], ids=name
)


@every
def test_all_calls_are_told_of(path: Path) -> None:
    run = told(path)
    for thread in THREADS:
        calls = run.calls(comm=thread)
        assert [call["syscall"] for call in calls] == ["mount", "umount2"] * 20
        assert [call["source"] for call in calls[::2]] == [f"{thread}-{n}" for n in range(1, 21)]
        assert {call["path"] for call in calls} == {f"/srv/shared/{thread}"}
        assert len({call["tid"] for call in calls}) == 1
    assert len({call["tid"] for call in run.operations.values()}) == 3
    assert len({call["pid"] for call in run.operations.values()}) == 1


@exact
@pytest.mark.parametrize("action", ["attach", "detach"])
def test_each_mount_comes_and_goes_in_each_namespace_once(path: Path, action: str) -> None:
    run = told(path)
    outside, peer, slave = map(run.namespace, ("outside", "peer", "slave"))
    for thread, number in SOURCES:
        assert run.reach(f"{thread}-{number}", action) == {
            (outside, "direct"): 1,
            (peer, "peer"): 1,
            (slave, "slave"): 1,
        }


@every
def test_no_owner_is_wrong(path: Path) -> None:
    run = told(path)
    for row in run.effects:
        if row["evidence"] == "ambiguous" or row["seq"] is None:
            continue
        thread, number = row["source"].split("-")
        call = run.call(row)
        assert call["comm"] == thread
        assert row["mountpoint"] == f"/srv/shared/{thread}"
        if row["action"] == "attach":
            assert call["source"] == row["source"]
        else:
            is_lazy = int(number) % 2 == 1
            assert (call["syscall"], call["flags"]) == ("umount2", "MNT_DETACH" * is_lazy)


@exact
def test_a_mount_goes_with_the_next_call_of_its_thread(path: Path) -> None:
    run = told(path)
    for thread, number in SOURCES:
        [came] = {row["seq"] for row in run.of(f"{thread}-{number}", action="attach")}
        [went] = {row["seq"] for row in run.of(f"{thread}-{number}", action="detach")}
        seqs = [call["seq"] for call in run.calls(comm=thread)]
        assert seqs.index(went) == seqs.index(came) + 1 == 2 * number - 1
        mounts = [
            Counter(row["mnt_id_unique"] for row in run.of(f"{thread}-{number}", action=action))
            for action in ("attach", "detach")
        ]
        assert mounts[0] == mounts[1]


@exact
def test_copies_say_what_they_are_copies_of(path: Path) -> None:
    run = told(path)
    for thread, number in SOURCES:
        for action in ("attach", "detach"):
            rows = run.of(f"{thread}-{number}", action=action)
            [direct] = [row for row in rows if row["via"] == "direct"]
            for row in rows:
                if row is not direct:
                    assert row["copy_of_unique"] == direct["mnt_id_unique"]
                    assert row["via_unique"] == direct["parent_unique"]
                    assert row["via_path"] == "/srv/shared"
