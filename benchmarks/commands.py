#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How long the commands take: arming, --help, leaks on the demo's recording.

    make demo; sudo .venv/bin/python benchmarks/commands.py [ROUNDS] RECORDING

Each is a process of its own, beside a baseline in the same round (`python -c pass`), so that the
ratio holds on another machine. Prints a Markdown table: medians of wall time, ratio to the
baseline, peak memory.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MNTTRACE = [sys.executable, "-m", "mnttrace"]
# The recorded command says when it was started: the time until then is what arming takes.
SAY_WHEN = "import time; print(time.monotonic())"


def timed(command: list[str]) -> tuple[float, float]:
    """Wall seconds of a command, and its peak memory in MB."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    if status:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def armed(folder: Path) -> tuple[float, float]:
    """Seconds from the start of `record` to that of its command, and peak memory in MB."""
    recording = folder / "run.mnttrace"
    shutil.rmtree(recording, ignore_errors=True)
    command = [*MNTTRACE, "record", "-o", str(recording), "--", "python3", "-c", SAY_WHEN]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # The interpreter that says when needs some 20 ms itself: they count against mnttrace.
    return float(done.stdout) - start, max(before, peak) / 1024


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 2 else 7
    demo = sys.argv[-1]
    figures: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, measure in (
                ("python -c pass", lambda: timed([sys.executable, "-c", "pass"])),
                ("mnttrace --help", lambda: timed([*MNTTRACE, "--help"])),
                ("mnttrace leaks, demo", lambda: timed([*MNTTRACE, "leaks", demo])),
                ("mnttrace record, armed", lambda: armed(Path(folder))),
            ):
                figures.setdefault(name, []).append(measure())
            # The tracepoints of the last recording are taken away in the background.
            time.sleep(3)
    base = statistics.median(seconds for seconds, _ in figures["python -c pass"])
    print("| command | seconds (median) | min–max | × python | peak MB |")
    print("|---|---|---|---|---|")
    for name, found in figures.items():
        seconds = [figure[0] for figure in found]
        median = statistics.median(seconds)
        print(
            f"| {name} | {median:.3f} | {min(seconds):.3f}–{max(seconds):.3f} "
            f"| {median / base:.1f} | {max(figure[1] for figure in found):.0f} |"
        )


main()
