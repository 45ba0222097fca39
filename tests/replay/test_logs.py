# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""That each raw log gives the rows that were looked through, and that these agree with each other
and with the kernel's own tables."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path

import pytest

from mnttrace.capture.join.events import LossesCounted, RoundEnded, TableRead
from mnttrace.linux.flags import MOUNT
from tests.replay.make_logs import SIZE
from tests.replay.readable import readable
from tests.replay.scenarios import EXACT, SCENARIOS
from tests.replay.told import name, paths, told

KINDS = (
    "5.10-kernel-hooks",
    "6.1-kernel-hooks",
    "6.1-arm64-kernel-hooks",
    "6.12-kernel-hooks",
    "6.18-walk",
    "6.18-syscalls",
    "6.18-none",
    "7.3-kernel-hooks",
)
OF_OTHER_MOUNTS = MOUNT["MS_BIND"] | MOUNT["MS_MOVE"]  # else `source` is the new mount's
CARRIED = ("direct", "peer", "slave")
every_log = pytest.mark.parametrize("path", paths(), ids=name)


def test_there_is_a_log_of_each_scenario_from_each_kind_of_kernel() -> None:
    wanted = {
        (kind, name)
        for kind in KINDS
        for name, scenario in SCENARIOS.items()
        if kind.endswith(scenario.backends)
    }
    assert {(path.parent.name, path.stem) for path in paths()} == wanted


@every_log
def test_the_rows_are_those_that_were_looked_through(path: Path) -> None:
    """`python -m tests.replay.make_logs --rows` writes them anew: look through the difference."""
    file = path.with_suffix(".rows")
    wanted = file.read_text().splitlines()
    got = readable(told(path).rows)
    difference = difflib.unified_diff(wanted, got, str(file), "now", lineterm="", n=2)
    assert wanted == got, "\n" + "\n".join(difference)


@every_log
def test_the_log_is_small(path: Path) -> None:
    assert path.stat().st_size <= SIZE


@every_log
def test_effects_are_of_calls_that_succeeded(path: Path) -> None:
    run = told(path)
    for effect in run.effects:
        if effect["seq"] is None:
            continue
        call = run.call(effect)
        assert call["result"] >= 0
        for column in ("pid", "tid", "monotonic", "ts"):
            assert effect[column] == call[column]


@every_log
def test_a_mount_lies_below_its_parent(path: Path) -> None:
    for row in told(path).effects:
        above = row["parent_path"]
        assert above is None or f"{row['mountpoint']}/".startswith(above.rstrip("/") + "/")


@every_log
def test_what_is_attached_is_what_the_call_mounts(path: Path) -> None:
    run = told(path)
    for row in run.effects:
        if row["action"] == "attach" and row["via"] in CARRIED:
            call = run.call(row)
            assert call["syscall"] in ("mount", "move_mount")
            if not call["flags_value"] & OF_OTHER_MOUNTS and call["syscall"] == "mount":
                assert call["source"] == row["source"]


@every_log
def test_what_is_detached_is_what_the_call_unmounts(path: Path) -> None:
    run = told(path)
    for row in run.effects:
        if row["action"] == "detach" and row["via"] in CARRIED:
            assert run.call(row)["syscall"] == "umount2"


@every_log
def test_what_a_call_does_itself_is_at_its_path(path: Path) -> None:
    run = told(path)
    for row in run.effects:
        if row["via"] == "direct":
            call = run.call(row)
            assert row["ns_id"] == call["ns_id"]
            below = call["path"].rstrip("/") + "/"
            if row["action"] == "move":
                continue
            if row["evidence"] == "ambiguous" and "…" in row["mountpoint"]:
                # Of what another call may have made, it is not known where it was.
                below = row["parent_path"].rstrip("/") + "/"
                assert call["path"].startswith(below)
            assert f"{row['mountpoint']}/".startswith(below)


@every_log
def test_calls_are_written_in_their_order(path: Path) -> None:
    numbers = list(told(path).operations)  # less those of removals that detached nothing
    assert numbers == sorted(set(numbers))


@every_log
@pytest.mark.parametrize("action", ["attach", "detach"])
def test_a_mount_comes_and_goes_once(path: Path, action: str) -> None:
    rows = [row for row in told(path).effects if row["action"] == action]
    assert max(Counter(row["mnt_id_unique"] for row in rows).values(), default=1) == 1


@every_log
def test_the_effects_lead_to_the_tables_that_the_kernel_has_in_the_end(path: Path) -> None:
    run = told(path)
    first: dict[int, TableRead] = {}
    last: dict[int, TableRead] = {}
    alive: list[int] = []
    for event in run.log.events():
        if isinstance(event, TableRead):
            first.setdefault(event.key, event)
            last[event.key] = event
        elif isinstance(event, RoundEnded):
            alive = event.alive
    for key in alive:
        mounts = {}
        if first[key].reason == "start":
            # What came and went while it was read is of no account.
            lines = [m for m in first[key].mounts if not m.source.startswith("loop-")]
            mounts = {mount.mount_id: mount.mountpoint for mount in lines}
        for row in run.effects:
            if row["ns_id"] != key:
                continue
            if row["action"] == "detach":
                assert row["mount_id"] in mounts or path.stem == "starting"
                mounts.pop(row["mount_id"], None)
            else:
                mounts[row["mount_id"]] = row["mountpoint"]
        assert mounts == {mount.mount_id: mount.mountpoint for mount in last[key].mounts}


@every_log
def test_nothing_is_lost_and_it_says_so(path: Path) -> None:
    [counted] = [e for e in told(path).log.events() if isinstance(e, LossesCounted)]
    losses = {row["kind"]: row["count"] for row in told(path).table("losses")}
    lost = {kind: n for kind, n in losses.items() if n and not kind.startswith("sent")}
    if path.stem == "starting":
        # Calls that began before all programs were attached.
        lost.pop("lost_runs", None)
    if path.stem == "ambiguous":
        lost.pop("ambiguous_detaches", None)
    assert lost == {}
    assert counted.losses.items() <= losses.items()


@pytest.mark.parametrize(
    "path", [p for p in paths() if told(p).backend in EXACT and p.stem != "ambiguous"], ids=name
)
def test_nothing_is_ambiguous_where_all_namespaces_are_watched(path: Path) -> None:
    assert [row for row in told(path).effects if row["evidence"] == "ambiguous"] == []
