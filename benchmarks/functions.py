#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""In which functions of the kernel a recording costs those who mount their time, by perf.

    sudo .venv/bin/python benchmarks/functions.py [--pairs N] [--receivers N]

A loop mounts and unmounts under perf's clock, untraced and while everything is recorded, with the
recorder stopped, so that what is seen is the kernel's own. The share of each function, times how
long a pair took, is compared; functions are put together by what they do. Prints Markdown. Needs
perf.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

from parts import PARTS, PRIVATE
from places import machine, receivers, within
from workloads import NAMED

ALONE, RECORDED = "untraced", "everything and the recorder stopped"
# The first that fits.
GROUPS = {
    "events of fanotify": r"fanotify|fsnotify",
    "programs read the kernel's memory": r"probe_read_kernel|from_kernel_nofault",
    "programs read the caller's memory": r"probe_read_user|strncpy_from_user|from_user_nofault",
    "records go to the ring": r"ringbuf",
    "maps are looked up": r"htab|lookup_nulls|pcpu_freelist|array_map|lru",
    "programs themselves": r"bpf_prog_|^bpf_|bpf_trace",
    "system calls come by probes": r"trace_call_bpf|perf_syscall|perf_trace|syscall_(exit|trace)",
}
REST = "all else, as caches and noise"
LEAST = 0.1  # µs, to be told by name


def timed(part: str, pairs: int) -> tuple[float, Counter[str]]:
    """µs a pair, and how much of them is of which function."""
    with PARTS[part]():
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGSTOP)  # until perf is there
            begun = time.perf_counter()
            NAMED["pairs"](pairs)
            with open("took", "w") as took:
                took.write(str((time.perf_counter() - begun) / pairs * 1e6))
            os._exit(0)
        os.waitpid(child, os.WUNTRACED)
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-o", "perf.data"]
        perf = subprocess.Popen([*command, "-p", str(child)])
        while not os.path.exists("perf.data") or not os.path.getsize("perf.data"):
            time.sleep(0.01)
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)
        perf.wait()
    with open("took") as took:
        microseconds = float(took.read())
    report = ["perf", "report", "-i", "perf.data", "--stdio", "--sort", "symbol"]
    told = subprocess.run(
        [*report, "-F", "period,symbol"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    os.unlink("perf.data")
    found = Counter[str]()
    for period, name in re.findall(r"^ *(\d+) +\[[k.]\] (\S+)", told, re.MULTILINE):
        # Programs have a tag that differs from kernel to kernel.
        found[re.sub(r"^bpf_prog_[0-9a-f]{16}_", "bpf_prog_", name)] += int(period)
    whole = found.total()
    return microseconds, Counter({name: n / whole * microseconds for name, n in found.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--receivers", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        json.dump([timed(part, asked.pairs) for part in (ALONE, RECORDED)], sys.stdout)
        return
    print(", ".join(f"{name} {fact}" for name, fact in machine().items()))
    prepare = receivers(asked.receivers) if asked.receivers else PRIVATE
    told = within(prepare, __file__, ["--inside", "--pairs", str(asked.pairs)])
    (alone, before), (recorded, after) = json.loads(told.splitlines()[-1])
    more = {name: after.get(name, 0) - before.get(name, 0) for name in before.keys() | after.keys()}
    print(f"\nA pair took {alone:.1f} µs untraced and {recorded:.1f} recorded.\n")
    print(f"| what | µs a pair more | of which, from {LEAST} µs on |\n|---|---|---|")
    groups: dict[str, dict[str, float]] = {group: {} for group in [*GROUPS, REST]}
    for name, microseconds in more.items():
        fitting = (group for group, pattern in GROUPS.items() if re.search(pattern, name))
        groups[next(fitting, REST)][name] = microseconds
    for group, members in groups.items():
        named = sorted(members.items(), key=lambda one: -one[1])
        parts = [f"{name} {value:.1f}" for name, value in named if value >= LEAST]
        shown = ", ".join(parts) if group != REST else ""
        print(f"| {group} | {sum(members.values()):.1f} | {shown} |")


if __name__ == "__main__":
    main()
