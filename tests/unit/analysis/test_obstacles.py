# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What stands in the way of calls is documented, each kind of it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from mnttrace.analysis.model.mounts import Obstacle

LEAKS = Path(__file__).parents[3] / "docs" / "leaks.md"


def test_each_obstacle_has_its_row() -> None:
    _, _, text = LEAKS.read_text().partition("## What stands in the way")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    first = " ".join(row.split("|")[1] for row in rows)
    assert [kind for kind in get_args(Obstacle) if f"`{kind}`" not in first] == ["other"]
