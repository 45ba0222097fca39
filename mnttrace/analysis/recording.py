"""A recording as pandas frames: each table is read when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from mnttrace.recording.reader import read_meta, read_table
from mnttrace.recording.schema import CATEGORIES

if TYPE_CHECKING:
    from mnttrace.analysis.crosscheck import CrossCheck
    from mnttrace.analysis.plots import Plots

_DTYPES: dict[pa.DataType, Any] = {
    pa.uint64(): pd.UInt64Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype("pyarrow"),
}


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A table of a recording as a frame without object columns.

    Integers and booleans are nullable, text is Arrow's, what has few values is categorical
    (`recording.schema.CATEGORIES`), times are datetimes in UTC.
    """
    for at, name in enumerate(table.column_names):
        if name in CATEGORIES:
            table = table.set_column(at, name, table.column(name).dictionary_encode())
    frame: pd.DataFrame = table.to_pandas(types_mapper=_DTYPES.get)
    return frame


class Recording:
    """A recording, finished or not.

    Args:
        directory: NAME.mnttrace.

    Attributes:
        directory: the same.
        meta: what meta.json says: host, kernel, start and stop, losses.

    Raises:
        RecordingError: not a recording, of another version, or a table of it is damaged.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.meta = read_meta(self.directory)

    def table(self, name: str) -> pd.DataFrame:
        """One table of the recording; its columns are those of `recording.schema.COLUMNS`."""
        return to_frame(read_table(self.directory, name))

    @cached_property
    def operations(self) -> pd.DataFrame:
        """The traced calls, in the order in which they ended."""
        return self.table("operations")

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Each mount that was attached, detached, moved or changed, in every namespace."""
        return self.table("effects")

    @cached_property
    def mounts(self) -> pd.DataFrame:
        """Mount tables: the first one of each namespace, and the changes from one to the next."""
        return self.table("mounts")

    @cached_property
    def snapshots(self) -> pd.DataFrame:
        """When the mount tables were read."""
        return self.table("snapshots")

    @cached_property
    def namespaces(self) -> pd.DataFrame:
        """The mount namespaces, with the name of the container, unit or process."""
        told = self.table("namespaces")
        return told.drop_duplicates("ns_id", keep="last").reset_index(drop=True)

    @cached_property
    def processes(self) -> pd.DataFrame:
        """The processes that made operations."""
        return self.table("processes")

    @cached_property
    def losses(self) -> pd.DataFrame:
        """What could not be sent, or was cut: kind and count."""
        return self.table("losses")

    @cached_property
    def propagations(self) -> pd.DataFrame:
        """The copies that operations made elsewhere, see :mod:`mnttrace.analysis.propagations`."""
        from mnttrace.analysis.propagations import propagations

        return propagations(self)

    @cached_property
    def leaks(self) -> pd.DataFrame:
        """What reached other namespaces, grouped by cause, see :mod:`mnttrace.analysis.leaks`."""
        from mnttrace.analysis.leaks import leaks

        return leaks(self)

    @cached_property
    def crosscheck(self) -> CrossCheck:
        """What was recorded against the model, see :mod:`mnttrace.analysis.crosscheck`."""
        from mnttrace.analysis.crosscheck import crosscheck

        return crosscheck(self)

    @cached_property
    def doublings(self) -> pd.DataFrame:
        """Binds that grow, see :mod:`mnttrace.analysis.doublings`."""
        from mnttrace.analysis.doublings import doublings

        return doublings(self)

    @cached_property
    def births(self) -> pd.DataFrame:
        """The namespaces that were made, see :mod:`mnttrace.analysis.births`."""
        from mnttrace.analysis.births import births

        return births(self)

    @cached_property
    def plot(self) -> Plots:
        """Pictures of the recording, see :mod:`mnttrace.analysis.plots`."""
        from mnttrace.analysis.plots import Plots

        return Plots(self)
