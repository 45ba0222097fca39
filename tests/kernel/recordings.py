# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Recordings of shell scripts, each made in a mount namespace of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from mnttrace.analysis.recording import Recording
from mnttrace.linux.mountinfo import Mount, parse

Record = Callable[..., "Recorded"]


class Recorded:
    """A recording, without what others did to mounts on this machine meanwhile."""

    def __init__(self, folder: Path, output: str) -> None:
        self.folder = folder
        self.output = output
        self.run = Recording(folder / "run.mnttrace")
        self.home = self.run.meta["home_ns_id"]
        self.namespaces = {self.home}
        made = self.run.namespaces.dropna(subset=["parent_ns_id"])
        parents = dict(zip(made["ns_id"], made["parent_ns_id"], strict=True))
        # One can be written before the one that it was made from.
        while new := {ns for ns, parent in parents.items() if parent in self.namespaces} - (
            self.namespaces
        ):
            self.namespaces |= new

    def rows(self, table: str, **wanted: object) -> list[dict[str, Any]]:
        """The rows of a table, None for what is missing, whose columns are as wanted."""
        frame = getattr(self.run, table)
        column = "src_ns_id" if "src_ns_id" in frame else "ns_id"
        frame = frame[frame[column].isin(self.namespaces)]
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        return [row for row in rows if all(row[name] == value for name, value in wanted.items())]

    def table(self, name: str) -> list[Mount]:
        """A mountinfo that the script saved, or [] where it saved none."""
        file = self.folder / name
        return parse(file.read_text(errors="surrogateescape"), name) if file.exists() else []

    def frame(self, table: str) -> pd.DataFrame:
        return getattr(self.run, table)  # type: ignore[no-any-return]
