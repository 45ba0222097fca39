# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Moments of a recording: as a time, or as seconds since it began."""

from __future__ import annotations

import re
from datetime import datetime

import pandas as pd

from mnttrace.analysis.run import Run
from mnttrace.errors import BadInput

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")
_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]*)?)?")

Moment = pd.Timestamp | datetime | str | float


def moment(run: Run, when: Moment) -> pd.Timestamp:
    """A moment of a recording, as a time.

    Args:
        run: the recording.
        when: a time (UTC, if it has no zone); a time of day, the first such from the beginning of
            the recording on; or seconds since it began, as a number or text.

    Raises:
        BadInput: it is no time, or one before or after the recording.
    """
    start, end = span(run)
    try:
        if isinstance(when, str) and _SECONDS.fullmatch(when):
            when = float(when)
        if isinstance(when, (int, float)):
            found = start + pd.Timedelta(seconds=when)
        elif isinstance(when, str) and _TIME_OF_DAY.fullmatch(when):
            found = pd.Timestamp(f"{start:%Y-%m-%d} {when}", tz="UTC")
            tomorrow = found + pd.Timedelta(days=1)
            found = tomorrow if found < start and tomorrow <= end else found
        else:
            found = pd.Timestamp(when)
            found = found.tz_localize("UTC") if found.tzinfo is None else found.tz_convert("UTC")
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"{when!r} is no time", "as '2026-01-31 12:00:00', 12:00, or seconds"
        ) from error
    if not start <= found <= end:
        raise BadInput(f"{found} is not within the recording", f"it is from {start} to {end}")
    return found


def span(run: Run) -> tuple[pd.Timestamp, pd.Timestamp]:
    """When a recording began and ended; one that was not closed, at the last known time."""
    start, stop = run.meta["started"], run.meta.get("stopped")
    if stop is None:
        stop = start
        if len(run.snapshots):
            stop = max(stop, int(run.snapshots["ended"].max()) + run.meta["wall_offset"])
        if len(run.operations):
            last = run.operations["monotonic"] + run.operations["latency"].fillna(0)
            stop = max(stop, int(last.max()) + run.meta["wall_offset"])
    return pd.Timestamp(start, tz="UTC"), pd.Timestamp(stop, tz="UTC")
