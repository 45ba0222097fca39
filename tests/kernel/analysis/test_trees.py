# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace tree`: all of it, what is covered, and what it joins by."""

from __future__ import annotations

from tests.kernel.analysis.situations import BEFORE, hold
from tests.kernel.recordings import Record

DEPTH = 40


def test_a_deep_tree_is_not_cut(record: Record, mnttrace) -> None:
    recorded = record(
        f"""
        at=srv/x; for n in $(seq {DEPTH}); do
            mount -t tmpfs deep-$n $at; at=$at/a-name-that-is-long; mkdir $at; done
        """,
        before=BEFORE,
    )
    lines = mnttrace("tree", "run.mnttrace").stdout.splitlines()
    place = f"{recorded.folder}/srv/x" + "/a-name-that-is-long" * (DEPTH - 1)
    assert any(
        line.endswith(f"─ {place}  tmpfs deep-{DEPTH} shared:{_group(recorded, place)}")
        for line in lines
    )


def _group(recorded, place: str) -> int:
    [row] = recorded.rows("effects", mountpoint=place, action="attach")
    return row["shared"]


def test_what_is_covered_is_marked(record: Record, mnttrace) -> None:
    record(
        """
        mount -t tmpfs under srv/x; mkdir srv/x/in; mount -t tmpfs inside srv/x/in
        mount -t tmpfs over srv/x; mkdir srv/x/in; mount -t tmpfs seen srv/x/in
        """,
        before=BEFORE,
        after="$MNTTRACE report run.mnttrace -o report.html",
    )
    lines = mnttrace("tree", "run.mnttrace").stdout.splitlines()
    marked = {
        name: line.endswith(" covered")
        for name in ("under", "inside", "over", "seen")
        for line in lines
        if f" tmpfs {name} " in line
    }
    assert marked == {"under": True, "inside": True, "over": False, "seen": False}


def test_namespaces_and_peers_have_one_name(record: Record, mnttrace) -> None:
    recorded = record(hold("unchanged"), before=BEFORE)
    pid = (recorded.folder / "pid").read_text().strip()
    text = mnttrace("tree", "run.mnttrace").stdout
    names = recorded.run.namespaces.set_index("name")
    assert f"\nsleep[{pid}] (mnt:[{names.loc[f'sleep[{pid}]', 'ns']}]): " in text
    assert f"peer  host: {recorded.folder}/srv" in text
    assert f"peer  sleep[{pid}]: {recorded.folder}/srv" in text
