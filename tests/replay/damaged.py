# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Raw logs that are forged, and a check of what `mnttrace rejoin` makes of one."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from mnttrace.capture.join.events import AnyEvent
from mnttrace.capture.rejoin import rejoin
from mnttrace.capture.stream.raw_log import _SCHEMA, RawLog
from mnttrace.commands.info import _lines
from mnttrace.errors import RecordingError
from mnttrace.recording.reader import count_rows, read_columns, read_meta
from mnttrace.recording.schema import COLUMNS
from tests.rejoined import joined_events
from tests.replay.logs import FOLDER, load

NAME = "6.1-kernel-hooks/calls"
WHOLE = (FOLDER / f"{NAME}.arrows").read_bytes()


@cache
def header() -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(
        pa.ipc.open_stream(WHOLE).schema.metadata[b"mnttrace"]
    )
    return found


def written(
    bodies: list[bytes | None], compression: str | None = "zstd", metadata: Any = None
) -> bytes:
    """A raw log with these events, in two batches."""
    about = msgspec.json.encode(header() if metadata is None else metadata)
    kind = _SCHEMA.with_metadata({b"mnttrace": about})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, kind, options=options) as stream:
        for some in (bodies[: len(bodies) // 2], bodies[len(bodies) // 2 :]):
            texts = pa.array(some, pa.binary()).view(pa.string())
            stream.write_batch(pa.record_batch([texts], schema=kind))
    return bytes(sink.getvalue())


@cache
def plain() -> bytes:
    """The log, not compressed, so that each byte that is changed changes what is read."""
    return written(list(load(NAME).bodies), None)


def give(log: bytes) -> str:
    """Rejoin it, and check what comes of that; what is said, "" if nothing is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "raw.arrows"), Path(folder, "out.mnttrace")
        path.write_bytes(log)
        error = None
        try:
            rejoin(path, out)
        except RecordingError as one:
            error = one
        said = f"{error.message} {error.hint}" if error else ""
        assert said.isprintable()
        if out.exists():
            check_recording(out, path, said)
        else:
            assert said
        return said


def check_recording(out: Path, log: Path, said: str) -> None:
    meta = read_meta(out)
    assert meta.get("complete", False) == (not said)
    rows = count_rows(out)
    assert _lines(meta)
    assert bool(said) == ("cut_raw_log" in meta["losses"])
    for table in COLUMNS:
        assert all(len(column) == rows[table] for _, column in read_columns(out, table))
    if "numbers that none can be" not in said:
        wanted = [row for table, row in given_rows(log) if table == "operations"]
        assert rows["operations"] == len(wanted)


def given_rows(path: Path) -> list[tuple[str, Any]]:
    """What the events before the damage give."""
    log = RawLog(path)
    before: list[AnyEvent] = []
    with suppress(RecordingError):  # the damage begins here
        for event in log.events():
            before.append(event)
    return joined_events(log, before)
