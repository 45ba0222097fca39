# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""mnttrace: which mounts leaked across mount namespaces, through which peer group, by whom.

import mnttrace
run = mnttrace.load("run.mnttrace")
run.leaks
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from mnttrace.analysis.recording import Recording

__all__ = ["compare", "load"]
__version__ = "0.1.0"


def load(directory: Path | str) -> Recording:
    """A recording, for analysis; its tables are read when they are asked for.

    Args:
        directory: NAME.mnttrace, finished or still being written.

    Raises:
        RecordingError: it is not a recording, or of a version that this mnttrace does not know.
    """
    from mnttrace.analysis.recording import Recording

    if "IPython" in sys.modules:
        from mnttrace.report.notebook import show_answers

        show_answers()
    return Recording(directory)


def compare(before: Recording, after: Recording) -> pd.DataFrame:
    """Which leaks are new, gone or the same, see :mod:`mnttrace.analysis.query.compare`."""
    from mnttrace.analysis.query.compare import compare

    return compare(before, after)
