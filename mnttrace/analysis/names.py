# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Labels of mount namespaces, one each, for whatever names one."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.run import Run
from mnttrace.recording.namespaces import HOST, label


def labels(run: Run) -> pd.Series:
    """The label of each namespace: "host", a container's, unit's or process's name, "mnt:[N]".

    The namespace of the recorder is "host"; that of pid 1, if it is another one, "host (mnt:[N])".
    Others that share a name have their inode numbers with it, too: "web (mnt:[4026532177])".

    Returns:
        A series of text, indexed by `ns_id`.
    """
    namespaces = run.whole.namespaces
    home = run.meta.get("home_ns_id")
    kept = (namespaces[column].to_numpy(object) for column in ("ns_id", "ns", "name"))
    called = [
        label(None if pd.isna(name) else name, ns, is_home=ns_id == home)
        for ns_id, ns, name in zip(*kept, strict=True)
    ]
    labels = pd.Series(called, pd.Index(namespaces["ns_id"], name="ns_id"), "string[pyarrow]")
    inode = " (mnt:[" + namespaces["ns"].astype("string[pyarrow]").set_axis(labels.index) + "])"
    is_shared = labels.duplicated(keep=False) & ~labels.str.contains("mnt:[", regex=False)
    return labels.mask(is_shared & (labels != HOST), labels + inode)


def with_inode(label: str, ns: int | None) -> str:
    """A label with the inode number, "web (mnt:[N])", unless it has it, is the recorder's, or no
    number is known."""
    return label if label == HOST or "mnt:[" in label or not ns else f"{label} (mnt:[{ns}])"


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
    return names["name"].where(is_named, "").mask(kinds(run) == "host", labels(run))


def threads(run: Run) -> dict[int, str]:
    """What processes are called, as "mount[17]", by pid: as they were seen last."""
    processes, namespaces = run.whole.processes, run.whole.namespaces
    names = processes["comm"] + "[" + processes["pid"].astype("string[pyarrow]") + "]"
    named = namespaces[(namespaces["kind"] == "process").fillna(False)]
    return dict(zip(processes["pid"], names, strict=True)) | dict(
        zip(named["pid"], named["name"], strict=True)
    )
