"""The fixture that most tests of this folder begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recordings import Record, Recorded


@pytest.fixture
def record(in_namespace: Callable[..., Any], tmp_path: Path) -> Record:
    """`record(script, before="", after="", options="")` records a shell script.

    `before` and `after` run outside of the recording, in the same shell; save mount tables with
    `cat /proc/self/mountinfo >NAME` for :meth:`Recorded.table`.
    """

    def run(script: str, before: str = "", after: str = "", options: str = "") -> Recorded:
        (tmp_path / "script").write_text(f"set -e\n{script}\n")
        done = in_namespace(
            f"{before}\n$MNTTRACE record -o run.mnttrace {options} -- sh script\n{after}\n"
        )
        return Recorded(tmp_path, done.stdout + done.stderr)

    return run
