# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The figures in pictures are those that were written into a recording."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from mnttrace.analysis.plots.parts import duration
from mnttrace.errors import BadInput
from tests.unit.analysis.plots import made
from tests.unit.analysis.plots.charts import layers, mounts_in, rows_with, subtitle
from tests.unit.analysis.plots.made import (
    FIRST,
    HOST,
    START,
    effect,
    mount,
    namespace,
    operation,
    snapshot,
)

WEB, DB = FIRST + 1, FIRST + 2
NAMES = [namespace(HOST, "host", "host"), namespace(WEB, "web"), namespace(DB, "db")]
MS = 10**6


def test_timeline_has_each_operation_in_its_lane_at_its_time(tmp_path: Path) -> None:
    operations = [
        operation(1, HOST, 1 * MS, "unshare"),
        operation(2, WEB, 2 * MS + 250, "mount"),
        operation(3, WEB, 3 * MS, "fsopen"),
        operation(4, DB, 4 * MS, "umount2", error="EBUSY", result=-16),
        operation(5, DB, 5 * MS, "renameat2"),
    ]
    run = made.write(tmp_path / "run.mnttrace", {"operations": operations, "namespaces": NAMES})
    drawn = {
        (row["namespace"], row["call"], row["syscall"], row["error"], row["time"][-15:])
        for row in rows_with(run.plot.timeline(), "call", "time")
    }
    assert drawn == {
        ("host", "unshare, setns, clone", "unshare", "", _clock(1 * MS)),
        ("web", "mount", "mount", "", _clock(2 * MS)),
        ("web", "new mount API", "fsopen", "", _clock(3 * MS)),
        ("db", "failed", "umount2", "EBUSY", _clock(4 * MS)),
        ("db", "remove, rename", "renameat2", "", _clock(5 * MS)),
    }
    rows = sorted(rows_with(run.plot.timeline(), "call", "at"), key=lambda row: row["at"])
    assert rows[1]["at"] - rows[0]["at"] == pytest.approx(1.00025)  # the fraction of a ms is kept
    assert [round(row["y"]) for row in rows] == [0, 1, 1, 2, 2]
    assert "5 operations" in subtitle(run.plot.timeline())
    assert "1 failed" in subtitle(run.plot.timeline())


def _clock(at: int) -> str:
    second, rest = divmod(START + at, 10**9)
    hour, minute = second // 3600 % 24, second // 60 % 60
    return f"{hour:02}:{minute:02}:{second % 60:02}.{rest // 1000:06}"


def test_arrows_lead_from_the_operation_to_its_copies(tmp_path: Path) -> None:
    carried = {"via": "peer", "via_group": 1}
    tables = {
        "namespaces": NAMES,
        "operations": [operation(1, WEB, MS), operation(2, HOST, 2 * MS, "umount2")],
        "effects": [
            effect(1, WEB, MS, 50),
            effect(1, HOST, MS, 51, **carried),
            effect(1, HOST, MS, 52, **carried),
            effect(1, WEB, MS, 53, **carried),  # at another place of its own: no arrow
            effect(2, HOST, 2 * MS, 51, action="detach"),
            effect(2, DB, 2 * MS, 54, action="detach", via="slave"),
        ],
    }
    run = made.write(tmp_path / "run.mnttrace", tables)
    arrows = {
        (row["source"], row["target"], row["y"], row["y2"], row["action"], row["count"])
        for row in rows_with(run.plot.timeline(), "source", "target")
    }
    assert arrows == {("web", "host", 1, 0, "mount", 2), ("host", "db", 0, 2, "umount", 1)}
    heads = {(row["y2"], row["turn"]) for row in rows_with(run.plot.timeline(), "turn")}
    assert heads == {(0, 0), (2, 180)}


def test_counted_operations_are_all_there(tmp_path: Path) -> None:
    tables = made.many(namespaces=60, operations=20_000)
    names = {row["ns_id"]: row["name"] for row in tables["namespaces"]}
    calls = Counter(names[row["ns_id"]] for row in tables["operations"])
    failed = sum(bool(row["error"]) for row in tables["operations"])
    copies = Counter(
        names[row["ns_id"]] for row in tables["effects"] if row["via"] in ("peer", "slave")
    )
    run = made.write(tmp_path / "run.mnttrace", tables)
    drawn: Counter[str] = Counter()
    received: Counter[str] = Counter()
    in_red = 0
    for rows in layers(run.plot.timeline()):
        for row in rows:
            if "call" in row:
                drawn[row["lane"]] += row["count"]
                in_red += row["count"] * (row["call"] == "failed")
            else:
                received[row["lane"]] += row["count"]
    shown = [lane for lane in drawn if not lane.endswith("others")]
    assert len(shown) == 23
    assert {lane: drawn[lane] for lane in shown} == {lane: calls[lane] for lane in shown}
    assert sum(drawn.values()) == sum(calls.values())
    assert in_red == failed
    assert received["host"] == copies["host"]
    # Those that share a lane get copies of each other's operations: from the host alone, here.
    assert sum(received.values()) == sum(copies.values()) - _within_the_last(tables, names, shown)


