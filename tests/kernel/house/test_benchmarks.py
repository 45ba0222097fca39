# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The benchmarks of recording in short: they run, everything is counted, nothing is lost.

How long anything takes is not looked at here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import CHECKOUT

BENCHMARKS = CHECKOUT / "benchmarks"


def told_by(name: str, *words: str) -> dict[str, list[str]]:
    """The table that a benchmark prints, a column each."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line[2:-2].split(" | ") for line in done.stdout.splitlines() if "|" in line]
    heads, _, *values = rows
    return dict(zip(heads, map(list, zip(*values, strict=True)), strict=True))


def test_a_raw_log_takes_room() -> None:
    told = told_by("recorder", "--keep-raw", "--rounds", "1", "--seconds", "0.5")
    ratios = dict(zip(told["with a raw log"], told["ratio to without"], strict=True))
    assert float(ratios["on disk, bytes an operation"].split()[0]) > 1.2


def test_a_storm_is_recorded_without_a_loss() -> None:
    told = told_by("recorder", "--seconds", "0.5", "--loops", "1,3", "--receivers", "2")
    assert told["lost"] == ["0", "0"]
    for operations, effects in zip(told["operations"], told["effects"], strict=True):
        made = int(operations.replace(",", ""))
        assert made > 100
        # Each is seen where it was done and by two receivers.
        assert int(effects.replace(",", "")) == pytest.approx(3 * made, rel=0.02)


def test_all_mounts_of_many_namespaces_are_found() -> None:
    """It ends with an error if a table or the beginning of a recording lacks a mount."""
    told = told_by("snapshots", "--namespaces", "20", "--mounts", "60", "--rounds", "1")
    assert [len(column) for column in told.values()] == [3, 3, 3]


def test_tracers_are_compared(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    words = ["--rounds", "1", "--tracers", "untraced/mnttrace", "--json", str(told)]
    heads = told_by("overhead", "--only", "recursive bind", *words)
    assert list(heads) == ["workload", "untraced, µs", "mnttrace"]
    [workload] = json.loads(told.read_text())["workloads"]
    assert {name: len(seconds) for name, seconds in workload["seconds"].items()} == {
        "untraced": 1,
        "mnttrace": 1,
    }


def test_starts_with_and_without_kept_programs_are_compared() -> None:
    told = told_by("arming", "--rounds", "1")
    assert list(told)[1:] == ["kept", "compiled", "ratio"]
    # Compiling takes longer than anything else, however busy the machine.
    assert float(told["ratio"][0].split()[0]) < 1


def test_both_ways_of_decoding_give_the_same() -> None:
    """It ends with an error if they do not."""
    told = told_by("decoding", "--lists", "10", "--rounds", "1")
    assert told["ratio"][0] == "1.00"
