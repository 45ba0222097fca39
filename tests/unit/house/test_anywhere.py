# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is installed with the package can be installed everywhere."""

from __future__ import annotations

import tomllib

from tests import CHECKOUT


def test_nothing_that_is_needed_everywhere_has_to_be_compiled() -> None:
    """What `pip install mnttrace` pulls: all of these have wheels for Windows and macOS."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    names = {one.split(">")[0] for one in project["dependencies"]}
    assert names == {"click", "msgspec", "pandas", "pyarrow", "rich"}
