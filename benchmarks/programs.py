#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What each of the recorder's BPF programs takes of a mount and its umount.

    sudo .venv/bin/python benchmarks/programs.py [--receivers N] [--pairs N] [-- OPTION …]

The kernel counts how often each program ran and for how long (BPF_ENABLE_STATS), with those that it
goes on with by tail call, while mounts come and go as in overhead.py. Options go to mnttrace
record. Prints Markdown: nanoseconds, which are instructions where QEMU counts them as those (see
instructions.py).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from overhead import MNTTRACE, PRIVATE
from places import receivers, within
from workloads import pairs

# Of include/uapi/linux/bpf.h: commands of bpf(2), and members of struct bpf_prog_info.
NEXT_ID, BY_ID, INFO, ENABLE_STATS = 11, 13, 15, 32
NAME, TIME, RUNS, SIZE = 64, 192, 200, 208
BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)


class Ran(NamedTuple):
    """How long a program ran, in ns, and how often."""

    time: int
    runs: int


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """bpf(2): what it returns, and the attributes as it leaves them."""
    held = ctypes.create_string_buffer(attributes, 128)
    return libc.syscall(BPF, command, held, len(held)), held.raw


def programs() -> Iterator[tuple[str, Ran]]:
    """Those that are loaded, by name."""
    last = 0
    while True:
        result, after = bpf(NEXT_ID, struct.pack("=II", last, 0))
        if result:
            return
        last = struct.unpack_from("=I", after, 4)[0]
        descriptor, _ = bpf(BY_ID, struct.pack("=I", last))
        if descriptor < 0:
            continue
        info = ctypes.create_string_buffer(SIZE)
        bpf(INFO, struct.pack("=IIQ", descriptor, SIZE, ctypes.addressof(info)))
        os.close(descriptor)
        name = info.raw[NAME : NAME + 16].split(b"\0")[0].decode()
        yield name, Ran(*struct.unpack_from("=QQ", info.raw, TIME))


def inside(times: int) -> None:
    """Beside a recorder: what its programs took, as JSON."""
    pairs(max(1, times // 20))  # warm
    stats, _ = bpf(ENABLE_STATS, bytes(4))
    if stats < 0:
        sys.exit("the kernel does not count the time of programs (before 5.8)")
    pairs(times)
    found = {name: ran for name, ran in programs() if ran.runs}
    os.close(stats)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receivers", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("options", nargs="*")
    asked = parser.parse_args()
    words = ["--pairs", str(asked.pairs)]
    if asked.inside:
        inside(asked.pairs)
        return
    if asked.record:
        command = [*MNTTRACE, *asked.options, "--", sys.executable, __file__, "--inside", *words]
        subprocess.run(command, check=True)
        return
    place = receivers(asked.receivers) if asked.receivers else PRIVATE
    told = within(place, __file__, ["--record", *words, "--", *asked.options])
    [line] = [line for line in told.splitlines() if line.startswith("{")]
    found = {name: Ran(*ran) for name, ran in json.loads(line).items()}
    print("| program | runs a pair | ns a run | ns a pair |\n|---|---|---|---|")
    for name, ran in sorted(found.items(), key=lambda one: one[1].time, reverse=True):
        runs, each, whole = ran.runs / asked.pairs, ran.time / ran.runs, ran.time / asked.pairs
        print(f"| {name} | {runs:.1f} | {each:,.0f} | {whole:,.0f} |")
    print(f"| all | | | {sum(ran.time for ran in found.values()) / asked.pairs:,.0f} |")


if __name__ == "__main__":
    main()
