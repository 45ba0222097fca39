# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How a command says what is wrong."""

from __future__ import annotations

import subprocess


def one_line(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("mnttrace:")]
    said = ("mnttrace: recording", "mnttrace: incomplete:")
    (line,) = [line for line in lines if line != said[0] and not line.startswith(said[1])]
    assert all(word in line for word in words), line
