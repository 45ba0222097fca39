# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording as a trace for ui.perfetto.dev and Perfetto's trace processor.

The format of traces: https://perfetto.dev/docs/reference/synthetic-track-event
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import pandas as pd

from mnttrace.analysis.dataframes import rows
from mnttrace.analysis.names import labels
from mnttrace.errors import MissingPrerequisite

try:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
        BUILTIN_CLOCK_MONOTONIC,
        BUILTIN_CLOCK_REALTIME,
        TracePacket,
        TrackDescriptor,
        TrackEvent,
    )
    from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder
except ImportError as error:
    raise MissingPrerequisite(
        f"Perfetto's schema is missing: {error}", "pip install 'mnttrace[perfetto]'"
    ) from error

if TYPE_CHECKING:
    from mnttrace.analysis.recording import Recording

Row = dict[str, Any]
_SEQUENCE = 1  # there is one writer of packets
_BATCH = 20_000  # rows that are Python objects at a time
_WHOLE_TABLES = ["namespace-copy", "namespace-death"]
_CALL_NOTES = ["seq", "pid", "tid", "comm", "result", "error", "source_path", "path", "fstype"]
_CALL_NOTES += ["flags", "propagation", "attributes", "data"]
_EFFECT_NOTES = ["seq", "mounts", "mountpoint", "mount_id", "mnt_id_unique", "fstype", "source"]
_EFFECT_NOTES += ["shared", "master", "before", "after", "copy_of_path", "via_group"]
_EFFECT_NOTES += ["via_path", "evidence", "pid", "tid"]


def write(run: Recording, file: BinaryIO) -> None:
    """Write a trace: a track a mount namespace, a slice an operation, arrows to its effects.

    An operation is a slice on the track of its namespace. One that overlaps others in time is on a
    track of its thread below that, since slices of one track have to nest. Instants are the effects
    in other namespaces or by propagation, each with a flow from its operation, and the effects
    without an operation. The copies at a namespace's birth are one instant, with their number, and
    so are the mounts that went at its end. Times are CLOCK_MONOTONIC, ns.

    Args:
        run: the recording.
        file: the file to write, packet by packet.

    Raises:
        RecordingError: a table cannot be read.
    """
    trace = _Trace(file)
    trace.clocks(run.meta)
    operations, instants = _operations(run), _instants(run)
    trace.namespaces(run, operations, instants)
    # A flow cannot fork, so each arrow is a flow, numbered in the order of `instants`.
    causes = instants["seq"].dropna().to_numpy("uint64")
    seq = operations["seq"].to_numpy("uint64")
    first, end = (causes.searchsorted(seq, side) for side in ("left", "right"))
    for row in _rows(operations.assign(first_flow=first + 1, end_of_flows=end + 1)):
        trace.slice(row)
    # After the slices: of two events at one time the flow begins at the one written first.
    for flow, row in enumerate(_rows(instants), 1):
        trace.instant(row, flow)


def _operations(run: Recording) -> pd.DataFrame:
    """The operations in the order in which they began, with `overlaps`."""
    columns = ["monotonic", "latency", "syscall", "ns", "ns_id", *_CALL_NOTES]
    found = run.operations[columns].sort_values(["monotonic", "seq"], kind="stable")
    end = found["monotonic"] + found["latency"].fillna(0)
    so_far = end.groupby(found["ns_id"]).cummax()
    before = so_far.groupby(found["ns_id"]).shift(fill_value=0)
    # A run is a chain of operations each of which overlaps an earlier one.
    runs = (found["monotonic"] >= before).groupby(found["ns_id"]).cumsum()
    overlaps = runs.groupby([found["ns_id"], runs]).transform("size") > 1
    return found.assign(overlaps=overlaps)


def _instants(run: Recording) -> pd.DataFrame:
    """The effects that are shown as instants, sorted by operation; those without one last."""
    effects, operations = run.effects, run.operations.set_index("seq")
    home = effects["seq"].map(operations["ns_id"])
    propagated = effects["via"].isin(["peer", "slave"])
    shown = effects[propagated | home.isna() | (effects["ns_id"] != home).fillna(True)]
    shown = shown.assign(seq=shown["seq"].where(home[shown.index].notna()))
    keys = ["seq", "monotonic", "pid", "tid", "ns", "ns_id", "action", "via", "evidence"]
    is_whole = shown["via"].isin(_WHOLE_TABLES)
    groups = shown[is_whole].groupby(keys, dropna=False, observed=True, sort=False)
    whole = groups.size().astype("UInt64").reset_index(name="mounts")
    columns = [*keys, *(name for name in _EFFECT_NOTES if name in shown and name not in keys)]
    found = pd.concat([shown.loc[~is_whole, columns], whole], ignore_index=True)
    return found.sort_values(["seq", "monotonic"], kind="stable")


