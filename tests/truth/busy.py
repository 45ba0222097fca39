# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A machine that has no time: busy loops at normal priority."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tests.short import IS_SHORT

# How many loops there are meanwhile: none, or twice as many as this machine has processors.
LOOPS = [4] if IS_SHORT else [0, 4]
# Ends with the process that started it.
BUSY = """
import ctypes
ctypes.CDLL(None).prctl(1, 9)
while True: pass
"""


@contextlib.contextmanager
def saturated(loops: int) -> Iterator[None]:
    """So many busy loops run meanwhile."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(loops)]
    try:
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()
