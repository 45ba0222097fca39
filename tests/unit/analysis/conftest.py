# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A synthetic recording that the tests of this folder share."""

from __future__ import annotations

import pytest

from mnttrace.analysis.recording import Recording
from tests.unit.analysis.plain import make


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """2,500 operations in 120 mount namespaces: containers, a private service and a slave."""
    return make(tmp_path_factory.mktemp("synthetic") / "run.mnttrace", 2500, 120)
