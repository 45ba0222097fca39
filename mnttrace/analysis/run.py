# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What the functions of this package need of a recording: its frames, and what meta.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pandas as pd


class Run(Protocol):
    """A recording, or a part of one; :class:`mnttrace.analysis.recording.Recording` is one.

    Attributes:
        directory: NAME.mnttrace.
        meta: what meta.json says.
        warnings: what the recording lacks, as sentences.
    """

    directory: Path
    meta: dict[str, Any]
    warnings: list[str]

    @property
    def whole(self) -> Run:
        """The recording that this is a part of, or itself."""

    def chosen(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame of the whole recording that belong to this part."""

    # The tables that were recorded.

    @property
    def operations(self) -> pd.DataFrame:
        """The traced calls."""

    @property
    def effects(self) -> pd.DataFrame:
        """What happened to mounts."""

    @property
    def mounts(self) -> pd.DataFrame:
        """Mount tables, as changes."""

    @property
    def snapshots(self) -> pd.DataFrame:
        """When mount tables were read."""

    @property
    def namespaces(self) -> pd.DataFrame:
        """The mount namespaces, one row each."""

    @property
    def processes(self) -> pd.DataFrame:
        """The processes that made operations."""

    @property
    def users(self) -> pd.DataFrame:
        """Which processes used what could not be unmounted."""

    # The frames that follow from them.

    @property
    def propagations(self) -> pd.DataFrame:
        """The copies that operations made elsewhere."""

    @property
    def leaks(self) -> pd.DataFrame:
        """What reached other namespaces."""

    @property
    def doublings(self) -> pd.DataFrame:
        """Binds that grow."""

    @property
    def lost_mounts(self) -> pd.DataFrame:
        """What was taken from namespaces by what was done elsewhere."""

    @property
    def reasons(self) -> pd.DataFrame:
        """Why operations failed."""

    @property
    def refusals(self) -> pd.DataFrame:
        """What was refused, and why."""
