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
    if directory.exists() and log.path.parent.samefile(directory):
        raise BadInput(f"{directory} has the raw log itself", "give another output")
    log.check_meta()
    writer = Writer(directory, force)
    writer.meta = log.header.meta | writer.meta | {"complete": False}
    join = Join(log.header.setting, log.header.wanted)
    problem: RecordingError | None = None
    has_end, stopped = False, None
    try:
        for event in log.events():
            _write(join.take(event), writer, log)
            if isinstance(event, LossesCounted):
                has_end, stopped = True, event.at + log.header.setting.wall_offset
        _write(join.finish(), writer, log)
        with _checked(log):
            if (stopped or 0).bit_length() > _BITS:
                raise OverflowError("the end is at no time")
            writer.flush()
    except RecordingError as error:
        problem = error
        has_end, stopped = False, None
        with suppress(RecordingError):
            _write(join.finish(), writer, log)
        writer.drop_what_does_not_fit()
    losses = join.losses
    if not has_end:
        losses = {"cut_raw_log": 1}
        writer.add("losses", {"kind": "cut_raw_log", "count": 1})
    writer.meta |= {"losses": losses, "stopped": stopped}
    if has_end:
        writer.close()
    else:
        writer.leave()
    if problem:
        raise problem
    if not has_end:
        raise RecordingError(
            f"{log.path} has no end: the recorder did not come to it", "all that it has was used"
        )
    return join.counts


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
