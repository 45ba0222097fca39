# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Propagation and options of a mount as one text, like "shared:1 master:2 rw,relatime".

The columns `before` and `after` of the table `effects` have this form. Without a peer group and a
master the text begins with the propagation type: "private rw".
"""

from __future__ import annotations

import pandas as pd


def text(tables: pd.DataFrame) -> pd.Series:
    """The settings of mounts, from `shared`, `master`, `propagation` and `options`."""
    tags = pd.Series("", tables.index, dtype="string[pyarrow]")
    for name in ("shared", "master"):
        tags += (f" {name}:" + tables[name].astype("string[pyarrow]")).fillna("")
    tags = tags.str.lstrip().mask(tags == "", tables["propagation"])
    return tags + (" " + tables["options"]).fillna("")


def is_shared(settings: str | None) -> bool:
    """Whether a mount with these settings is in a peer group."""
    return settings is not None and settings.startswith("shared:")


def are_shared(settings: pd.Series) -> pd.Series:
    """The same for a column; not where they are missing."""
    return settings.str.startswith("shared:").fillna(False).astype(bool)


def groups(settings: pd.Series) -> pd.Series:
    """The peer groups that mounts with these settings are in; null for none."""
    return settings.str.extract(r"^shared:([0-9]+)", expand=False).astype("Int64")


def options(settings: pd.Series) -> pd.Series:
    """The options alone."""
    return settings.str.replace("^.* ", "", regex=True)
