#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How much longer containers take to start, and to end, while everything is recorded.

    sudo .venv/bin/python benchmarks/containers.py [ROUNDS] [RUNTIME…]

Each round starts as many containers without a recording as with one, in turns; each has a volume
and does nothing. Prints a Markdown table: medians of wall time, and the ratio of the pairs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from places import isolated

from tests.runtimes.runtimes import RUNTIMES, Container, own_cgroups, script

STARTS = 20  # of a kind in a round; the first ones after the probes are armed take longer
START = f"""
for i in $(seq {STARTS}); do
  begun=$(date +%s%N)
  sh -ec "$CONTAINER" >>container.log 2>&1
  echo $(($(date +%s%N) - begun)) >>$1
done
"""
BODY = """
sh -e ./start warm
for round in $(seq ROUNDS); do
  sh -e ./start without
  $MNTTRACE record -o $round.mnttrace -- sh -e ./start with 2>recorder.log
done
"""


def measure(runtime: str, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each start without, and with, a recording."""
    with tempfile.TemporaryDirectory() as folder, own_cgroups() as cgroups:
        place = Path(folder)
        (place / "start").write_text(START)
        text = script(runtime, place, Container("true"), BODY.replace("ROUNDS", str(rounds)))
        recorder = f"{sys.executable} -m mnttrace"
        isolated(text, place, {"CGROUPS": cgroups, "MNTTRACE": recorder})
        found = [
            [int(line) / 1e6 for line in (place / name).read_text().split()]
            for name in ("without", "with")
        ]
    return found[0], found[1]


def main() -> None:
    arguments = sys.argv[1:]
    rounds = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 5
    print("| runtime | alone, ms (median) | recorded, ms (median) | ratio (median of rounds) |")
    print("|---|---|---|---|")
    for runtime in arguments or RUNTIMES:
        without, recorded = measure(runtime, rounds)
        ratios = [
            statistics.median(recorded[at : at + STARTS])
            / statistics.median(without[at : at + STARTS])
            for at in range(0, len(without), STARTS)
        ]
        print(
            f"| {runtime} | {statistics.median(without):.1f} | {statistics.median(recorded):.1f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |",
            flush=True,
        )


main()
