# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Traces of recordings, and what has to be in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.recording import Recording
from tests.unit.report.pftrace import MONOTONIC, REALTIME, Event, Trace

Export = Callable[[], Trace]


def exported(mnttrace: Callable[..., CompletedProcess[str]], folder: Path) -> Trace:
    """The trace of run.mnttrace in a folder, as the command writes it."""
    done = mnttrace("export", "run.mnttrace", "--format", "perfetto", "-o", "run.pftrace")
    assert done.returncode == 0, done.stderr
    return Trace(folder / "run.pftrace")


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
