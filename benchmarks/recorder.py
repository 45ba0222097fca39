#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the recorder takes, and what it loses, while mounts are made as fast as they go.

    sudo .venv/bin/python benchmarks/recorder.py [--seconds 10] [--loops 1,3,8] [--receivers 6]
    sudo .venv/bin/python benchmarks/recorder.py --keep-raw --rounds 7 [--seconds 4]

Loops mount and unmount a tmpfs each, under a shared mount from which some namespaces receive, while
everything is recorded. Prints Markdown: what was recorded and lost, the processor time of the
recorder and of the process that copies the kernel's buffers, its peak memory, the recording's size,
and how long it took from the end of the loops until the recording was whole. With --keep-raw, one
loop is recorded without and with a raw log in turns, and what that costs is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from places import receivers, within

LOOP = """
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
target, end = sys.argv[1].encode(), time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    if libc.mount(b"bench", target, b"tmpfs", 0, None) or libc.umount2(target, 0):
        sys.exit(f"errno {ctypes.get_errno()}")
"""
LOOPS = """
for i in $(seq $1); do python3 loop.py place/x$i $2 & done
wait
date +%s.%N >ended
times >times
"""
HEADS = ["loops", "seconds", "operations", "effects", "lost", "processor time, s", "µs an effect"]
HEADS += ["peak memory, MB", "on disk, bytes an operation", "whole after, s"]
COMPARED = ["operations", "µs an effect", "peak memory, MB", "on disk, bytes an operation"]


def recorded(loops: int, seconds: float, options: list[str]) -> list[str]:
    """One row, measured in a mount namespace that is made for it."""
    Path("loop.py").write_text(LOOP)
    Path("loops").write_text(LOOPS)
    for number in range(loops):
        Path(f"place/x{number + 1}").mkdir()
    command = [
        sys.executable,
        "-m",
        "mnttrace",
        "record",
        "--force",
        "-o",
        "run.mnttrace",
        *options,
    ]
    recorder = subprocess.Popen([*command, "--", "sh", "loops", str(loops), str(seconds)])
    _, status, usage = os.wait4(recorder.pid, 0)
    recorder.returncode = os.waitstatus_to_exitcode(status)
    if recorder.returncode:
        sys.exit(f"the recorder ended with {recorder.returncode}")
    after = time.time() - float(Path("ended").read_text())
    meta: dict[str, Any] = json.loads(Path("run.mnttrace/meta.json").read_text())
    losses = meta["losses"]
    lost = sum(n for kind, n in losses.items() if n and not kind.startswith("sent"))
    operations = losses["sent_operation"]
    effects = rows("effects")
    size = sum(file.stat().st_size for file in Path("run.mnttrace").iterdir())
    # That of the loops is not the recorder's: they say what they took.
    own = usage.ru_utime + usage.ru_stime - spent_by_loops()
    return [
        f"{loops}",
        f"{seconds:g}",
        f"{operations:,}",
        f"{effects:,}",
        f"{lost}",
        f"{own:.1f}",
        f"{own / max(effects, 1) * 1e6:.1f}",
        f"{usage.ru_maxrss / 1024:,.0f}",
        f"{size / max(operations, 1):.0f}",
        f"{after:.1f}",
    ]


def rows(table: str) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(f"run.mnttrace/{table}.parquet").num_rows)


def spent_by_loops() -> float:
    """Processor seconds: `times` of the shell that started them."""
    total = 0.0
    for word in Path("times").read_text().split():
        minutes, _, seconds = word.rstrip("s").partition("m")
        total += int(minutes) * 60 + float(seconds)
    return total


def cost_of_raw_log(receivers_count: int, seconds: float, rounds: int) -> Iterator[str]:
    """Rows of what is measured without and with a raw log, and of the ratios of both."""
    ratios: list[list[float]] = []
    for _ in range(rounds):
        pair = []
        for options in ([], ["--keep-raw"]):
            words = ["--inside", "1", "--seconds", str(seconds), *options]
            row = within(receivers(receivers_count), __file__, words)
            cells = [float(cell.replace(",", "")) for cell in row.strip(" |\n").split("|")]
            pair.append([cells[HEADS.index(head)] for head in COMPARED])
        ratios.append([kept / plain for plain, kept in zip(*pair, strict=True)])
    for head, values in zip(COMPARED, zip(*ratios, strict=True), strict=True):
        yield f"| {head} | {median(values):.2f} ({min(values):.2f}–{max(values):.2f}) |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--loops", default="1,3,8")
    parser.add_argument("--receivers", type=int, default=6)
    parser.add_argument("--keep-raw", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inside", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        options = ["--keep-raw"] if asked.keep_raw else []
        print("| " + " | ".join(recorded(asked.inside, asked.seconds, options)) + " |", flush=True)
        return
    if asked.keep_raw:
        print("| with a raw log | ratio to without |\n|---|---|", flush=True)
        for row in cost_of_raw_log(asked.receivers, asked.seconds, asked.rounds):
            print(row, flush=True)
        return
    print("| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS), flush=True)
    for loops in map(int, asked.loops.split(",")):
        words = ["--inside", str(loops), "--seconds", str(asked.seconds)]
        print(within(receivers(asked.receivers), __file__, words), end="", flush=True)


if __name__ == "__main__":
    main()
