# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""`mnttrace export --format perfetto` of a real recording."""

from __future__ import annotations

from pathlib import Path

from mnttrace.analysis.names import labels
from mnttrace.analysis.recording import Recording
from tests.unit.report.traces import (
    arrows_lead_to_propagations,
    everything_is_there,
    exported,
)


def test_a_real_recording(recorded: Recording, mnttrace, tmp_path: Path) -> None:
    trace = exported(mnttrace, tmp_path)
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
