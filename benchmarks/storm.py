#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Whether a recorder grows with the length of what it records, and what kernel memory it needs.

    sudo .venv/bin/python benchmarks/storm.py [--seconds 600] [--pace 1000] [--loops 1]
        [--births 10]

Loops mount and unmount a tmpfs under a shared mount with six receiving namespaces, at a pace
together or as fast as they can (0), and beside them mount namespaces are made that end at once,
while everything is recorded. Prints Markdown: the most memory of the recorder, of the process that
copies the kernel's buffers, and of the kernel on behalf of both, as time goes; then the counts.

The recorder is in a memory cgroup of its own and what it records is not, so that kernel memory is
that of its programs, maps and events: `memory.kmem.usage_in_bytes`, or `kernel` in `memory.stat`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from overhead import MNTTRACE
from places import machine, receivers, within

LOOP = """
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
target, pace, seconds, made = sys.argv[1].encode(), float(sys.argv[2]), float(sys.argv[3]), 0
start = time.monotonic()
while (now := time.monotonic() - start) < seconds:
    if pace and made > now * pace:
        time.sleep(made / pace - now)
    if libc.mount(b"bench", target, b"tmpfs", 0, None) or libc.umount2(target, 0):
        sys.exit(f"errno {ctypes.get_errno()}")
    made += 1
"""
# loops, pace of each, seconds, seconds between births or 0; where others' processes belong
RECORDED = """
for place in $5; do echo $$ >$place/cgroup.procs; done
for i in $(seq $1); do python3 loop.py place/x$i $2 $3 & children="$children $!"; done
[ $4 = 0 ] || (while sleep $4; do unshare -m true; done) & births=$!
wait $children; kill $births; wait
"""
SHOWN = 10  # moments in the table
MB = 1 << 20


class Sample(NamedTuple):
    """Memory in bytes at some seconds from the beginning."""

    at: float
    recorder: int
    copier: int
    kernel: int


def kernel_memory(cgroup: Path) -> Callable[[], int]:
    """What asks for the kernel memory of a cgroup, in bytes."""
    first = cgroup / "memory.kmem.usage_in_bytes"
    if first.exists():
        return lambda: int(first.read_text())

    def second() -> int:
        lines = (cgroup / "memory.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("kernel "))

    return second


def anonymous(pid: int) -> int:
    """Bytes of a process's own memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def copier_of(pid: int) -> int:
    """The recorder's child that copies: the one with its command line."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    same = [int(c) for c in children if Path(f"/proc/{c}/cmdline").read_bytes() == command]
    return same[0]


def inside(loops: int, pace: float, seconds: float, births: float, cgroup: Path) -> None:
    """Record one storm in this mount namespace; what came of it as JSON on stdout."""
    Path("loop.py").write_text(LOOP)
    Path("recorded").write_text(RECORDED)
    for number in range(loops):
        Path(f"place/x{number + 1}").mkdir()
    words = [str(loops), str(pace / loops), str(seconds), str(1 / births if births else 0)]
    command = [*MNTTRACE, "--", "sh", "recorded", *words, str(cgroup.parent)]
    join = f'echo $$ >{cgroup}/cgroup.procs; exec "$@"'
    recorder = subprocess.Popen(["sh", "-c", join, "sh", *command])
    usage = kernel_memory(cgroup)
    children = Path(f"/proc/{recorder.pid}/task/{recorder.pid}/children")
    while len(children.read_text().split()) < 2:  # the copier and what is recorded
        time.sleep(0.1)
    start, copier = time.monotonic(), copier_of(recorder.pid)
    samples: list[Sample] = []
    while recorder.poll() is None:
        try:
            memory = anonymous(recorder.pid), anonymous(copier)
        except FileNotFoundError:
            break
        samples.append(Sample(time.monotonic() - start, *memory, usage()))
        time.sleep(0.05)
    if recorder.wait():
        sys.exit(f"the recorder ended with {recorder.returncode}")
    losses = json.loads(Path("run.mnttrace/meta.json").read_text())["losses"]
    print(json.dumps({"losses": losses, "samples": samples}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument(
        "--pace", type=float, default=1000, help="pairs a second, all loops together"
    )
    parser.add_argument("--loops", type=int, default=1)
    parser.add_argument("--births", type=float, default=10, help="mount namespaces a second")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        inside(asked.loops, asked.pace, asked.seconds, asked.births, asked.inside)
        return
    print(", ".join(f"{name} {fact}" for name, fact in machine().items()))
    from tests.runtimes.runtimes import own_cgroups

    with own_cgroups() as cgroups:
        [own] = [p for p in cgroups.split() if (Path(p) / "memory.stat").exists()]
        told = json.loads(
            within(receivers(6), __file__, [*sys.argv[1:], "--inside", own]).splitlines()[-1]
        )
    samples = [Sample(*sample) for sample in told["samples"]]
    heads = ["second", "recorder, MB", "copier, MB", "kernel, MB"]
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for number in range(SHOWN):
        part = samples[number * len(samples) // SHOWN : (number + 1) * len(samples) // SHOWN]
        if part:
            most = [max(column) / MB for column in list(zip(*part, strict=True))[1:]]
            print(f"| to {part[-1].at:.0f} | " + " | ".join(f"{one:.1f}" for one in most) + " |")
    print({kind: count for kind, count in told["losses"].items() if count})


if __name__ == "__main__":
    main()
