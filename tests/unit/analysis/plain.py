# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Synthetic recordings, and mount tables worked out row by row with dictionaries alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mnttrace.analysis.recording import Recording
from tests import CHECKOUT

GENERATOR = CHECKOUT / "benchmarks" / "synthetic.py"
Row = dict[str, Any]
Tables = dict[int, Row]  # by unique id
SHOWN = ("ns_id", "mount_id", "parent_id", "mountpoint", "root", "device", "shared", "master")


def make(directory: Path, operations: int, namespaces: int) -> Recording:
    size = ["--operations", str(operations), "--namespaces", str(namespaces)]
    subprocess.run([sys.executable, GENERATOR, directory, *size], check=True)
    return Recording(directory)


def rows(run: Recording, table: str) -> list[Row]:
    frame = getattr(run, table)
    return frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[no-any-return]


def first_tables(run: Recording) -> Tables:
    start = {row["snapshot"] for row in rows(run, "snapshots") if row["reason"] == "start"}
    return {row["mnt_id_unique"]: row for row in rows(run, "mounts") if row["snapshot"] in start}


def last_tables(run: Recording) -> Tables:
    found: Tables = {}
    for row in rows(run, "mounts"):
        if row["change"] == "removed":
            del found[row["mnt_id_unique"]]
        else:
            found[row["mnt_id_unique"]] = row
    return found


def replayed(run: Recording) -> Iterator[tuple[Row, Tables]]:
    """Each effect, and the tables after it; the same dictionary, changed from one to the next."""
    tables = first_tables(run)
    for effect in rows(run, "effects"):
        unique = effect["mnt_id_unique"]
        if effect["action"] == "detach":
            del tables[unique]
        else:
            before = tables.get(unique)
            assert (effect["action"] == "attach") == (before is None), effect
            tables[unique] = effect | {"options": _options(effect, before)}
            if before:
                _take_along(tables, before, effect)
        yield effect, tables


def shown(tables: Tables) -> set[tuple[Any, ...]]:
    return {tuple(row[name] for name in SHOWN) for row in tables.values()}


def told(tables: pd.DataFrame, names: list[str]) -> set[tuple[Any, ...]]:
    wanted = tables[names]
    filled = wanted.astype(object).where(wanted.notna(), None)
    return set(filled.itertuples(index=False, name=None))


def _options(effect: Row, before: Row | None) -> str | None:
    if effect["after"] and effect["action"] != "move":
        return str(effect["after"].split(" ")[-1])
    return before["options"] if before else None


def _take_along(tables: Tables, before: Row, after: Row) -> None:
    """What is below a mount that was moved comes to lie below where it is now."""
    below = [before["mount_id"]]
    for parent in below:  # grows meanwhile
        for unique, row in tables.items():
            is_child = row["parent_id"] == parent and row["ns_id"] == after["ns_id"]
            if is_child and row["mount_id"] != parent:
                beginning = before["mountpoint"].rstrip("/")
                path = row["mountpoint"]
                if before["mountpoint"] != after["mountpoint"] and path.startswith(beginning):
                    path = after["mountpoint"].rstrip("/") + path[len(beginning) :]
                tables[unique] = row | {"mountpoint": path or "/"}
                below.append(row["mount_id"])
