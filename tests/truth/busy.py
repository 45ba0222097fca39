# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A machine that has no time: busy loops at normal priority, and one that wants all memory."""

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
# Takes what is free but for a fifth, writes to each page of it, and gives it back, again and again.
HOG = """
import ctypes, mmap
ctypes.CDLL(None).prctl(1, 9)
while True:
    lines = dict(line.split()[:2] for line in open("/proc/meminfo"))
    size = int(lines["MemAvailable:"]) // 5 * 4 << 10
    with mmap.mmap(-1, size // mmap.PAGESIZE * mmap.PAGESIZE) as memory:
        memory[:: mmap.PAGESIZE] = bytes(len(memory) // mmap.PAGESIZE)
"""


@contextlib.contextmanager
def saturated(loops: int, wants_memory: bool = False) -> Iterator[None]:
    """So many busy loops run meanwhile."""
    programs = [BUSY] * loops + [HOG] * wants_memory
    running = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    try:
        yield
    finally:
        for loop in running:
            loop.kill()
            loop.wait()
