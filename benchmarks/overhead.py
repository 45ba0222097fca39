#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What it costs others to be traced, by mnttrace and by what people would use instead.

    sudo .venv/bin/python benchmarks/overhead.py [--rounds N] [--only WORKLOAD] [--json FILE]

Each round runs every workload once untraced and once with each tracer, in an order that changes
from round to round; a figure is the median of the rounds' ratios to the untraced run of the same
round. Tracers that this machine has not are left out, with the reason; MNTTRACE_BEFORE is another
checkout, whose mnttrace is measured, too. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from places import beside, machine, receivers, tree, within

HERE = Path(__file__).parent
MNTTRACE = [sys.executable, "-m", "mnttrace", "record", "--force", "-o", "run.mnttrace"]
BEFORE = os.environ.get("MNTTRACE_BEFORE", "")
CALLS = "mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick"
CALLS = f"{CALLS} mount_setattr setns unshare clone clone3"
# As one would write it: who did what where, and how it ended.
BPFTRACE = 'BEGIN { printf("armed\\n"); }\n' + "\n".join(
    f"tracepoint:syscalls:sys_enter_{name} "
    f'{{ printf("%llu %d %s {name}\\n", nsecs, tid, comm); }}\n'
    f'tracepoint:syscalls:sys_exit_{name} {{ printf("%llu %d %d\\n", nsecs, tid, args->ret); }}'
    for name in CALLS.replace("umount2", "umount").split()
)
BPFTRACE = BPFTRACE.replace(
    'sys_enter_mount { printf("%llu %d %s mount\\n", nsecs, tid, comm);',
    'sys_enter_mount { printf("%llu %d %s mount %s %s %s %lx\\n", nsecs, tid, comm, '
    "str(args->dev_name), str(args->dir_name), str(args->type), args->flags);",
)


@dataclass(frozen=True)
class Workload:
    """Something to be timed.

    Attributes:
        name: how it is called.
        what: of workloads.py.
        times: how often.
        prepare: shell text, in its mount namespace.
        runtime: of containers, one of tests/runtimes.
    """

    name: str
    what: str
    times: int
    prepare: str = ""
    runtime: str = ""


PRIVATE = "mount -t tmpfs --make-private place place; mkdir place/x"
WORKLOADS = [
    Workload("mount and umount, private", "pairs", 20_000, PRIVATE),
    Workload("mount and umount, 6 receivers", "pairs", 10_000, receivers(6)),
    Workload("mount and umount, 200 receivers", "pairs", 1000, receivers(200)),
    Workload("new namespace of 30 mounts", "births", 100),
    Workload("new namespace of 300 mounts", "births", 60, tree(275)),
    Workload("recursive bind of 500 mounts", "rbind", 30, tree(500)),
    Workload("container: runc", "containers", 20, runtime="runc"),
    Workload("container: podman", "containers", 10, runtime="podman"),
    Workload("fork and exec", "processes", 400),
    Workload("open, read, close", "files", 100_000),
    Workload("getppid", "calls", 2_000_000),
]


@contextmanager
def nothing() -> Iterator[list[str]]:
    yield []


@contextmanager
def background(command: list[str], armed: str = "") -> Iterator[list[str]]:
    """A tracer beside the workload, which writes to a file; it says `armed` once it traces."""
    said = Path("tracer.out")
    with said.open("wb") as out:
        process = subprocess.Popen(["stdbuf", "-oL", *command], stdout=out, stderr=out)
        try:
            while armed.encode() not in said.read_bytes()[:4096]:
                if process.poll() is not None:
                    sys.exit(f"{command[0]}: {said.read_text(errors='replace')[:1000]}")
                time.sleep(0.01)
            yield []
        finally:
            process.terminate()
            process.wait()


