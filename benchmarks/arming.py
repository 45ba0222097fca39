#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How long it takes to start a recording, and what the recorder takes then: with kept programs, and
with programs that have to be compiled, in turns.

    sudo .venv/bin/python benchmarks/arming.py [--rounds 10]

Prints Markdown: medians (and the range) of the seconds from the start of the command until all
programs are attached, and until the recording begins; of the processor time until then; and of the
memory of all its processes once it records: the proportional set size, which counts what processes
share once.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HEADS = ("attached, s", "recording, s", "processor time, s", "memory, MB")
RECORD = [sys.executable, "-m", "mnttrace", "record", "-v", "--force", "-o", "run.mnttrace"]


def started(folder: Path, cache: Path) -> tuple[str, list[float]]:
    """Where the programs came from, and what was measured."""
    began = time.monotonic()
    recorder = subprocess.Popen(
        [*RECORD, "--", "cat"],
        cwd=folder,
        env=os.environ | {"MNTTRACE_CACHE": str(cache)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert recorder.stdin
    assert recorder.stderr
    origin, moments = "", []
    for line in recorder.stderr:
        if line.startswith("mnttrace: BPF programs: "):
            origin = line.split(": ")[2].split()[0].strip(",\n")
            moments.append(time.monotonic() - began)
        if line.startswith("mnttrace: recording"):
            moments.append(time.monotonic() - began)
            break
    processes = family(recorder.pid)
    spent = sum(processor_time(pid) for pid in processes)
    memory = sum(proportional_size(pid) for pid in processes)
    recorder.stdin.close()
    recorder.stderr.read()
    if recorder.wait():
        sys.exit(f"the recorder ended with {recorder.returncode}")
    return origin, [*moments, spent, memory]


def family(pid: int) -> list[int]:
    """The recorder and the process that copies the kernel's buffers: both run the same command."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    same = [n for n in map(int, children) if Path(f"/proc/{n}/cmdline").read_bytes() == command]
    return [pid, *same]


def processor_time(pid: int) -> float:
    """Seconds, with those of children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def proportional_size(pid: int) -> float:
    """MB, see proc_pid_smaps(5)."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) / 1000 if found else 0.0


def cell(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    measured: dict[str, list[list[float]]] = {"kept": [], "compiled": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started(folder, folder / "cache")
        for number in range(asked.rounds):
            for cache in (folder / "cache", folder / f"cache{number}"):
                origin, values = started(folder, cache)
                measured[origin].append(values)
    print(f"| {asked.rounds} rounds | kept | compiled | ratio |\n|---|---|---|---|")
    for number, head in enumerate(HEADS):
        kept, compiled = ([row[number] for row in rows] for rows in measured.values())
        ratios = [one / other for one, other in zip(kept, compiled, strict=True)]
        print(f"| {head} | {cell(kept)} | {cell(compiled)} | {cell(ratios)} |")


if __name__ == "__main__":
    main()
