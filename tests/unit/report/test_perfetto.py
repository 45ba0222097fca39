# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace export --format perfetto`, read back as Perfetto reads it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.report.traces import Export, arrows_lead_to_propagations, everything_is_there


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