def _within_the_last(tables: made.Rows, names: dict[int, str], shown: list[str]) -> int:
    owner = {row["seq"]: names[row["ns_id"]] for row in tables["operations"]}
    return sum(
        owner[row["seq"]] not in shown and names[row["ns_id"]] not in shown
        for row in tables["effects"]
        if row["via"] in ("peer", "slave")
    )


def test_heatmap_counts_copies(tmp_path: Path) -> None:
    tables = {
        "namespaces": NAMES,
        "operations": [operation(1, WEB, MS), operation(2, HOST, 2 * MS)],
        "effects": [
            effect(1, WEB, MS, 50),
            effect(1, HOST, MS, 51, via="peer"),
            effect(1, HOST, MS, 52, via="slave"),
            effect(2, HOST, MS, 53, via="peer"),
            effect(2, DB, MS, 54, via="slave"),
            effect(2, DB, 2 * MS, 51, action="detach", via="slave"),  # not a copy
        ],
    }
    run = made.write(tmp_path / "run.mnttrace", tables)
    cells = {(row["from"], row["to"]): row["copies"] for row in layers(run.plot.heatmap())[0]}
    assert cells == {("web", "host"): 2, ("host", "host"): 1, ("host", "db"): 1}


def test_growth_counts_each_mount_once(tmp_path: Path) -> None:
    tables = {
        "namespaces": NAMES,
        "operations": [operation(seq, WEB, seq * MS) for seq in (1, 2, 3)],
        "snapshots": [snapshot(1, HOST), snapshot(2, HOST, 9 * MS, "end")],
        "mounts": [
            mount(1, HOST, 10, "/"),
            mount(1, HOST, 11, "/a"),
            mount(2, HOST, 12, "/b", change="added"),  # of which an effect tells
            mount(2, HOST, 13, "/c", change="added"),  # and of this one none
            mount(2, HOST, 11, "/a", change="removed"),
        ],
        "effects": [
            effect(1, HOST, 1 * MS, 12),
            effect(2, HOST, 2 * MS, 11, action="detach"),
            effect(3, WEB, 3 * MS, 30, via="namespace-copy"),
            effect(None, WEB, 4 * MS, 30, action="detach", via="namespace-death"),
        ],
    }
    run = made.write(tmp_path / "run.mnttrace", tables, mount_max=4)
    rows = rows_with(run.plot.growth(), "lane", "mounts")
    lines = {
        name: [(row["time"], row["mounts"]) for row in rows if row["lane"] == name]
        for name in ("host", "web")
    }
    steps = [(0, 2), (1, 3), (2, 2), (9, 3), (9, 3)]
    assert lines["host"] == [(_clock(at * MS), n) for at, n in steps]
    assert lines["web"] == [(_clock(at * MS), n) for at, n in [(3, 1), (4, 0)]]
    assert rows_with(run.plot.growth(), "text") == [{"mounts": 4, "text": "fs.mount-max 4"}]
    far = made.write(tmp_path / "far.mnttrace", tables, mount_max=100_000)
    assert not any("text" in row for rows in layers(far.plot.growth()) for row in rows)


def test_long_growth_keeps_its_peaks(tmp_path: Path) -> None:
    """A thousand mounts that come and go at once are between two points of a thinned line."""
    effects = []
    for at in range(5_000):
        effects.append(effect(None, HOST, at * MS, at))
        if at % 2:
            effects.append(effect(None, HOST, at * MS + 1, at, action="detach"))
    burst = [effect(None, HOST, 3_333 * MS + 2, 10_000 + n) for n in range(1_000)]
    burst += [effect(None, HOST, 3_333 * MS + 3, 10_000 + n, action="detach") for n in range(1_000)]
    tables = {"namespaces": NAMES, "effects": [*effects, *burst]}
    run = made.write(tmp_path / "run.mnttrace", tables)
    rows = rows_with(run.plot.growth(), "lane", "mounts")
    assert len(rows) < 1_000
    assert max(row["mounts"] for row in rows) == 1_667 + 1_000
    assert rows[-1]["mounts"] == 2_500


