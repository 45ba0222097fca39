# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Moments of a recording, as people write them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.analysis.times import moment
from mnttrace.errors import BadInput
from mnttrace.recording.writer import Writer

START = pd.Timestamp("2026-01-31 23:59:50", tz="UTC")


@pytest.fixture
def run(tmp_path: Path) -> Recording:
    """Twenty seconds, around midnight."""
    writer = Writer(tmp_path / "run.mnttrace")
    stop = START + pd.Timedelta(seconds=20)
    writer.meta |= {"wall_offset": 0, "started": START.value, "stopped": stop.value, "losses": {}}
    writer.close()
    return Recording(tmp_path / "run.mnttrace")


@pytest.mark.parametrize(
    ("when", "seconds"),
    [
        (2.5, 2.5),
        ("2.5", 2.5),
        ("3", 3),
        ("23:59:51", 1),
        ("23:59:51.25", 1.25),
        ("0:00:01", 11),
        ("00:00", 10),
        ("2026-01-31 23:59:52", 2),
        ("2026-02-01T01:00:02+01:00", 12),
    ],
)
def test_a_moment(run: Recording, when: str | float, seconds: float) -> None:
    assert moment(run, when) == START + pd.Timedelta(seconds=seconds)


@pytest.mark.parametrize("when", ["soon", "21", "23:59:49", "2026-02-01 01:00:00", 1e300, "25:00"])
def test_no_moment_of_the_recording(run: Recording, when: str | float) -> None:
    with pytest.raises(BadInput):
        moment(run, when)
