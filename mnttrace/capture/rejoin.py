# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Puts a raw log through the core again: the same rows, wherever that is done."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from mnttrace.capture.join.events import LossesCounted
from mnttrace.capture.join.join import Join
from mnttrace.capture.join.outbox import Output
from mnttrace.capture.join.row_writer import Counts
from mnttrace.capture.stream.raw_log import RawLog
from mnttrace.errors import BadInput, RecordingError
from mnttrace.recording.writer import Writer


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
    writer = Writer(directory, force)
    writer.meta |= log.header.meta

    def write(output: Output) -> None:
        try:
            for table, row in output.rows:
                writer.add(table, row)
        except (OverflowError, ValueError, pa.ArrowException) as error:
            raise RecordingError(f"{log.path} has numbers that none can be: {error}") from error

    join = Join(log.header.setting, log.header.wanted)
    problem: RecordingError | None = None
    has_end, stopped = False, None
    try:
        for event in log.events():
            write(join.take(event))
            if isinstance(event, LossesCounted):
                has_end, stopped = True, event.at + log.header.setting.wall_offset
    except RecordingError as error:
        problem = error
    write(join.finish())
    losses = join.losses
    if not has_end:
        losses = {"cut_raw_log": 1}
        writer.add("losses", {"kind": "cut_raw_log", "count": 1})
    writer.meta |= {"losses": losses, "stopped": stopped}
    if has_end:
        writer.close()
    else:
        writer.flush()  # as a recorder leaves it that was killed
    if problem:
        raise problem
    if not has_end:
        raise RecordingError(
            f"{log.path} has no end: the recorder did not come to it", "all that it has was used"
        )
    return join.counts
