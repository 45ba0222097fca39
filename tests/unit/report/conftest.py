# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.report.traces import Export, exported


@pytest.fixture
def export(mnttrace, tmp_path: Path) -> Export:
    """`export()` writes run.mnttrace as a trace, and reads that."""
    return lambda: exported(mnttrace, tmp_path)
