# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Takes the processor from a recorder: stops one of its processes after the other, for up to a
second each, at random moments, until the recorder ends.

    stopper.py PID SEED
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path


def processes(recorder: int) -> list[int]:
    """The recorder and the copies of itself that it made."""
    command = Path(f"/proc/{recorder}/cmdline").read_bytes()
    found = [recorder]
    children = Path(f"/proc/{recorder}/task/{recorder}/children").read_text().split()
    for child in map(int, children):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/cmdline").read_bytes() == command:
                found.append(child)
    return found


def main() -> None:
    recorder, chance = int(sys.argv[1]), random.Random(int(sys.argv[2]))
    stops = 0
    with contextlib.suppress(OSError):  # it has ended
        while True:
            pid = chance.choice(processes(recorder))
            os.kill(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(0, 1))
            os.kill(pid, signal.SIGCONT)
            stops += 1
            time.sleep(chance.uniform(0, 0.3))
    print(stops)


main()