TRACERS = {
    "untraced": nothing,
    "mnttrace": lambda: prefix([*MNTTRACE, "--"]),
    "mnttrace before": lambda: prefix(["env", f"PYTHONPATH={BEFORE}", *MNTTRACE, "--"]),
    "mnttrace, calls alone": lambda: prefix([*MNTTRACE, "--backend", "syscalls", "--"]),
    "mnttrace --compat": lambda: prefix([*MNTTRACE, "--compat", "--"]),
    "bpftrace": lambda: background(["bpftrace", "-B", "line", "-e", BPFTRACE], "armed"),
    "mountsnoop (libbpf)": lambda: background(["mountsnoop"], "COMM"),
    "strace -f": lambda: prefix(["strace", "-f", "-o", "/dev/null", "-e", "trace=" + CALLS_SET]),
    "findmnt --poll": lambda: background(["findmnt", "--poll"]),
}
CALLS_SET = CALLS.replace(" ", ",")


@contextmanager
def prefix(command: list[str]) -> Iterator[list[str]]:
    """A tracer that starts the workload itself."""
    yield command


def missing() -> dict[str, str]:
    """Tracers that are not here."""
    needs = {"bpftrace": "bpftrace", "mountsnoop (libbpf)": "mountsnoop", "strace -f": "strace"}
    needs["findmnt --poll"] = "findmnt"
    absent = {name: f"no {tool}" for name, tool in needs.items() if not shutil.which(tool)}
    return absent if BEFORE else absent | {"mnttrace before": "MNTTRACE_BEFORE is not set"}


def timed(what: str, times: int, tracer: str, clock: str) -> float:
    """Seconds of a workload's loop under a tracer, by a clock of workloads.py: took or used."""
    script = [sys.executable, str(HERE / "workloads.py"), what, str(times)]
    with TRACERS[tracer]() as before:
        done = subprocess.run([*before, *script], capture_output=True, text=True, check=False)
    told = [line for line in done.stdout.splitlines() if line.startswith(f"{clock} ")]
    if done.returncode or not told:
        sys.exit(f"{what} under {tracer}: status {done.returncode}\n{done.stderr}")
    return float(told[0].split()[1])


def inside(what: str, times: int, rounds: int, tracers: list[str], clock: str) -> None:
    """Measure one workload, in its mount namespace; the figures as JSON on stdout."""
    found: dict[str, list[float]] = {tracer: [] for tracer in tracers}
    for number in range(rounds):
        order = list(tracers)
        random.Random(number).shuffle(order)
        for tracer in order:
            found[tracer].append(timed(what, times, tracer, clock))
    print(json.dumps(found))


def measure(
    workload: Workload, rounds: int, tracers: list[str], clock: str = "took"
) -> dict[str, list[float]]:
    """Seconds of each round, by tracer."""
    words = ["--inside", workload.what, str(workload.times), "--rounds", str(rounds)]
    words += ["--tracers", "/".join(tracers), "--clock", clock]
    if workload.runtime:
        told = beside(workload.runtime, __file__, words)
    else:
        told = within(workload.prepare, __file__, words)
    figures: dict[str, list[float]] = json.loads(told.splitlines()[-1])
    return figures


def row(workload: Workload, figures: dict[str, list[float]]) -> list[str]:
    base = figures["untraced"]
    cells = [workload.name, f"{statistics.median(base) / workload.times * 1e6:,.1f}"]
    for tracer, seconds in figures.items():
        if tracer != "untraced":
            ratios = [one / plain for one, plain in zip(seconds, base, strict=True)]
            spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
            cells.append(f"{statistics.median(ratios):.2f} ({spread})")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tracers", default="")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--clock", default="took", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    absent = missing()
    names = asked.tracers.split("/") if asked.tracers and not asked.inside else list(TRACERS)
    tracers = [name for name in names if name not in absent]
    if asked.inside:
        what, times = asked.inside
        inside(what, int(times), asked.rounds, asked.tracers.split("/"), asked.clock)
        return
    facts = machine()
    print(", ".join(f"{name} {fact}" for name, fact in facts.items()))
    for name, why in absent.items():
        print(f"not measured: {name} ({why})")
    heads = ["workload", "untraced, µs", *(name for name in tracers if name != "untraced")]
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    told = []
    for workload in WORKLOADS:
        if asked.only in workload.name:
            figures = measure(workload, asked.rounds, tracers)
            print("| " + " | ".join(row(workload, figures)) + " |", flush=True)
            told.append(asdict(workload) | {"seconds": figures})
    if asked.json:
        asked.json.write_text(json.dumps({"machine": facts, "workloads": told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
