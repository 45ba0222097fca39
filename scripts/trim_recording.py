#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Takes what others did and have on this machine out of a recording, for one that is to be kept.

    .venv/bin/python scripts/trim_recording.py RECORDING [PATH…]

What remains are the namespace that it was recorded in and those that were made from it, in the
recording's own format; of these, mounts at a PATH or below it go, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def lineage(namespaces: list[dict[str, Any]], home: int) -> set[int]:
    """A namespace and those that were made from it, by their unique ids."""
    found = {home}
    for row in namespaces:  # a namespace comes after the one that it was made from
        if row["parent_ns_id"] in found:
            found.add(row["ns_id"])
    return found


def main() -> None:
    """Trim the recording in place."""
    recording, paths = Path(sys.argv[1]), sys.argv[2:]
    home = json.loads((recording / "meta.json").read_text())["home_ns_id"]
    kept = lineage(pq.read_table(recording / "namespaces.parquet").to_pylist(), home)
    for file in recording.glob("*.parquet"):
        table = pq.read_table(file)
        if "ns_id" in table.column_names:
            mask = [value in kept for value in table["ns_id"].to_pylist()]
            table = table.filter(pa.array(mask, pa.bool_()))
        if "mountpoint" in table.column_names:
            for path in paths:
                is_there = pc.equal(table["mountpoint"], path)
                is_below = pc.starts_with(table["mountpoint"], path + "/")
                table = table.filter(pc.invert(pc.or_(is_there, is_below)))
        pq.write_table(table, file)


main()
