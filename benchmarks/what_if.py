#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How long what-if takes on a host of many namespaces, real ones, and why there.

    sudo .venv/bin/python benchmarks/what_if.py [--namespaces 1000] [--mounts 100] [--rounds 5]

Makes the namespaces, slaves of one in which this runs, takes a snapshot, and asks in a process of
its own: a bind that comes to all of them. Tells minimum, median and maximum of some rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ASK = """
import sys, time
from mnttrace.analysis.recording import Recording
began = time.perf_counter()
run = Recording(sys.argv[1])
run.diagnosis.now
print(time.perf_counter() - began)
for path in sys.argv[2:]:
    began = time.perf_counter()
    answer = run.what_if(f"mount --bind {path} {path}")
    print(time.perf_counter() - began)
began = time.perf_counter()
run.why(sys.argv[2])
print(time.perf_counter() - began)
print(len(answer.consequences), sum(1 for _ in run.diagnosis.now.tables.mounts))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", type=int, default=1000)
    parser.add_argument("--mounts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if os.environ.get("IN_NAMESPACE") != "1":
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        sys.exit(
            subprocess.run(command, check=False, env=os.environ | {"IN_NAMESPACE": "1"}).returncode
        )
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        sleepers = made(folder, arguments.namespaces, arguments.mounts)
        try:
            measure(folder, arguments.rounds)
        finally:
            for sleeper in sleepers:
                sleeper.kill()
            for sleeper in sleepers:
                sleeper.wait()
            subprocess.run(["umount", "-R", folder], check=True)


def made(folder: Path, namespaces: int, mounts: int) -> list[subprocess.Popen[bytes]]:
    """The namespaces, each held by a process."""
    subprocess.run(["mount", "-t", "tmpfs", "host", folder], check=True)
    subprocess.run(["mount", "--make-shared", folder], check=True)
    there = len(Path("/proc/self/mountinfo").read_text().splitlines())
    for number in range(mounts - there):
        (folder / f"m{number}").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", f"m{number}", folder / f"m{number}"], check=True)
    hold = ["unshare", "--mount", "--propagation", "slave", "sleep", "infinity"]
    sleepers = [subprocess.Popen(hold) for _ in range(namespaces)]
    mine = os.readlink("/proc/self/ns/mnt")
    for sleeper in sleepers:
        while (
            os.readlink(f"/proc/{sleeper.pid}/ns/mnt") == mine
            or Path(f"/proc/{sleeper.pid}/comm").read_text() != "sleep\n"
        ):
            pass
    return sleepers


def measure(folder: Path, rounds: int) -> None:
    run = folder / "run.mnttrace"
    subprocess.run([sys.executable, "-m", "mnttrace", "snapshot", "-o", run], check=True)
    asked = [sys.executable, "-c", ASK, run, folder / "m0", folder / "m1"]
    found = []
    for _ in range(rounds):
        lines = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split("\n")
        found.append([float(line) for line in lines[:4]])
    print(f"{lines[4]} consequences, mounts")
    names = ["load, with the tables", "first what-if", "another what-if", "why"]
    for name, values in zip(names, zip(*found, strict=True), strict=True):
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name}: {low:.2f} s, {middle:.2f} s, {high:.2f} s (minimum, median, maximum)")


if __name__ == "__main__":
    main()
