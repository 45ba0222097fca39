# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Calls that are refused: what is told of them, and whether what is advised helps."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import tests.kernel.calls

CALLS = Path(tests.kernel.calls.__file__)
# Before the commands in the output of `leaks`, and of `why`.
_IN_LEAKS, _IN_WHY = " " * 18, " " * 8


def python(code: str, *, under: str = "") -> str:
    """A line of shell that runs Python code with tests/kernel/calls.py; it must succeed.

    Args:
        code: its result is ignored.
        under: a command before it, like unshare(1).
    """
    return f"{under} python3 {CALLS} <<'END'\nimport os\n{textwrap.dedent(code)}\nEND\n"


class Told:
    """What a recording tells of its failed calls.

    Args:
        recorded: the recording.
        mnttrace: the command.
    """

    def __init__(self, recorded: Any, mnttrace: Any) -> None:
        self.recorded = recorded
        self._mnttrace = mnttrace
        self._leaks = mnttrace("leaks", "run.mnttrace", "--all").stdout.split("\n\n")
        self.failed = [row for row in recorded.rows("operations") if row["error"]]

    def reason(self, number: int) -> dict[str, Any]:
        """What is known of one of the calls that failed, by its place among these."""
        failed = self.failed[number]
        found = self.recorded.rows("reasons", seq=failed["seq"])
        assert found, f"nothing is told of {failed}"
        return found[0]

    def kinds(self) -> list[str]:
        """What stands in the way of each."""
        known = {row["seq"]: row["obstacle"] for row in self.recorded.rows("reasons")}
        return [known.get(row["seq"], "") for row in self.failed]

    def commands(self, number: int, path: object = None) -> str:
        """The commands that `leaks` prints, as a script; `why` of a path prints them, too."""
        seq = self.failed[number]["seq"]
        [leak] = [text for text in self._leaks if f"operation {seq}: " in text]
        found = [line.strip() for line in leak.splitlines() if line.startswith(_IN_LEAKS)]
        assert found, leak
        if path is not None:
            why = self._mnttrace("why", "run.mnttrace", str(path)).stdout
            [failure] = [text for text in why.split("\n\n") if f"(operation {seq})" in text]
            lines = failure.splitlines()
            assert [line.strip() for line in lines if line.startswith(_IN_WHY)] == found, why
        return "\n".join(found)
