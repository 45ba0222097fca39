# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Pictures of a recording, with Altair: shown in a notebook, or saved as PNG, SVG or HTML."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from mnttrace.analysis.run import Run
from mnttrace.errors import MissingPrerequisite

if TYPE_CHECKING:
    import altair as alt


class Plots:
    """The pictures of a recording.

    Each is an Altair chart of at most `parts.MOST_MARKS` marks, however long the recording is: what
    is beyond that is counted together, and the subtitle says so. The subtitle also says what the
    recording lost of what is shown. Times are UTC.

    Args:
        run: the recording.

    Raises:
        MissingPrerequisite: Altair is not installed.
    """

    def __init__(self, run: Run) -> None:
        if importlib.util.find_spec("altair") is None:
            raise MissingPrerequisite(
                "pictures need the package altair", "pip install 'mnttrace[notebooks]'"
            )
        self._run = run

    def timeline(self) -> alt.LayerChart:
        """The operations over time, a lane a mount namespace; arrows are propagated mounts.

        Raises:
            RecordingError: a table cannot be read.
        """
        from mnttrace.analysis.plots.timeline import timeline

        return timeline(self._run)

    def graph(self, seq: int | None = None) -> alt.LayerChart:
        """The mounts that peer groups and masters join, a column a mount namespace.

        Args:
            seq: number of an operation: the mounts are shown as they were when it had ended (if
                it unmounted, before it began), and the route of its copies is highlighted. Without
                it they are shown as they were at the end of the recording, or of their namespace.

        Raises:
            BadInput: nothing that the operation did was propagated.
            RecordingError: a table cannot be read.
        """
        from mnttrace.analysis.plots.graph import graph

        return graph(self._run, seq)

    def heatmap(self) -> alt.LayerChart:
        """How many mounts were propagated, from which mount namespace to which.

        Raises:
            RecordingError: a table cannot be read.
        """
        from mnttrace.analysis.plots.heatmap import heatmap

        return heatmap(self._run)

    def growth(self) -> alt.LayerChart:
        """How many mounts each mount namespace had, over time.

        Raises:
            RecordingError: a table cannot be read.
        """
        from mnttrace.analysis.plots.growth import growth

        return growth(self._run)

    def latency(self) -> alt.LayerChart:
        """How long calls took, by syscall; failed ones have rows of their own.

        Raises:
            RecordingError: a table cannot be read.
        """
        from mnttrace.analysis.plots.latency import latency

        return latency(self._run)
