# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""From Arrow to pandas, and from pandas to rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

Row = dict[str, Any]

DTYPES: dict[pa.DataType, Any] = {
    pa.uint64(): pd.UInt64Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype("pyarrow"),
}
_BATCH = 65536  # rows that are Python objects at a time


def to_frame(columns: Iterable[tuple[str, pa.ChunkedArray]]) -> pd.DataFrame:
    """Columns of a recording's table, names and values, as a frame without object columns.

    Integers and booleans are nullable, text is Arrow's, columns with few values are categorical
    (`recording.schema.CATEGORIES`), times are datetimes in UTC.
    """
    return pd.DataFrame({name: _series(name, values) for name, values in columns}, copy=False)


def _series(name: str, values: pa.ChunkedArray) -> pd.Series:
    frame: pd.DataFrame = pa.table({name: values}).to_pandas(types_mapper=DTYPES.get)
    return frame[name]


def rows(frame: pd.DataFrame, columns: list[str] | None = None) -> Iterator[Row]:
    """The rows of a frame as dictionaries, None for what is missing."""
    wanted = frame if columns is None else frame[columns]
    names = list(wanted.columns)
    for start in range(0, len(wanted), _BATCH):
        some = wanted.iloc[start : start + _BATCH]
        filled = some.astype(object).where(some.notna(), None)
        for values in filled.itertuples(index=False, name=None):
            yield dict(zip(names, values, strict=True))