def test_latency_tells_failures_apart(tmp_path: Path) -> None:
    slow = [1_000, 2_000, 40_000, 5_000_000, 7_000]
    fast = [150, 0]
    operations = [operation(n, HOST, n, latency=ns) for n, ns in enumerate(slow)]
    operations += [
        operation(10 + n, HOST, n, latency=ns, error="EPERM", result=-1)
        for n, ns in enumerate(fast)
    ]
    run = made.write(tmp_path / "run.mnttrace", {"operations": operations})
    chart = run.plot.latency()
    rows = {row["row"]: row for row in rows_with(chart, "p50")}
    assert {name: row["calls"] for name, row in rows.items()} == {"mount": 5, "mount, failed": 2}
    assert rows["mount"]["p50"] == median(slow)
    assert rows["mount"]["longest"] == "5 ms"
    bins = rows_with(chart, "from", "to")
    for name, values in (("mount", slow), ("mount, failed", [150, 1])):
        own = [row for row in bins if row["row"] == name]
        for row in own:
            inside = [ns for ns in values if row["from"] <= ns * 1.000001 < row["to"]]
            assert row["calls"] == len(inside)
        assert sum(row["calls"] for row in own) == len(values)


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (12_345, "12.3 µs"), (999_999_000, "1 s"), (90e9, "1.5 min")],
)
def test_durations(ns: float, text: str) -> None:
    assert duration(ns) == text


def test_graph_of_a_peer_group_and_its_slaves(tmp_path: Path) -> None:
    gone = effect(None, HOST, MS, 13, action="detach", shared=2)
    tables = _peers_and_slaves() | {"operations": [], "effects": [gone]}
    chart = made.write(tmp_path / "run.mnttrace", tables).plot.graph()
    nodes = {(row["namespace"], row["path"], row["kind"]) for row in mounts_in(chart)}
    assert nodes == {
        ("host", "/", "shared"),
        ("host", "/data", "shared"),
        ("web", "/", "shared and slave"),
        ("db", "/", "slave"),
        ("web", "/volume", "shared"),
    }
    assert _edges(chart) == {
        ("peers", ("host", "/data"), ("web", "/volume")),
        ("master to slave", ("host", "/"), ("web", "/")),
        ("master to slave", ("web", "/"), ("db", "/")),
    }


def test_graph_of_an_operation_shows_the_way_of_its_copies(tmp_path: Path) -> None:
    tables = _peers_and_slaves()
    run = made.write(tmp_path / "run.mnttrace", tables)
    chart = run.plot.graph(seq=7)
    way = {edge for edge in _edges(chart) if edge[0] == "copies propagated by operation 7"}
    assert {edge[1:] for edge in way} == {
        (("web", "/volume"), ("host", "/data")),
        (("web", "/volume/new"), ("host", "/data/new")),
    }
    ringed = {row["path"] for row in mounts_in(chart) if row["stands_out"]}
    assert ringed == {"/volume", "/data", "/volume/new", "/data/new"}
    assert "after operation 7" in subtitle(chart)
    # What it unmounted again is shown as it was before.
    chart = run.plot.graph(seq=8)
    assert "before operation 8" in subtitle(chart)
    assert ("host", "/data/new") in {(row["namespace"], row["path"]) for row in mounts_in(chart)}
    with pytest.raises(BadInput) as caught:
        run.plot.graph(seq=9)
    assert caught.value.hint == "operations with propagation: 7, 8"


def _peers_and_slaves() -> made.Rows:
    below = {"parent_unique": 21, "parent_path": "/volume", "shared": 3}
    copied = {"via": "peer", "via_group": 2, "copy_of_unique": 50, "via_unique": 21}
    copied |= {"parent_unique": 11, "parent_path": "/data", "shared": 3}
    new, copy = {"mountpoint": "/volume/new"}, {"mountpoint": "/data/new"}
    return {
        "namespaces": NAMES,
        "snapshots": [snapshot(1, HOST), snapshot(2, WEB), snapshot(3, DB)],
        "mounts": [
            mount(1, HOST, 10, "/", shared=1),
            mount(1, HOST, 11, "/data", shared=2, parent_id=10),
            mount(1, HOST, 12, "/alone", shared=9, parent_id=10),
            mount(1, HOST, 13, "/gone", shared=2, parent_id=10),
            mount(2, WEB, 20, "/", shared=4, master=1),
            mount(2, WEB, 21, "/volume", shared=2, parent_id=20),
            mount(3, DB, 30, "/", master=4),
        ],
        "operations": [
            operation(7, WEB, 7 * MS),
            operation(8, WEB, 8 * MS, "umount2"),
            operation(9, HOST, 9 * MS),
        ],
        "effects": [
            effect(None, HOST, 6 * MS, 13, action="detach", shared=2),
            effect(7, WEB, 7 * MS, 50, **below, **new),
            effect(7, HOST, 7 * MS, 51, **copied, **copy),
            effect(8, WEB, 8 * MS, 50, action="detach", **below, **new),
            effect(8, HOST, 8 * MS, 51, action="detach", **copied, **copy),
        ],
    }


