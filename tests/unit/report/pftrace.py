# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A trace as Perfetto's trace processor reads it, from the file alone.

Events are taken in the order of their times, those of one time as they are in the file
(src/trace_processor/sorter); the end of a slice closes the innermost one of its track; a flow goes
from the first event that names it to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace as Proto
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

MONOTONIC, REALTIME = 3, 1  # clock_snapshot.proto


@dataclass
class Event:
    """A slice or an instant, of which `end` is its time."""

    begin: int
    track: int
    name: str
    notes: dict[str, Any]
    flows: list[int]
    end: int = -1
    depth: int = 0


@dataclass
class Trace:
    """What is in the file."""

    path: Path
    tracks: dict[int, Any] = field(default_factory=dict)
    slices: list[Event] = field(default_factory=list)
    instants: list[Event] = field(default_factory=list)
    flows: dict[int, list[Event]] = field(default_factory=dict)
    clocks: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        packets = Proto.FromString(self.path.read_bytes()).packet
        assert {packet.trusted_packet_sequence_id for packet in packets} == {1}
        for packet in packets:
            if packet.HasField("track_descriptor"):
                track = packet.track_descriptor
                assert track.uuid not in self.tracks
                assert track.uuid != 0
                assert not track.parent_uuid or track.parent_uuid in self.tracks
                self.tracks[track.uuid] = track
            elif packet.HasField("clock_snapshot"):
                assert packet.clock_snapshot.primary_trace_clock == MONOTONIC
                self.clocks = {c.clock_id: c.timestamp for c in packet.clock_snapshot.clocks}
            else:
                assert packet.track_event.track_uuid in self.tracks
                assert packet.timestamp_clock_id == MONOTONIC
        events = [packet for packet in packets if packet.HasField("track_event")]
        stacks: dict[int, list[Event]] = {uuid: [] for uuid in self.tracks}
        for packet in sorted(events, key=lambda packet: packet.timestamp):
            stack = stacks[packet.track_event.track_uuid]
            if packet.track_event.type == TrackEvent.TYPE_SLICE_END:
                stack.pop().end = packet.timestamp
                continue
            event = self._event(packet)
            event.depth = len(stack)
            if packet.track_event.type == TrackEvent.TYPE_SLICE_BEGIN:
                self.slices.append(event)
                stack.append(event)
            else:
                assert packet.track_event.type == TrackEvent.TYPE_INSTANT
                event.end = event.begin
                self.instants.append(event)
        assert not any(stacks.values()), "a slice without an end"

    def _event(self, packet: Any) -> Event:
        said = packet.track_event
        notes = {
            note.name: getattr(note, note.WhichOneof("value")) for note in said.debug_annotations
        }
        flows = [*said.flow_ids, *said.terminating_flow_ids]
        event = Event(packet.timestamp, said.track_uuid, said.name, notes, flows)
        for flow in flows:
            self.flows.setdefault(flow, []).append(event)
        return event

    def namespace(self, event: Event) -> str:
        """The description of the namespace that an event is on the track of, or below."""
        track = self.tracks[event.track]
        return str(self.tracks[track.parent_uuid or track.uuid].description)
