# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a recorder takes is told without what it records takes."""

from __future__ import annotations

import subprocess
import sys
import time

from mnttrace.capture.cost import Meter

BURNT = 0.4  # seconds of processor time
BUSY = [sys.executable, "-c", f"import time\nwhile time.process_time() < {BURNT}: pass"]


def test_the_command_is_not_the_recorders() -> None:
    meter = Meter()
    command = subprocess.Popen(BUSY)
    while not meter.has_ended(command):
        time.sleep(0.01)
    assert meter.has_ended(command)
    cost = meter.read()
    assert cost.processor < BURNT / 2 < cost.seconds
    assert cost.memory > 1 << 20


def test_other_processes_are() -> None:
    meter = Meter()
    subprocess.run(BUSY, check=True)
    assert meter.read().processor >= BURNT