def _rows(frame: pd.DataFrame) -> Iterator[Row]:
    for start in range(0, len(frame), _BATCH):
        yield from rows(frame.iloc[start : start + _BATCH])


class _Trace:
    """Writes packets.

    Args:
        file: the file to write.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._builder = StreamingTraceProtoBuilder(file)
        self._tracks: dict[int, int] = {}  # namespace → uuid
        self._threads: dict[tuple[int, int], int] = {}  # namespace, thread → uuid

    def clocks(self, meta: dict[str, Any]) -> None:
        """Write that times are CLOCK_MONOTONIC, and the wall time."""
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.sequence_flags = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        snapshot = packet.clock_snapshot
        snapshot.primary_trace_clock = BUILTIN_CLOCK_MONOTONIC
        offset, wall = meta.get("wall_offset", 0), meta.get("started", 0)
        snapshot.clocks.add(clock_id=BUILTIN_CLOCK_MONOTONIC, timestamp=wall - offset)
        snapshot.clocks.add(clock_id=BUILTIN_CLOCK_REALTIME, timestamp=wall)
        self._builder.write_packet(packet)

    def namespaces(self, run: Recording, *events: pd.DataFrame) -> None:
        """Write the track of every namespace that is known or has events."""
        name = labels(run)
        seen = [frame[["ns_id", "ns"]] for frame in (run.namespaces, *events)]
        for row in rows(pd.concat(seen).drop_duplicates("ns_id")):
            inode = f"mnt:[{row['ns']}]"
            self._tracks[row["ns_id"]] = self._track(
                name=name.get(row["ns_id"], inode),
                description=f"mount namespace {inode}",
                # Namespaces with one name have tracks of their own.
                sibling_merge_behavior=TrackDescriptor.SIBLING_MERGE_BEHAVIOR_NONE,
                child_ordering=TrackDescriptor.CHRONOLOGICAL,
            )

    def slice(self, row: Row) -> None:
        """Write an operation, with the beginnings of its flows."""
        track = self._thread(row) if row["overlaps"] else self._tracks[row["ns_id"]]
        begin = self._event(TrackEvent.TYPE_SLICE_BEGIN, row["monotonic"], track)
        begin.track_event.name = row["syscall"]
        begin.track_event.flow_ids.extend(range(row["first_flow"], row["end_of_flows"]))
        _annotate(begin.track_event, row, _CALL_NOTES)
        self._builder.write_packet(begin)
        end = row["monotonic"] + (row["latency"] or 0)
        self._builder.write_packet(self._event(TrackEvent.TYPE_SLICE_END, end, track))

    def instant(self, row: Row, flow: int) -> None:
        """Write an effect in its namespace, with the end of the flow from its operation."""
        track = self._tracks[row["ns_id"]]
        packet = self._event(TrackEvent.TYPE_INSTANT, row["monotonic"], track)
        event = packet.track_event
        event.name = f"{row['action']} ({row['via'] or 'cause not known'})"
        if row["seq"] is not None:
            event.terminating_flow_ids.append(flow)
        _annotate(event, row, _EFFECT_NOTES)
        self._builder.write_packet(packet)

    def _thread(self, row: Row) -> int:
        key = row["ns_id"], row["tid"]
        if key not in self._threads:
            name = f"{row['comm']}[{row['tid']}]"
            self._threads[key] = self._track(name=name, parent_uuid=self._tracks[row["ns_id"]])
        return self._threads[key]

    def _track(self, **fields: Any) -> int:
        packet = self._builder.create_packet()
        uuid = len(self._tracks) + len(self._threads) + 1
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.track_descriptor.CopyFrom(TrackDescriptor(uuid=uuid, **fields))
        self._builder.write_packet(packet)
        return uuid

    def _event(self, kind: int, monotonic: int, track: int) -> TracePacket:
        packet = self._builder.create_packet()
        packet.timestamp = monotonic
        packet.timestamp_clock_id = BUILTIN_CLOCK_MONOTONIC
        packet.trusted_packet_sequence_id = _SEQUENCE
        packet.track_event.type = kind
        packet.track_event.track_uuid = track
        return packet


def _annotate(event: TrackEvent, row: Row, names: Iterable[str]) -> None:
    for name in names:
        value = row[name]
        if value is None or value == "":
            continue
        note = event.debug_annotations.add()
        note.name = name
        if isinstance(value, str):
            note.string_value = value
        elif value < 0:
            note.int_value = value
        else:
            note.uint_value = value
