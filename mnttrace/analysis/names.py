# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Labels of mount namespaces, one each, for leaks, pictures and traces."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.run import Run


def labels(run: Run) -> pd.Series:
    """The label of each namespace: "host", a container's, unit's or process's name, "mnt:[N]".

    The namespace of the recorder is "host". Others that share a name have their inode numbers with
    it: "web (mnt:[4026532177])".

    Returns:
        A series of text, indexed by `ns_id`.
    """
    namespaces = run.whole.namespaces.set_index("ns_id")
    inode = "mnt:[" + namespaces["ns"].astype("string[pyarrow]") + "]"
    name = namespaces["name"].astype("string[pyarrow]").replace("", None)
    is_home = namespaces.index == run.meta.get("home_ns_id")
    name = name.mask(is_home, "host")
    is_shared_name = name.duplicated(keep=False) & name.notna() & ~is_home
    return name.mask(is_shared_name, name + " (" + inode + ")").fillna(inode)


def kinds(run: Run) -> pd.Series:
    """The kind of each namespace: "host", "container" or "other".

    Returns:
        A series of text, indexed by `ns_id`. The namespace of the recorder is the host.
    """
    namespaces = run.whole.namespaces.set_index("ns_id")
    kind = namespaces["kind"].astype("string[pyarrow]")
    kind = kind.where(kind.isin(["container", "host"]), "other")
    return kind.mask(namespaces.index == run.meta.get("home_ns_id"), "host")


def starters(run: Run) -> pd.Series:
    """What starts the programs of a namespace, again and again: a container's or unit's name.

    Other namespaces of processes, but for the host's, are not told apart: each start has another.

    Returns:
        A series of text, indexed by `ns_id`.
    """
    names = run.whole.namespaces.set_index("ns_id")
    is_named = names["kind"].isin(["container", "unit"]).fillna(False).astype(bool)
    return names["name"].where(is_named, "").mask(kinds(run) == "host", "host")
