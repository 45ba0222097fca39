#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the mount tables of many namespaces take to read, and how soon a recording begins there.

    sudo .venv/bin/python benchmarks/snapshots.py [--namespaces 1000] [--mounts 100] [--rounds 5]
        [--json FILE]

Namespaces are made with so many mounts each. In turns the kernel prints all their tables (`cat`, to
/dev/null), and mnttrace reads and parses the same; then recordings begin, which survey all
namespaces of the machine before their command runs. Each has to find all mounts. Prints Markdown:
medians (least–most), and the ratio to `cat` in the same round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from places import machine, namespaces, tree, within

RECORD = [sys.executable, "-m", "mnttrace", "record", "--force", "-o", "run.mnttrace", "--"]


def printed(pids: list[int]) -> float:
    """Seconds in which the kernel prints the tables."""
    files = [f"/proc/{pid}/mountinfo" for pid in pids]
    start = time.perf_counter()
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def parsed(pids: list[int], wanted: int) -> float:
    """Seconds in which mnttrace reads and parses them."""
    from mnttrace.linux import proc_mountinfo

    start = time.perf_counter()
    found = [len(proc_mountinfo.read(pid)) for pid in pids]
    seconds = time.perf_counter() - start
    assert found == [wanted] * len(pids), f"not all mounts were found: {sorted(set(found))}"
    return seconds


def started(pids: list[int], wanted: int) -> float:
    """Seconds until a recording has begun, and its command runs."""
    import mnttrace

    start = time.time()
    done = subprocess.run([*RECORD, "date", "+%s.%N"], capture_output=True, text=True, check=True)
    seconds = float(done.stdout.split()[0]) - start
    run = mnttrace.load("run.mnttrace")
    tables = run.mounts.groupby("snapshot").size()
    tables = tables.reindex(run.snapshots.loc[run.snapshots["reason"] == "start", "snapshot"])
    assert (tables == wanted).sum() >= len(pids), "not all mounts were recorded"
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", type=int, default=1000)
    parser.add_argument("--mounts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", action="store_true")
    asked = parser.parse_args()
    if asked.inside:
        pids = [int(file.read_text()) for file in Path().glob("ready.*")]
        pairs = [(printed(pids), parsed(pids, asked.mounts)) for _ in range(asked.rounds)]
        starts = [started(pids, asked.mounts) for _ in range(asked.rounds)]
        print(json.dumps([*zip(*pairs, strict=True), starts]))
        return
    more = f"more=$(({asked.mounts} - 1 - $(wc -l </proc/self/mountinfo)))"
    prepare = more + tree("$more") + namespaces(asked.namespaces, "private")
    words = ["--inside", "--mounts", str(asked.mounts), "--rounds", str(asked.rounds)]
    figures = json.loads(within(prepare, __file__, words).splitlines()[-1])
    facts = machine()
    print(", ".join(f"{name} {fact}" for name, fact in facts.items()))
    what = f"{asked.namespaces:,} namespaces × {asked.mounts:,} mounts"
    print(f"\n| {what} | s | ratio to cat |\n|---|---|---|")
    seconds = dict(zip(("cat", "read and parsed", "a recording begins"), figures, strict=True))
    for name, told in seconds.items():
        ratios = [one / cat for one, cat in zip(told, seconds["cat"], strict=True)]
        print(f"| {name} | {spread(told)} | {spread(ratios) if 'rec' not in name else ''} |")
    if asked.json:
        told = {"machine": facts, "what": what, "seconds": seconds}
        asked.json.write_text(json.dumps(told, indent=1) + "\n")


def spread(figures: Sequence[float]) -> str:
    return f"{statistics.median(figures):.2f} ({min(figures):.2f}–{max(figures):.2f})"


if __name__ == "__main__":
    main()