def _edges(chart: object) -> set[tuple[str, tuple[str, str], tuple[str, str]]]:
    """Lines with the mounts that they begin at, and are nearest to at their end."""
    nodes = mounts_in(chart)
    lines = rows_with(chart, "turn")

    def nearest(x: float, y: float) -> tuple[str, str]:
        node = min(nodes, key=lambda row: (row["x"] - x) ** 2 + (row["y"] - y) ** 2)
        assert (node["x"] - x) ** 2 + (node["y"] - y) ** 2 < 100
        return node["namespace"], node["path"]

    return {
        (row["kind"], nearest(row["x"], row["y"]), nearest(row["x2"], row["y2"])) for row in lines
    }


def test_a_slave_is_drawn_from_the_nearest_of_its_masters(tmp_path: Path) -> None:
    tables = {
        "namespaces": NAMES,
        "snapshots": [snapshot(1, HOST), snapshot(2, WEB), snapshot(3, DB)],
        "mounts": [
            mount(1, HOST, 10, "/", shared=1),
            mount(2, WEB, 20, "/", shared=1),
            mount(3, DB, 30, "/", master=1),
        ],
    }
    assert _edges(made.write(tmp_path / "run.mnttrace", tables).plot.graph()) == {
        ("peers", ("host", "/"), ("web", "/")),
        ("master to slave", ("web", "/"), ("db", "/")),
    }


def test_a_number_that_is_used_again_joins_nothing(tmp_path: Path) -> None:
    """A namespace is gone, unseen as yet, and another file system's mounts have its group."""
    old, new = {"shared": 1, "device": "0:40"}, {"shared": 1, "device": "0:41"}
    tables = {
        "namespaces": NAMES,
        "snapshots": [snapshot(1, HOST), snapshot(2, WEB), snapshot(3, DB)],
        "mounts": [
            mount(1, HOST, 10, "/new", **new),
            mount(2, WEB, 20, "/old", **old),
            mount(3, DB, 30, "/new", **new),
            mount(3, DB, 31, "/slave", master=1, device="0:40"),
        ],
    }
    assert _edges(made.write(tmp_path / "run.mnttrace", tables).plot.graph()) == {
        ("peers", ("host", "/new"), ("db", "/new")),
        ("master to slave", ("web", "/old"), ("db", "/slave")),
    }


def test_the_groups_that_carried_come_first(tmp_path: Path) -> None:
    """Ids as high as those that are given where the kernel has none do not fall together."""
    high, groups = 2**62, range(1, 80)
    tables = {
        "namespaces": NAMES,
        "snapshots": [snapshot(1, HOST), snapshot(2, WEB)],
        "mounts": [
            mount(at, ns_id, high + 100 * at + group, f"/{group}", shared=group, mount_id=group)
            for group in groups
            for at, ns_id in ((1, HOST), (2, WEB))
        ],
        "operations": [operation(1, WEB, MS)],
        "effects": [effect(1, HOST, MS, 5, via="peer", via_group=60)],
    }
    chart = made.write(tmp_path / "run.mnttrace", tables).plot.graph()
    drawn = [(row["namespace"], row["path"], row["y"]) for row in mounts_in(chart)]
    assert len(drawn) == 2 * 30
    assert {row[:2] for row in drawn if row[2] == min(row[2] for row in drawn)} == {
        ("host", "/60"),
        ("web", "/60"),
    }


def test_namespaces_that_are_alike_share_a_column(tmp_path: Path) -> None:
    ids = range(FIRST, FIRST + 50)
    tables = {
        "namespaces": [NAMES[0], *(namespace(ns_id, f"web-{ns_id}") for ns_id in ids)],
        "snapshots": [snapshot(1, HOST), *(snapshot(ns_id, ns_id) for ns_id in ids)],
        "mounts": [mount(1, HOST, 10, "/", shared=1)],
    }
    tables["mounts"] += [mount(ns_id, ns_id, ns_id, "/", master=1) for ns_id in ids]
    chart = made.write(tmp_path / "run.mnttrace", tables).plot.graph()
    heads = [row["label"] for row in layers(chart)[1]]
    assert heads == ["host", "web-2000", "web-2001 + 48 alike"]
    assert len(_edges(chart)) == 2
