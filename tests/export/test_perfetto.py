"""`mnttrace export --format perfetto`, read back as Perfetto reads it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pftrace import MONOTONIC, REALTIME, Event, Trace

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.names import labels
from mnttrace.analysis.recording import Recording

Export = Callable[[], Trace]


@pytest.fixture
def export(mnttrace, tmp_path: Path) -> Export:
    def run() -> Trace:
        done = mnttrace("export", "run.mnttrace", "--format", "perfetto", "-o", "run.pftrace")
        assert done.returncode == 0, done.stderr
        return Trace(tmp_path / "run.pftrace")

    return run


def everything_is_there(run: Recording, trace: Trace) -> None:
    """Each operation and effect of a recording, where and when it was."""
    operations = {row["seq"]: row for row in rows(run.operations)}
    slices = {event.notes["seq"]: event for event in trace.slices}
    assert len(slices) == len(trace.slices)
    assert {
        seq: (event.name, event.begin, event.end - event.begin, trace.namespace(event))
        for seq, event in slices.items()
    } == {
        seq: (row["syscall"], row["monotonic"], row["latency"], place(row))
        for seq, row in operations.items()
    }
    for seq, event in slices.items():
        for name in ("pid", "comm", "result", "error", "flags", "path", "source_path"):
            assert event.notes.get(name, "") == (operations[seq][name] or event.notes.get(name, ""))
    # A slice of one operation is not within that of another.
    assert {event.depth for event in trace.slices} <= {0}
    told = {
        event.notes["seq"]: trace.clocks[REALTIME] - trace.clocks[MONOTONIC] + event.begin
        for event in trace.slices
    }
    assert told == {seq: row["ts"].value for seq, row in operations.items()}

    everywhere = [
        row
        for row in rows(run.effects)
        if row["seq"] is None
        or row["ns_id"] != operations[row["seq"]]["ns_id"]
        or row["via"] in ("peer", "slave")
    ]
    assert count_of(everywhere) == count_of_instants(trace)


def count_of(effects: list[dict]) -> dict[tuple, int]:
    found: dict[tuple, int] = {}
    for row in effects:
        name = f"{row['action']} ({row['via'] or 'cause not known'})"
        key = (name, row["monotonic"], place(row), row["seq"])
        found[key] = found.get(key, 0) + 1
    return found


def count_of_instants(trace: Trace) -> dict[tuple, int]:
    found: dict[tuple, int] = {}
    for event in trace.instants:
        key = (event.name, event.begin, trace.namespace(event), event.notes.get("seq"))
        found[key] = found.get(key, 0) + event.notes.get("mounts", 1)
    return found


def place(row: dict) -> str:
    return f"mount namespace mnt:[{row['ns']}]"


def arrows_lead_to_propagations(run: Recording, trace: Trace) -> None:
    """Each flow has a slice and an instant, in this order, and each propagation has a flow."""
    ends: dict[tuple, tuple[Event, Event]] = {}
    for source, *others in trace.flows.values():
        (target,) = others
        assert source in trace.slices
        assert target in trace.instants
        assert source.begin <= target.begin
        assert source.notes["seq"] == target.notes["seq"]
        action = target.name.split()[0]
        ends[source.notes["seq"], action, target.notes.get("mnt_id_unique")] = source, target
    for row in rows(run.propagations):
        source, target = ends[row["seq"], row["action"], row["mnt_id_unique"]]
        assert trace.namespace(source) == f"mount namespace mnt:[{row['src_ns']}]"
        assert trace.namespace(target) == f"mount namespace mnt:[{row['dst_ns']}]"
        assert target.notes["mountpoint"] == row["mountpoint"]
    assert len([event for event in trace.instants if "seq" in event.notes]) == len(trace.flows)


@pytest.mark.kernel
def test_a_real_recording(recorded: Recording, export: Export, tmp_path: Path) -> None:
    trace = export()
    everything_is_there(recorded, trace)
    arrows_lead_to_propagations(recorded, trace)
    by_cause = {event.name for event in trace.instants}
    assert {
        *("attach (peer)", "attach (slave)", "attach (namespace-copy)", "detach (namespace-death)"),
        "detach (mountpoint-removed)",
    } <= by_cause
    leaked = [event for event in trace.instants if event.notes.get("source") == "leaked"]
    # In the namespace itself at copy/x, in that of this test and its slave at both places.
    assert sorted(event.notes["mountpoint"] for event in leaked) == sorted(
        [f"{tmp_path}/pool/x"] * 2 + [f"{tmp_path}/copy/x"] * 3
    )
    names = {track.name for track in trace.tracks.values() if not track.parent_uuid}
    assert names == set(labels(recorded))
    odd = [event for event in trace.slices if event.notes.get("source_path") == "odd"]
    assert [event.notes["path"] for event in odd] == [f'{tmp_path}/pool/<script>"\n\\xff']


def operation(seq: int, monotonic: int, latency: int, tid: int, ns: int = 1) -> dict:
    return {
        **{"seq": seq, "monotonic": monotonic, "ts": 10**18 + monotonic, "latency": latency},
        **{"syscall": "mount", "result": 0, "error": "", "pid": tid, "tid": tid, "comm": "a b"},
        **{"ns": ns, "ns_id": ns, "path": f"/{seq}"},
    }


def effect(
    seq: int | None, monotonic: int, ns: int, via: str, unique: int, action="attach"
) -> dict:
    return {
        **{"seq": seq, "monotonic": monotonic, "ts": 10**18 + monotonic, "ns": ns, "ns_id": ns},
        **{"action": action, "via": via, "mnt_id_unique": unique, "mountpoint": f"/m{unique}"},
        **{"evidence": "kernel"},
    }


NAMESPACES = [{"ns": ns, "ns_id": ns, "kind": "process", "name": "same"} for ns in (1, 2, 3)]


def test_operations_that_overlap_are_on_tracks_of_their_threads(write, export: Export) -> None:
    late = 400 * 86_400 * 10**9  # so long after boot that floats of 64 bits would round
    run = write(
        namespaces=NAMESPACES,
        operations=[
            operation(5, late + 1, 9, 11),  # 1 to 10
            operation(1, late + 2, 3, 12),  # within it
            operation(4, late + 4, 9, 13),  # over its end
            operation(2, late + 12, 0, 12),  # 1 ns before that ends
            operation(3, late + 13, 5, 11),  # right after it
            operation(6, late + 2, 3, 14, ns=2),  # as the second one, elsewhere
            operation(7, late + 18, 0, 12),
            operation(8, late + 18, 0, 13),
        ],
    )
    trace = export()
    everything_is_there(run, trace)
    below = {event.notes["seq"]: trace.tracks[event.track].name for event in trace.slices}
    assert below == {
        **{5: "a b[11]", 1: "a b[12]", 4: "a b[13]", 2: "a b[12]"},
        **dict.fromkeys((3, 7, 8), "host"),
        6: "same (mnt:[2])",
    }


def test_flows_of_one_moment_go_from_the_operation(write, export: Export) -> None:
    run = write(
        namespaces=NAMESPACES,
        operations=[operation(1, 100, 5, 11), operation(2, 100, 5, 12, ns=2)],
        effects=[
            effect(2, 100, 2, "direct", 20),
            effect(2, 100, 1, "peer", 21),
            effect(2, 100, 3, "slave", 22),
            effect(1, 100, 1, "direct", 10),
            effect(1, 100, 1, "peer", 11),  # at another place of the same namespace
            effect(1, 100, 2, "peer", 11, action="detach"),
            effect(None, 90, 3, "mountpoint-removed", 30, action="detach"),
            effect(None, 90, 4, "", 31),
        ],
    )
    trace = export()
    everything_is_there(run, trace)
    arrows_lead_to_propagations(run, trace)
    assert len(trace.flows) == 4
    assert "mount namespace mnt:[4]" in {trace.namespace(event) for event in trace.instants}


def test_births_and_deaths_are_one_instant_each(write, export: Export) -> None:
    unshare = operation(1, 100, 5, 11) | {"syscall": "unshare"}
    run = write(
        namespaces=NAMESPACES,
        operations=[unshare],
        effects=[
            *(effect(1, 100, 2, "namespace-copy", n) for n in range(50)),
            *(effect(None, 200, 2, "namespace-death", n, action="detach") for n in range(50)),
        ],
    )
    trace = export()
    everything_is_there(run, trace)
    assert [(e.name, e.notes["mounts"], len(e.flows)) for e in trace.instants] == [
        ("attach (namespace-copy)", 50, 1),
        ("detach (namespace-death)", 50, 0),
    ]


def test_an_effect_of_an_operation_that_was_lost(write, export: Export) -> None:
    write(namespaces=NAMESPACES, effects=[effect(9, 100, 2, "peer", 1)])
    trace = export()
    (event,) = trace.instants
    assert not event.flows


def test_tables_alone_are_tracks(write, export: Export) -> None:
    write(namespaces=NAMESPACES)
    trace = export()
    assert [track.name for track in trace.tracks.values()] == [
        "host",
        "same (mnt:[2])",
        "same (mnt:[3])",
    ]


def test_text_of_strangers_is_utf_8(write, export: Export) -> None:
    odd = {"path": 'a\udcff\n"\x00', "comm": "\udc80"}
    write(namespaces=NAMESPACES, operations=[operation(1, 100, 5, 11) | odd])
    (event,) = export().slices
    assert (event.notes["path"], event.notes["comm"]) == ('a\\xff\n"\x00', "\\x80")


def test_packets_are_written_one_by_one(write, tmp_path: Path) -> None:
    from mnttrace.report.perfetto import write as write_trace

    sizes = []

    class File:
        def write(self, data: bytes) -> None:
            sizes.append(len(data))

    run = write(
        namespaces=NAMESPACES, operations=[operation(n, 10 * n, 5, 1) for n in range(1, 50_000)]
    )
    write_trace(run, File())  # type: ignore[arg-type]
    assert max(sizes) < 1000
    assert len(sizes) == 1 + 3 + 2 * 49_999


def test_without_the_schema(write, mnttrace, tmp_path: Path) -> None:
    write()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "perfetto.py").write_text("raise ImportError('hidden')")
    path = f"{tmp_path / 'hidden'}:{':'.join(sys.path)}"
    done = mnttrace(
        *("export", "run.mnttrace", "--format", "perfetto", "-o", "x.pftrace"), PYTHONPATH=path
    )
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("mnttrace: ")
    assert "pip install 'mnttrace[perfetto]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.pftrace").exists()


def test_an_output_that_cannot_be_written(write, mnttrace) -> None:
    write()
    done = mnttrace("export", "run.mnttrace", "--format", "perfetto", "-o", "none/x.pftrace")
    assert done.returncode == 6
    assert "none/x.pftrace: No such file" in done.stderr


def test_a_trace_is_not_of_one_table(write, mnttrace) -> None:
    write()
    done = mnttrace("export", "run.mnttrace", "--format", "perfetto", "--table", "mounts")
    assert done.returncode == 2
    assert "not made of one table" in done.stderr
