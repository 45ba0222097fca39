# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Why an operation was refused, and what can be done, as lines."""

from __future__ import annotations

from collections.abc import Iterator

from mnttrace.analysis.dataframes import Row
from mnttrace.report.remedies import Remedies
from mnttrace.report.text import safe


def because(row: Row) -> str:
    """The reason, with what is in the way.

    Args:
        row: of `run.reasons`.
    """
    way = f": {safe(row['in_the_way'])}" if row["in_the_way"] else ""
    return f"{safe(row['reason'])}{way}"


def advice(row: Row, remedies: Remedies) -> Iterator[str]:
    """What can be done; commands begin with four spaces.

    Args:
        row: of `run.reasons`.
        remedies: of the recording.
    """
    if row["advice"]:
        yield f"{safe(row['advice'])}{':' if len(row['commands']) else ''}"
    for command in row["commands"]:
        yield f"    {remedies.there(command['words'], command['ns_id'])}"
