# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Puts a raw log through the core again: the same rows, wherever that is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from mnttrace.capture.join.events import LossesCounted
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.outbox import Output
from mnttrace.capture.join.row_writer import Counts
from mnttrace.capture.stream.raw_log import RawLog
from mnttrace.errors import BadInput, RecordingError
from mnttrace.recording.writer import Writer

_BITS = 62  # of a time, ns


def rejoin(source: Path, directory: Path, force: bool = False) -> Counts:
    """Make a recording of a raw log.

    Args:
        source: a recording that has a raw log, or the log itself.
        directory: the recording to make.
        force: replace one that exists.

    Returns:
        How much was written.

    Raises:
        RecordingError: there is no raw log, or it is cut or damaged: the recording has what could
            be read.
        OutputError: the recording exists, or cannot be written.
    """
    log = RawLog(source)
    _check_apart(log.path, directory)
    log.check_meta()
    writer = Writer(directory, force)
    writer.meta = log.header.meta | writer.meta | {"complete": False}
    join = Join(log.header.setting, log.header.wanted)
    stopped: int | None = None
    problem: RecordingError | None = None
    try:
        stopped = _put_through(log, join, writer)
    except RecordingError as error:
        problem = error
        with suppress(RecordingError):
            _write(join.finish(), writer, log)
        writer.drop_what_does_not_fit()
    _end(writer, join.losses, stopped)
    if problem:
        raise problem
    if stopped is None:
        raise RecordingError(
            f"{log.path} has no end: the recorder did not come to it", "all that it has was used"
        )
    return join.counts


def _check_apart(log: Path, directory: Path) -> None:
    """Raises BadInput if a log lies in the recording that is to be replaced, by whatever path."""
    folders = {*log.absolute().parents, *log.resolve().parents}
    if directory.exists() and any(folder.samefile(directory) for folder in folders):
        raise BadInput(f"{directory} has the raw log itself", "give another output")


def _put_through(log: RawLog, join: Join, writer: Writer) -> int | None:
    """Write all that the core makes of a log; when the recording ended (CLOCK_REALTIME, ns), None
    if the log does not come to that."""
    stopped = None
    for event in log.events():
        _write(join.take(event), writer, log)
        if isinstance(event, LossesCounted):
            stopped = event.at + log.header.setting.wall_offset
    _write(join.finish(), writer, log)
    with _checked(log):
        if (stopped or 0).bit_length() > _BITS:
            raise OverflowError("the end is at no time")
        writer.flush()
    return stopped


def _end(writer: Writer, losses: dict[str, int], stopped: int | None) -> None:
    """End a recording, or leave it as one whose end is missing."""
    if stopped is not None:
        writer.meta |= {"losses": losses, "stopped": stopped}
        writer.close()
        return
    writer.add("losses", {"kind": "cut_raw_log", "count": 1})
    writer.meta |= {"losses": {"cut_raw_log": 1}, "stopped": None}
    writer.leave()


def _write(output: Output, writer: Writer, log: RawLog) -> None:
    with _checked(log):
        for table, row in output.rows:
            writer.add(table, row)


@contextmanager
def _checked(log: RawLog) -> Iterator[None]:
    """Turn errors from writing numbers that no column can have into RecordingError."""
    try:
        yield
    except (OverflowError, ValueError, pa.ArrowException) as error:
        raise RecordingError(f"{log.path} has numbers that none can be: {error}") from error
