#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What each part of a recording costs those who mount: probes, programs, fanotify, the recorder.

    sudo .venv/bin/python benchmarks/parts.py [--rounds N] [--times N] [--parts PART,…]

Each round mounts and unmounts under each of these, in an order that changes from round to round; a
figure is the median of the rounds' differences to the untraced loop of the same round, or the
difference between the least of all rounds. Prints Markdown. Needs bpftrace.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from overhead import CALLS, MNTTRACE, background, nothing
from places import machine, receivers, within
from workloads import NAMED

from mnttrace.linux.fanotify import MountGroup

PRIVATE = "mount -t tmpfs --make-private place place; mkdir place/x"
# What prepares each, and how many times fewer pairs it takes for as long a loop.
PLACES = {
    "private": (PRIVATE, 1),
    "6 receivers": (receivers(6), 2),
    "60 receivers": (receivers(60), 8),
}
EMPTY = 'BEGIN { printf("armed\\n"); }\n' + "\n".join(
    f"tracepoint:syscalls:sys_{end}_{name} {{ }}"
    for name in CALLS.replace("umount2", "umount").split()
    for end in ("enter", "exit")
)


@contextmanager
def computing() -> Iterator[None]:
    """What any busy process does to others: it shares caches, and may share a core, with them."""
    text = "import json\nwhile True: json.loads(json.dumps(list(range(1000))))"
    process = subprocess.Popen([sys.executable, "-c", text])
    yield
    process.kill()
    process.wait()


@contextmanager
def fanotify(read: bool) -> Iterator[None]:
    """A group that is told of mounts in all namespaces; who reads it is another process."""
    group = MountGroup()
    for entry in Path().glob("ready.*"):
        group.mark(f"/proc/{entry.read_text().strip()}/ns/mnt")
    group.mark("/proc/self/ns/mnt")
    reader = os.fork() if read else 0
    if read and not reader:
        while True:
            group.read()
            time.sleep(0.02)
    yield
    if reader:
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
    group.close()


@contextmanager
def mnttrace(*options: str, stopped: bool = False) -> Iterator[None]:
    """A recorder beside it, which is stopped once it is armed, or runs."""
    command = [*MNTTRACE, *options, "--", "sh", "-c", "echo $$; exec sleep 1000"]
    recorder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert recorder.stdout
    recorded = int(recorder.stdout.readline())
    if stopped:
        os.kill(recorder.pid, signal.SIGSTOP)
    yield
    if stopped:
        recorder.kill()
    os.kill(recorded, signal.SIGTERM)
    recorder.communicate()


PARTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "untraced": nothing,
    "a process that computes beside it": computing,
    "probes that do nothing": lambda: background(["bpftrace", "-e", EMPTY], "armed"),
    "calls alone and the recorder stopped": lambda: mnttrace("--backend", "syscalls", stopped=True),
    "calls alone": lambda: mnttrace("--backend", "syscalls"),
    "fanotify that nobody reads": lambda: fanotify(read=False),
    "fanotify that is read": lambda: fanotify(read=True),
    "everything and the recorder stopped": lambda: mnttrace(stopped=True),
    "everything": mnttrace,
}


def inside(rounds: int, times: int, parts: list[str]) -> None:
    """Measure in this mount namespace; µs a pair of each round, by part, as JSON on stdout."""
    found: dict[str, list[float]] = {part: [] for part in parts}
    for number in range(rounds):
        order = list(parts)
        random.Random(number).shuffle(order)
        for part in order:
            with PARTS[part]():
                NAMED["pairs"](times // 10)
                start = time.monotonic()
                NAMED["pairs"](times)
                found[part].append((time.monotonic() - start) / times * 1e6)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=30_000)
    parser.add_argument("--parts", default=",".join(PARTS), help="untraced is one of them")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    parts = [part.strip() for part in asked.parts.split(",")]
    if asked.inside:
        inside(asked.rounds, asked.times, parts)
        return
    print(", ".join(f"{name} {fact}" for name, fact in machine().items()))
    words = ["--inside", "--parts", asked.parts, "--rounds", str(asked.rounds), "--times"]
    tables = {
        place: json.loads(
            within(prepare, __file__, [*words, str(asked.times // fewer)]).splitlines()[-1]
        )
        for place, (prepare, fewer) in PLACES.items()
    }
    heads = " | ".join(f"{place}, median | least" for place in PLACES)
    print(f"\n| µs a pair more than untraced | {heads} |")
    print("|---|" + "---|---|" * len(PLACES))
    for part in parts:
        cells = []
        for figures in tables.values():
            both = zip(figures[part], figures["untraced"], strict=True)
            more = statistics.median(one - plain for one, plain in both)
            least = min(figures[part]) - min(figures["untraced"])
            if part == "untraced":
                more, least = statistics.median(figures[part]), min(figures[part])
            cells.append(f"{more:.1f} | {least:.1f}")
        print(f"| {part} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
