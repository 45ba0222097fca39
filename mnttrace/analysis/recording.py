# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A recording as pandas frames: each table is read when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mnttrace.analysis.dataframes import to_frame
from mnttrace.analysis.frames.losses import warnings
from mnttrace.analysis.query.selection import Selection
from mnttrace.analysis.query.targets import namespaces_of
from mnttrace.analysis.times import Moment, moment
from mnttrace.recording.reader import read_columns, read_meta

if TYPE_CHECKING:
    from mnttrace.analysis.crosscheck import CrossCheck
    from mnttrace.analysis.diagnosis.answers import Why
    from mnttrace.analysis.diagnosis.diagnosis import Diagnosis
    from mnttrace.analysis.diagnosis.otherwise import Otherwise
    from mnttrace.analysis.diagnosis.story import Story
    from mnttrace.analysis.diagnosis.what_if import WhatIf
    from mnttrace.analysis.plots import Plots
    from mnttrace.analysis.state.moments import History


class Recording:
    """A recording, finished or not, or a part of one (:meth:`between` and so on).

    All frames are read or made when they are first asked for, have no object columns, and have
    what the recording lacks in `frame.attrs["warnings"]`. The columns of tables are in
    `recording.schema.COLUMNS` and docs/columns.md, those of other frames with their functions.

    Args:
        directory: NAME.mnttrace.

    Attributes:
        directory: the same.
        meta: the contents of meta.json: host, kernel, start and stop, losses.
        warnings: what it lacks, and what is therefore not known, as sentences.

    Raises:
        RecordingError: not a recording, of a version that this mnttrace does not know, or a table
            of it is damaged (when that is asked for).
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.meta = read_meta(self.directory)
        self.warnings = warnings(self.meta)
        self._whole: Recording | None = None
        self._selection = Selection()

    def __repr__(self) -> str:
        """The directory, and the part."""
        part = "" if self._whole is None else f", part: {self._selection}"
        return f"<Recording {self.directory}{part}>"

    def _repr_html_(self) -> str:
        """A card for notebooks, see :mod:`mnttrace.analysis.summary`."""
        from mnttrace.analysis.summary import card

        return card(self)

    def table(self, name: str) -> pd.DataFrame:
        """One table of the recording, as it was written, whole."""
        return to_frame(read_columns(self.directory, name))

    # ---- the tables

    @cached_property
    def operations(self) -> pd.DataFrame:
        """The traced calls, in the order in which they ended."""
        return self._rows("operations")

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Each mount that was attached, detached, moved or changed, in every namespace."""
        return self._rows("effects")

    @cached_property
    def mounts(self) -> pd.DataFrame:
        """Mount tables: the first one of each namespace, and the changes from one to the next."""
        return self._rows("mounts")

    @cached_property
    def snapshots(self) -> pd.DataFrame:
        """When the mount tables were read."""
        return self._rows("snapshots")

    @cached_property
    def namespaces(self) -> pd.DataFrame:
        """The mount namespaces, with the name of the container, unit or process."""

        def make(whole: Recording) -> pd.DataFrame:
            found = whole.table("namespaces")
            return found.drop_duplicates("ns_id", keep="last").reset_index(drop=True)

        return self._rows("namespaces", make)

    @cached_property
    def processes(self) -> pd.DataFrame:
        """The processes that made operations."""
        return self._rows("processes")

    @cached_property
    def users(self) -> pd.DataFrame:
        """Which processes used a mount when its umount was refused."""
        return self._rows("users")

    @cached_property
    def losses(self) -> pd.DataFrame:
        """What was lost or cut: kind and count."""
        return self._rows("losses")

    # ---- what follows from them

    @cached_property
    def propagations(self) -> pd.DataFrame:
        """Copies that operations made elsewhere: :mod:`mnttrace.analysis.frames.propagations`."""
        from mnttrace.analysis.frames.propagations import propagations

        return self._rows("propagations", propagations)

    @cached_property
    def leaks(self) -> pd.DataFrame:
        """What reached other namespaces, by cause, see :mod:`mnttrace.analysis.frames.leaks`.

        The leaks of a part are made of the copies that belong to it.
        """
        from mnttrace.analysis.frames.leaks import leaks

        return leaks(self, self.story)

    @cached_property
    def doublings(self) -> pd.DataFrame:
        """Binds that grow, see :mod:`mnttrace.analysis.frames.doublings`."""
        from mnttrace.analysis.frames.doublings import doublings

        return self._rows("doublings", doublings)

    @cached_property
    def lost_mounts(self) -> pd.DataFrame:
        """What was taken from namespaces, see :mod:`mnttrace.analysis.frames.lost_mounts`."""
        from mnttrace.analysis.frames.lost_mounts import lost_mounts

        return self._rows("lost_mounts", lambda whole: lost_mounts(whole, whole.story))

    @cached_property
    def reasons(self) -> pd.DataFrame:
        """Why operations failed, where that is known: :mod:`mnttrace.analysis.frames.refusals`."""
        from mnttrace.analysis.frames.refusals import reasons

        return self._rows("reasons", reasons)

    @cached_property
    def refusals(self) -> pd.DataFrame:
        """Operations that were refused, and why, see :mod:`mnttrace.analysis.frames.refusals`."""
        from mnttrace.analysis.frames.refusals import refusals

        return self._rows("refusals", refusals)

    @cached_property
    def births(self) -> pd.DataFrame:
        """The namespaces that were made, see :mod:`mnttrace.analysis.frames.births`."""
        from mnttrace.analysis.frames.births import births

        return self._rows("births", births)

    @cached_property
    def history(self) -> History:
        """What happened to each mount, see :mod:`mnttrace.analysis.state.moments`."""
        from mnttrace.analysis.state.moments import History

        return History(self) if self._whole is None else self._whole.history

    @cached_property
    def story(self) -> Story:
        """What happened to single mounts, see :mod:`mnttrace.analysis.diagnosis.story`."""
        from mnttrace.analysis.diagnosis.story import Story

        return Story(self) if self._whole is None else self._whole.story

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What answers stand on, see :mod:`mnttrace.analysis.diagnosis.diagnosis`."""
        from mnttrace.analysis.diagnosis.diagnosis import Diagnosis

        if self._whole is not None:
            return self._whole.diagnosis
        return Diagnosis(self, self.history, self.story)

    @cached_property
    def crosscheck(self) -> CrossCheck:
        """The recording compared with the model, see :mod:`mnttrace.analysis.crosscheck`."""
        from mnttrace.analysis.crosscheck import crosscheck

        return crosscheck(self.whole)

    # ---- parts of it

    @property
    def whole(self) -> Recording:
        """The recording that this is a part of, or itself."""
        return self._whole or self

    def between(self, start: Moment, end: Moment) -> Recording:
        """What happened from one moment until before another.

        Args:
            start, end: times (UTC, if they have no zone), times of day, or seconds since the
                recording began.

        Raises:
            BadInput: they are not times, or not within the recording.
        """
        return self._part(
            self._selection.between(moment(self.whole, start), moment(self.whole, end))
        )

    def since(self, start: Moment) -> Recording:
        """What happened from one moment on.

        Args:
            start: as for :meth:`between`.

        Raises:
            BadInput: it is no time, or not within the recording.
        """
        return self._part(self._selection.between(moment(self.whole, start), None))

    def namespace(self, name: str | int) -> Recording:
        """What happened in a mount namespace, came to it, or was done from it.

        Args:
            name: a label, a container's, unit's or process's name, a pod, (the beginning of) a
                container's id, a pid, or an inode number; of several that match, all.

        Raises:
            BadInput: there is none.
        """
        return self._part(self._selection.within(namespaces_of(self.whole, str(name))))

    def container(self, name: str) -> Recording:
        """The same, of containers alone."""
        return self._part(self._selection.within(namespaces_of(self.whole, name, "container")))

    def under(self, path: str) -> Recording:
        """What concerns mounts at a path or below it, in the paths of each row's namespace."""
        return self._part(replace(self._selection, under=path))

    def chosen(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of a frame of the whole recording that belong to this part.

        Args:
            name: the attribute of this class that has such a frame.
            frame: the rows to choose from.
        """
        return self._selection.of(name, frame, self.whole)

    def _part(self, selection: Selection) -> Recording:
        part = Recording.__new__(Recording)
        part.directory, part.meta, part.warnings = self.directory, self.meta, self.warnings
        part._whole, part._selection = self.whole, selection
        return part

    def _rows(
        self, name: str, make: Callable[[Recording], pd.DataFrame] | None = None
    ) -> pd.DataFrame:
        """A frame of the whole recording, made or read; of a part, its rows of that frame."""
        if self._whole is not None:
            return self.chosen(name, getattr(self._whole, name))
        frame = make(self) if make else self.table(name)
        frame.attrs["warnings"] = self.warnings
        return frame

    # ---- questions

    def at(self, when: Moment) -> pd.DataFrame:
        """The mount tables at a moment, see :func:`mnttrace.analysis.state.moments.tables_at`.

        Args:
            when: a time (UTC, if it has no zone), or seconds since the recording began.

        Raises:
            BadInput: it is no time, or not within the recording.
        """
        from mnttrace.analysis.state.moments import tables_at

        return tables_at(self, self.history, when)

    def diff(self, start: Moment, end: Moment) -> pd.DataFrame:
        """The difference between two, see :func:`mnttrace.analysis.state.moments.changes_between`.

        Args:
            start, end: as for :meth:`at`.

        Raises:
            BadInput: as for :meth:`at`.
        """
        from mnttrace.analysis.state.moments import changes_between

        return changes_between(self, self.history, start, end)

    def why(self, target: str, within: str | None = None) -> Why:
        """Which namespaces have a mount, and how it came there; what is wrong, and what to do.

        See :mod:`mnttrace.analysis.diagnosis.situation`.

        Args:
            target: a path, a device, a source, a mount id, a namespace, container, pod, unit or
                pid.
            within: a namespace that it may be missed in, by its name or a pid, or "host".

        Raises:
            BadInput: nothing in the recording matches.
        """
        from mnttrace.analysis.diagnosis.situation import why

        return why(self.whole, self.diagnosis, target, within)

    def what_if(self, *commands: str, within: str = "host") -> WhatIf:
        """What commands would do to the mounts of all namespaces at the end; nothing is changed.

        See :mod:`mnttrace.analysis.diagnosis.what_if`; `what_if(...).frame` is a frame.

        Args:
            commands: as typed, like "mount --bind /a /b"; tried one after the other.
            within: the namespace that they are given in, by its name or a pid, or "host".

        Raises:
            BadInput: no such command, or no such namespace.
        """
        from mnttrace.analysis.diagnosis.what_if import what_if

        return what_if(self.whole, self.diagnosis, commands, within)

    def replaced(self, *changes: str) -> Otherwise:
        """What the history would have led to with some of its operations changed.

        See :mod:`mnttrace.analysis.diagnosis.otherwise`.

        Args:
            changes: "OPERATION: rslave" and the like, see `changes_of` there.

        Raises:
            BadInput: no such change or operation, or too many operations follow.
        """
        from mnttrace.analysis.diagnosis.what_if import replaced

        return replaced(self.whole, self.diagnosis, changes)

    def timeline(self, target: str | None = None) -> pd.DataFrame:
        """Operations and effects in order, see :mod:`mnttrace.analysis.frames.timeline`.

        Args:
            target: only what happened to it, as for :meth:`why`; None: everything.

        Raises:
            BadInput: nothing in the recording matches.
        """
        from mnttrace.analysis.frames.timeline import timeline

        return timeline(self, target)

    def sql(self, query: str) -> pd.DataFrame:
        """The answer to a query, see :mod:`mnttrace.analysis.query.sql`.

        Raises:
            BadInput: DuckDB refuses the query.
            MissingPrerequisite: there is no DuckDB.
        """
        from mnttrace.analysis.query.sql import ask

        return ask(self, query)

    @cached_property
    def plot(self) -> Plots:
        """Pictures of the recording, see :mod:`mnttrace.analysis.plots`."""
        from mnttrace.analysis.plots import Plots

        return Plots(self)
