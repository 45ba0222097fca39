# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The mount tables of any moment, against a replay by hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd

from mnttrace.analysis.recording import Recording
from mnttrace.analysis.state.moments import COLUMNS
from mnttrace.recording.writer import Writer
from tests.unit.analysis.plain import SHOWN, replayed, shown, told


def test_tables_at_random_moments_are_those_of_a_replay(synthetic: Recording) -> None:
    operations = synthetic.operations.set_index("seq")
    ends = (operations["monotonic"] + operations["latency"]).to_dict()
    chosen = set(random.Random(1).sample(range(len(synthetic.effects)), 25))
    moments = []
    previous: dict[str, Any] = {}
    tables: set[tuple[Any, ...]] = set()
    for number, (effect, current) in enumerate(replayed(synthetic)):
        # Up to the last effect before this one, if that is one of another operation.
        if number in chosen and previous.get("seq") != effect["seq"] and previous["seq"]:
            moments.append((ends[previous["seq"]], tables))
        previous = effect
        tables = shown(current) if number + 1 in chosen else tables
    assert len(moments) > 5
    for when, wanted in moments:
        seconds = (when + synthetic.meta["wall_offset"] - synthetic.meta["started"]) / 1e9
        assert told(synthetic.at(seconds + 1e-7), list(SHOWN)) == wanted
        assert list(synthetic.at(seconds).columns) == COLUMNS


def test_a_part_of_the_recording_has_a_part_of_the_tables(synthetic: Recording) -> None:
    whole = synthetic.at(1.0)
    container = synthetic.namespaces.query("kind == 'container'").iloc[0]
    part = synthetic.container(container["name"]).at(1.0)
    assert 0 < len(part) < len(whole)
    pd.testing.assert_frame_equal(
        part.reset_index(drop=True),
        whole[whole["ns_id"] == container["ns_id"]].reset_index(drop=True),
    )


def test_a_kernel_without_unique_ids(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run.mnttrace")
    writer.meta |= {"wall_offset": 0, "started": 0, "stopped": 10**9, "losses": {}}
    writer.add(
        "snapshots", {"snapshot": 1, "ns_id": 1, "started": 1, "ended": 2, "reason": "start"}
    )
    same = {"ns": 7, "ns_id": 1, "device": "0:1", "root": "/", "options": "rw"}
    for mount_id, parent_id, path in ((20, 1, "/"), (21, 20, "/a"), (22, 21, "/a/b")):
        row = {"mount_id": mount_id, "parent_id": parent_id, "mountpoint": path}
        writer.add("mounts", same | row | {"snapshot": 1, "change": "initial"})
    made_up = 1 << 62
    moved = same | {
        "mount_id": 21,
        "mnt_id_unique": made_up + 1,
        "parent_id": 20,
        "parent_path": "/",
    }
    writer.add("effects", moved | {"monotonic": 100, "action": "move", "mountpoint": "/c"})
    gone = same | {
        "mount_id": 22,
        "mnt_id_unique": made_up + 2,
        "parent_id": 21,
        "parent_path": "/c",
    }
    writer.add("effects", gone | {"monotonic": 200, "action": "detach", "mountpoint": "/c/b"})
    again = gone | {"mnt_id_unique": made_up + 3, "evidence": "snapshot"}
    writer.add("effects", again | {"monotonic": 300, "action": "attach", "mountpoint": "/c/d"})
    writer.close()
    run = Recording(tmp_path / "run.mnttrace")

    def paths(nanoseconds: int) -> dict[int, str]:
        table = run.at(pd.Timestamp(nanoseconds, tz="UTC"))
        assert not table["mount_id"].duplicated().any()
        return dict(zip(table["mount_id"], table["mountpoint"], strict=True))

    assert paths(99) == {20: "/", 21: "/a", 22: "/a/b"}
    assert paths(100) == {20: "/", 21: "/c", 22: "/c/b"}
    assert paths(200) == {20: "/", 21: "/c"}
    assert paths(300) == {20: "/", 21: "/c", 22: "/c/d"}


def test_what_is_attached_while_its_table_is_read_is_there_once(tmp_path: Path) -> None:
    """Unique ids are read before mountinfo: what comes in between has none in the table."""
    writer = Writer(tmp_path / "run.mnttrace")
    writer.meta |= {"wall_offset": 0, "started": 0, "stopped": 10**9, "losses": {}}
    read = {"snapshot": 1, "ns_id": 1, "started": 100, "ended": 200, "reason": "birth"}
    writer.add("snapshots", read)
    same = {"ns": 7, "ns_id": 1, "device": "0:1", "root": "/"}
    new = same | {"mount_id": 21, "parent_id": 20, "mountpoint": "/new"}
    old = same | {"mount_id": 20, "parent_id": 1, "mountpoint": "/", "mnt_id_unique": 5000}
    for row in (old, new):
        writer.add("mounts", row | {"snapshot": 1, "change": "initial"})
    for at, action, path in ((150, "attach", "/new"), (300, "move", "/moved")):
        effect = new | {"mnt_id_unique": 5001, "parent_path": "/"}
        writer.add("effects", effect | {"monotonic": at, "action": action, "mountpoint": path})
    writer.close()
    run = Recording(tmp_path / "run.mnttrace")
    for at, path in ((250, "/new"), (300, "/moved")):
        table = run.at(pd.Timestamp(at, tz="UTC"))
        assert list(table["mountpoint"]) == ["/", path]
