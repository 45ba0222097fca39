# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnttrace.analysis.recording import Recording
from mnttrace.recording.writer import Writer

Write = Callable[..., Recording]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """`write(operations=[...], effects=[...], ...)` makes a recording of such rows.

    With `close=False` it is one that is still being written.
    """
    open_ones = []

    def run(*, close: bool = True, **tables: list[dict[str, Any]]) -> Recording:
        writer = Writer(tmp_path / "run.mnttrace")
        writer.meta |= {"home_ns_id": 1, "wall_offset": 10**18, "started": 10**18 + 5}
        for table, rows in tables.items():
            for row in rows:
                writer.add(table, row)
        if close:
            writer.close()
        else:
            writer.flush()
            open_ones.append(writer)
        return Recording(tmp_path / "run.mnttrace")

    yield run
    for writer in open_ones:
        writer.close()
