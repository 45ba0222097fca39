# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the tests of this folder share."""

from pathlib import Path

import pytest

from tests.unit.capture.identity.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without any process but its first."""
    return Machine(tmp_path)
