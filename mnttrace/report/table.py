# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A frame as a table for terminals."""

from __future__ import annotations

from typing import TextIO

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnttrace.report.text import safe

_SHOWN = 1000  # rows


def render(frame: pd.DataFrame, file: TextIO) -> None:
    """Write a table, as wide as the terminal, or as wide as needed without one.

    Args:
        frame: up to 1000 rows of it are shown.
        file: the file to write.
    """
    console = Console(file=file, highlight=False)
    if not console.is_terminal:
        console.width = 100_000
    table = Table(box=SIMPLE_HEAD)
    for name, kind in frame.dtypes.items():
        right = pd.api.types.is_numeric_dtype(kind)
        table.add_column(Text(safe(name)), justify="right" if right else "left", overflow="fold")
    shown = frame.head(_SHOWN)
    # Cells become text column by column, so that times and numbers look as in pandas.
    columns = [shown[name].astype(str).where(shown[name].notna(), "") for name in shown]
    for row in zip(*columns, strict=True):
        table.add_row(*(Text(safe(cell)) for cell in row))
    console.print(table)
    if len(frame) > _SHOWN:
        console.print(f"{len(frame) - _SHOWN} more rows: --csv and --json have all of them")
