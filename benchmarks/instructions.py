#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What it costs others to be traced, in instructions, on stock kernels.

    sudo .venv/bin/python -m benchmarks.instructions [--only WORKLOAD] [--tracers NAME/…]
        [--json FILE] [KERNEL …]

QEMU runs each kernel with a clock that counts instructions, one a nanosecond, on one processor: so
figures do not depend on what else this machine does. Counted is the processor time of the thread
and of its children, not that of the tracer's own processes. A figure is the median of the rounds'
ratios to the untraced run of the same round. Prints Markdown.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import statistics
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # as the other benchmarks run

from overhead import PRIVATE, Workload, measure, missing
from places import receivers, tree

from tests import CHECKOUT
from tests.guests.guest import X86, Guest, in_own_mounts
from tests.guests.packages import Archive

KERNELS = ("6.1", "6.12", "7.3")
ADDR_NO_RANDOMIZE = 0x0040000
TIMEOUT = 7200  # seconds for each kernel
ROUNDS = 3
TRACERS = ("untraced", "mnttrace", "bpftrace", "mountsnoop (libbpf)", "strace -f")
WORKLOADS = [
    Workload("mount and umount, private", "pairs", 1000, PRIVATE),
    Workload("mount and umount, 6 receivers", "pairs", 500, receivers(6)),
    Workload("mount and umount, 60 receivers", "pairs", 100, receivers(60)),
    Workload("new namespace of 30 mounts", "births", 10),
    Workload("recursive bind of 100 mounts", "rbind", 10, tree(100)),
    Workload("container: runc", "containers", 4, runtime="runc"),
    Workload("fork and exec", "processes", 40),
    Workload("open, read, close", "files", 20_000),
]


def wanted(only: str) -> list[Workload]:
    return [workload for workload in WORKLOADS if only in workload.name]


def inside(only: str, wanted_tracers: str, file: Path) -> None:
    """Measure, within a guest; the figures go to a file."""
    asked = wanted_tracers.split("/")
    tracers = [name for name in TRACERS if name in asked and name not in missing()]
    # Else each process of Python takes another way through its memory.
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)
    os.environ["PYTHONHASHSEED"] = "0"
    # What is compiled at the first start is kept.
    measure(replace(WORKLOADS[0], times=1), 1, ["untraced", "mnttrace"], "used")
    found = {}
    for workload in wanted(only):
        found[workload.name] = measure(workload, ROUNDS, tracers, "used")
        file.write_text(json.dumps(found))


def cells(workload: Workload, figures: dict[str, list[float]]) -> list[str]:
    """A row: instructions an operation, then each tracer's ratios."""
    base = figures["untraced"]
    row = [workload.name, f"{statistics.median(base) / workload.times * 1e9:,.0f}"]
    for tracer in TRACERS[1:]:
        ratios = [one / plain for one, plain in zip(figures.get(tracer, []), base, strict=False)]
        if ratios:
            spread = f"{min(ratios):.3f}–{max(ratios):.3f}"
            row.append(f"{statistics.median(ratios):.3f} ({spread})")
        else:
            row.append("–")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernels", nargs="*", default=KERNELS)
    parser.add_argument("--only", default="")
    parser.add_argument("--tracers", default="/".join(TRACERS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        inside(asked.only, asked.tracers, asked.inside)
        return
    in_own_mounts()
    archive = Archive(Path.home() / ".cache/mnttrace-kernels")
    qemu = archive.qemu(X86.package)
    words = ["-m", "benchmarks.instructions", "--only", asked.only, "--tracers", asked.tracers]
    words += ["--inside", "/mnt/figures.json"]
    # Programs that a run before has compiled are kept.
    command = f"MNTTRACE_CACHE=/mnt/kept PYTHONPATH=$PWD .venv/bin/python {shlex.join(words)}"
    all_figures = {}
    for version in asked.kernels:
        guest = Guest(X86, qemu, archive.kernel(version), counts=True)
        results = CHECKOUT / ".kernels" / f"{version}-instructions"
        results.mkdir(parents=True, exist_ok=True)
        file = results / "figures.json"
        file.unlink(missing_ok=True)
        [outcome] = guest.run({"instructions": command}, results, TIMEOUT)
        figures = json.loads(file.read_text()) if file.exists() else {}
        heads = [guest.release, "instructions", *TRACERS[1:]]
        print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for workload in wanted(asked.only):
            if workload.name in figures:
                print("| " + " | ".join(cells(workload, figures[workload.name])) + " |", flush=True)
        if outcome.status:
            sys.exit(f"{guest.release}: {(results / 'instructions.txt').read_text()}")
        all_figures[guest.release] = figures
    if asked.json:
        asked.json.write_text(json.dumps(all_figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
