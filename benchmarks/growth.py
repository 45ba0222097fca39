#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How the cost of recording grows: with receivers, with mounts, and with operations per second.

    sudo .venv/bin/python benchmarks/growth.py [--rounds 3] [--only receivers]

A tmpfs mounted and unmounted at once, untraced and recorded, in turns: µs a pair with more and more
receiving namespaces, and on a private mount with more and more mounts around it. And the processor
time of the recorder while pairs are made at a pace, with 6 receivers. Prints Markdown, and writes
docs/performance/growth.json and a picture beside it. Needs altair and vl-convert-python.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from overhead import MNTTRACE, PRIVATE, Workload, measure
from places import machine, receivers, tree, within

DOCS = Path(__file__).parents[1] / "docs" / "performance"
TRACERS = ["untraced", "mnttrace"]
RECEIVERS = (1, 3, 10, 30, 100, 300, 1000)
MOUNTS = (30, 100, 300, 1000, 3000, 10_000)
PACES = (10, 100, 1000, 3000, 10_000)  # pairs a second
SECONDS = 6
LOOP = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
pace, seconds, made = float(sys.argv[1]), float(sys.argv[2]), 0
with open(f"/proc/{os.getppid()}/stat") as file:
    before = sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
if not pace:
    time.sleep(seconds)
start = time.monotonic()
while pace and (now := time.monotonic() - start) < seconds:
    if made > now * pace:
        time.sleep(made / pace - now)
    if libc.mount(b"bench", b"place/x", b"tmpfs", 0, None) or libc.umount2(b"place/x", 0):
        sys.exit(f"errno {ctypes.get_errno()}")
    made += 1
took = time.monotonic() - start
with open("made", "w") as file:
    print(made / took, took, before + time.process_time(), file=file)
"""


class Figure(NamedTuple):
    """One point: of which series, at what size; the medians of the rounds."""

    series: str
    size: float
    what: str
    value: float


def of_pairs(series: str, size: int, workload: Workload, rounds: int) -> list[Figure]:
    """µs a pair, untraced and recorded."""
    seconds = measure(workload, rounds, TRACERS)
    return [
        Figure(series, size, name, statistics.median(told) / workload.times * 1e6)
        for name, told in seconds.items()
    ]


def with_receivers(rounds: int) -> list[Figure]:
    found = []
    for count in RECEIVERS:
        workload = Workload("", "pairs", max(100, 20_000 // (1 + count // 6)), receivers(count))
        found += of_pairs("receiving namespaces", count, workload, rounds)
    return found


def among_mounts(rounds: int) -> list[Figure]:
    found = []
    for count in MOUNTS:
        more = f"more=$(({count} - 2 - $(wc -l </proc/self/mountinfo)))"
        prepare = f"{more}{tree('$more')}{PRIVATE}"
        found += of_pairs(
            "mounts in the namespace", count, Workload("", "pairs", 20_000, prepare), rounds
        )
    return found


def at_a_pace(rounds: int) -> list[Figure]:
    found = []
    for pace in PACES:
        words = ["--inside", str(pace), "--rounds", str(rounds)]
        told = json.loads(within(receivers(6), __file__, words).splitlines()[-1])
        made, share = (statistics.median(figures) for figures in zip(*told, strict=True))
        found.append(Figure("pairs a second", made, "recorder", share))
    return found


SERIES = {"receivers": with_receivers, "mounts": among_mounts, "pace": at_a_pace}


def paced(pace: float) -> tuple[float, float]:
    """Pairs a second as they came to be, and percent of a processor that the recorder took."""
    Path("loop.py").write_text(LOOP)
    _, _, nothing = spent(0)  # what the end takes where there is nothing
    made, took, seconds = spent(pace)
    return made, (seconds - nothing) / took * 100


def spent(pace: float) -> tuple[float, float, float]:
    """Pairs a second, for how many seconds, and the recorder's processor seconds since then."""
    command = [sys.executable, "loop.py", str(pace), str(SECONDS)]
    recorder = subprocess.Popen([*MNTTRACE, "--", *command], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(recorder.pid, 0)
    recorder.returncode = os.waitstatus_to_exitcode(status)
    if recorder.returncode:
        sys.exit(f"the recorder ended with {recorder.returncode}")
    made, took, others = map(float, Path("made").read_text().split())
    return made, took, usage.ru_utime + usage.ru_stime - others


def table(figures: list[Figure], series: str) -> str:
    """A row a size."""
    names = list(dict.fromkeys(one.what for one in figures))
    rows = [[series, *(f"{name}, {unit(series)}" for name in names)], ["---"] * (len(names) + 1)]
    for size in dict.fromkeys(one.size for one in figures):
        values = [one.value for one in figures if one.size == size]
        rows.append([f"{size:,.0f}", *(f"{value:,.1f}" for value in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def unit(series: str) -> str:
    return "% of a processor" if series == "pairs a second" else "µs a pair"


def picture(figures: list[Figure], file: Path) -> None:
    import altair as alt
    import pandas as pd

    data = pd.DataFrame(figures)
    panels = []
    for series in data["series"].unique():
        chart = alt.Chart(data[data["series"] == series]).mark_line(point=True)
        panels.append(
            chart.properties(width=260, height=240).encode(
                x=alt.X("size:Q", scale=alt.Scale(type="log")).title(series),
                y=alt.Y("value:Q", scale=alt.Scale(type="log")).title(unit(series)),
                color=alt.Color("what:N", sort=None).title(None),
            )
        )
    alt.hconcat(*panels).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(SERIES))
    parser.add_argument("--inside", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside is not None:
        print(json.dumps([paced(asked.inside) for _ in range(asked.rounds)]))
        return
    facts = machine()
    print(", ".join(f"{name} {fact}" for name, fact in facts.items()))
    figures: list[Figure] = []
    for name, series in SERIES.items():
        if asked.only in (None, name):
            found = series(asked.rounds)
            print(f"\n{table(found, found[0].series)}", flush=True)
            figures += found
    if asked.only is None:
        told = {"machine": facts, "figures": [figure._asdict() for figure in figures]}
        (DOCS / "growth.json").write_text(json.dumps(told, indent=1) + "\n")
        picture(figures, DOCS / "growth.svg")


if __name__ == "__main__":
    main()
