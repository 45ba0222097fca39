# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What is in the wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests import CHECKOUT


def test_the_wheel_carries_what_is_not_python(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(CHECKOUT) for path in (CHECKOUT / "bpf").rglob("*.[ch]")}
    assert {f"mnttrace/{path}" for path in sources} <= names
    data = [
        path
        for path in (CHECKOUT / "mnttrace").rglob("*")
        if path.suffix in {".html", ".css", ".js"}
    ]
    assert {str(path.relative_to(CHECKOUT)) for path in data} <= names
    assert len(data) == 4
    assert "mnttrace/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "bpf"))]
