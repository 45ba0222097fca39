#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How analysis grows with the recording: seconds and memory at 10,000 to 1,000,000 operations.

    .venv/bin/python benchmarks/analysis.py [--rounds 3] [--sizes 10000,100000,1000000]

Each measure is a process of its own on a synthetic recording (see synthetic.py) with five effects
an operation and one namespace for 500. The minimum of some rounds is told: what else the machine
does only adds to it. Writes the table to standard output, docs/performance/analysis.json, and a
picture beside it. Needs altair and vl-convert-python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parents[1] / "docs" / "performance"
SYNTHETIC = Path(__file__).with_name("synthetic.py")
OPERATIONS_A_NAMESPACE = 500
TIMELINE_UP_TO = 100_000  # operations: beyond these nobody reads what the command prints


class Measure(NamedTuple):
    """What is timed, after what it needs, which is not."""

    needs: Callable[[Any], object]
    timed: Callable[[Any], object]


def middle(run: Any) -> float:
    """Half way through a recording, seconds."""
    return (run.meta["stopped"] - run.meta["started"]) / 2e9


MEASURES = {
    "first frame (operations)": Measure(lambda run: None, lambda run: run.operations),
    "effects": Measure(lambda run: None, lambda run: run.effects),
    "propagations": Measure(
        lambda run: (run.operations, run.effects), lambda run: run.propagations
    ),
    "leaks": Measure(lambda run: None, lambda run: run.leaks),
    "births": Measure(lambda run: (run.operations, run.effects), lambda run: run.births),
    "doublings": Measure(lambda run: (run.operations, run.effects), lambda run: run.doublings),
    "at, nothing loaded": Measure(lambda run: None, lambda run: run.at(middle(run))),
    "at, tables loaded": Measure(
        lambda run: (run.operations, run.effects, run.mounts, run.snapshots),
        lambda run: run.at(middle(run)),
    ),
    "at, another moment": Measure(lambda run: run.at(0), lambda run: run.at(middle(run))),
    "refusals": Measure(lambda run: (run.operations, run.effects), lambda run: run.refusals),
    "run.timeline()": Measure(lambda run: None, lambda run: run.timeline()),
    "run.plot.timeline()": Measure(lambda run: None, lambda run: run.plot.timeline()),
    "run.plot.graph()": Measure(lambda run: None, lambda run: run.plot.graph()),
    "diff": Measure(lambda run: run.history, lambda run: run.diff(0, middle(run))),
}
COMMANDS = ("leaks", "timeline", "report")


class Figure(NamedTuple):
    """What came of one measure."""

    operations: int
    what: str
    seconds: float
    megabytes: float


def inside(what: str, recording: str) -> None:
    """Measure one thing in this process, and print the seconds; with imports where it is the first
    thing that anybody waits for."""
    began = time.perf_counter()
    from mnttrace.analysis.recording import Recording

    measure = MEASURES[what]
    run = Recording(recording)
    if not what.startswith("first"):
        measure.needs(run)
        began = time.perf_counter()
    measure.timed(run)
    print(time.perf_counter() - began)


def outside(command: list[str | Path]) -> tuple[str, float, float]:
    """What a command writes, its wall seconds and its peak memory in MB."""
    with tempfile.TemporaryFile("w+") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command} ended with {process.returncode}")
        out.seek(0)
        return out.read(100), seconds, usage.ru_maxrss / 1024


def measured(size: int, recording: Path) -> list[Figure]:
    """One round of all measures."""
    found = []
    for what in MEASURES:
        told, _, memory = outside([sys.executable, __file__, "--inside", what, recording])
        found.append(Figure(size, what, float(told), memory))
    for name in COMMANDS:
        if name == "timeline" and size > TIMELINE_UP_TO:
            continue
        command = [sys.executable, "-m", "mnttrace", name, recording]
        if name == "report":
            command += ["-o", recording.with_suffix(".html"), "--force"]
        _, seconds, memory = outside(command)
        found.append(Figure(size, f"mnttrace {name}", seconds, memory))
    return found


def least(figures: list[Figure]) -> list[Figure]:
    """The shortest time of each, and the most memory."""
    groups: dict[tuple[int, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure[:2], []).append(figure)
    return [
        Figure(*key, min(f.seconds for f in group), max(f.megabytes for f in group))
        for key, group in groups.items()
    ]


def table(figures: list[Figure]) -> str:
    sizes = sorted({figure.operations for figure in figures})
    cells = {
        figure[:2]: f"{figure.seconds:.2f} s, {figure.megabytes:,.0f} MB" for figure in figures
    }
    rows = [["", *(f"{size:,} operations" for size in sizes)], ["---"] * (len(sizes) + 1)]
    for what in dict.fromkeys(figure.what for figure in figures):
        rows.append([what, *(cells.get((size, what), "") for size in sizes)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def picture(figures: list[Figure], file: Path) -> None:
    import altair as alt
    import pandas as pd

    data = pd.DataFrame(figures)
    sizes = sorted({figure.operations for figure in figures})
    axes = {
        "x": alt.X("operations:Q", scale=alt.Scale(type="log"))
        .axis(values=sizes, format=",")
        .title("operations"),
        "color": alt.Color("what:N", sort=None, scale=alt.Scale(scheme="tableau20")).title(None),
    }
    chart = alt.Chart(data).mark_line(point=True).properties(width=330, height=330)
    panels = [
        chart.encode(y=alt.Y(f"{name}:Q", scale=alt.Scale(type="log")).title(title), **axes)
        for name, title in (("seconds", "seconds"), ("megabytes", "peak memory, MB"))
    ]
    alt.hconcat(*panels).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        inside(*given.inside)
        return
    figures: list[Figure] = []
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            recording = Path(folder) / "run.mnttrace"
            spaces = str(size // OPERATIONS_A_NAMESPACE)
            command = [sys.executable, SYNTHETIC, recording, "--operations", str(size)]
            _, seconds, memory = outside([*command, "--namespaces", spaces])
            figures.append(Figure(size, "made by synthetic.py", seconds, memory))
            for _ in range(given.rounds):
                figures += measured(size, recording)
    found = least(figures)
    DOCS.mkdir(exist_ok=True)
    told = [figure._asdict() for figure in found]
    (DOCS / "analysis.json").write_text(json.dumps(told, indent=1) + "\n")
    picture([figure for figure in found if "synthetic" not in figure.what], DOCS / "analysis.svg")
    print(table(found))


if __name__ == "__main__":
    main()
