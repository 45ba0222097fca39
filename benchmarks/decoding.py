#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Whether mounts that the kernel listed are decoded sooner by numpy than by struct.

    .venv/bin/python benchmarks/decoding.py [--lists 20000] [--mounts 7] [--rounds 7]

Lists of so many mounts, as a call sends them that made one mount and six copies, are decoded one by
one with struct, as the recorder does, and all at once with numpy: as an array, and with an object
for each mount as the rest of the recorder wants them. Both have to give the same. Prints Markdown:
the least of all rounds, and its ratio to struct.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mnttrace.probes.records import (
    MOUNT_ENTRY,
    MOUNT_ENTRY_SIZE,
    MOUNTS_RECORD_SIZE,
    MountEntry,
)

CODE = re.compile(r"([0-9]*)([A-Za-z])")


def by_struct(records: list[bytes], mounts: int) -> list[Any]:
    return [
        entry
        for raw in records
        for entry in MountEntry.unpack_many(raw, MOUNTS_RECORD_SIZE, mounts)
    ]


def as_array(records: list[bytes]) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join([raw[MOUNTS_RECORD_SIZE:] for raw in records]), entry_type())


def by_numpy(records: list[bytes], make: Callable[[Any], Any]) -> list[Any]:
    return list(map(make, as_array(records).tolist()))


def entry_type() -> np.dtype[Any]:
    """The struct as numpy has it; text as bytes that keep their zeros."""
    codes: list[str] = []
    for number, code in CODE.findall(MOUNT_ENTRY.format):
        codes += [f"V{number}"] if code == "s" else [code] * int(number or 1)
    return np.dtype(list(zip(MountEntry._fields, codes, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=int, default=20_000)
    parser.add_argument("--mounts", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    size = MOUNTS_RECORD_SIZE + asked.mounts * MOUNT_ENTRY_SIZE
    records = [os.urandom(size) for _ in range(asked.lists)]
    make = MountEntry._make
    assert by_struct(records, asked.mounts) == by_numpy(records, make), "they differ"
    ways: dict[str, Callable[[], object]] = {
        "struct, a named tuple for each mount": lambda: by_struct(records, asked.mounts),
        "numpy, the same": lambda: by_numpy(records, make),
        "numpy, an array alone": lambda: as_array(records),
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(asked.rounds):
        for name, decode in ways.items():
            start = time.perf_counter()
            decode()
            least[name] = min(least[name], time.perf_counter() - start)
    first = next(iter(least.values()))
    print(f"| {asked.lists * asked.mounts:,} mounts in {asked.lists:,} lists | s | ratio |")
    print("|---|---|---|")
    for name, seconds in least.items():
        print(f"| {name} | {seconds:.3f} | {seconds / first:.2f} |")


if __name__ == "__main__":
    main()
