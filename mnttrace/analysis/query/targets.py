# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The target of a question (a path, a device, a mount id, a namespace), found in a recording."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass

import pandas as pd

from mnttrace.analysis.model.mounts import place_of
from mnttrace.analysis.names import labels
from mnttrace.analysis.run import Run
from mnttrace.analysis.state.mount_tables import last_tables, mount_at
from mnttrace.errors import BadInput
from mnttrace.recording.namespaces import HOST

# These identify a mounted part of a file system. Device numbers are used again; with the same type
# and source it is likely the same file system.
IDENTITY = ["device", "root", "fstype", "source"]
_ID_BEGINS = 4  # characters of a container's id
_CLOSE = 0.8  # how like (difflib) a mount point is that a path may have been meant for
_NAMED = 8  # namespaces
_COLUMNS = ["ns_id", "ns", "mount_id", "mnt_id_unique", "parent_id", "mountpoint", *IDENTITY]
_COLUMNS += ["shared", "master", "propagation"]


@dataclass(frozen=True)
class Target:
    """The mounts that a text stands for.

    Attributes:
        kind: what the text is: "device", "source", "mount id", "path" (of a mount point),
            "namespace", "directory" that the host has at a path and others have mounts on, or
            "mount of the path", the mount that a path lies on.
        mounts: rows of :func:`known_mounts`.
        notes: what else it could be, and what was taken for what, as sentences.
    """

    kind: str
    mounts: pd.DataFrame
    notes: tuple[str, ...] = ()


def known_mounts(run: Run) -> pd.DataFrame:
    """Every mount that existed at some time.

    Returns:
        A row a mount: ns_id, ns, mount_id, mnt_id_unique, parent_id, mountpoint, device, root,
        fstype, source, shared, master, propagation, and `present`: whether it still existed at the
        end. Those that are gone come first.
    """
    effects = run.effects
    gone = effects.loc[effects["action"] == "detach", _COLUMNS]
    found = _together([gone.assign(present=False), mounts_there(run).assign(present=True)])
    return found[~(found["mnt_id_unique"].notna() & found["mnt_id_unique"].duplicated())]


def mounts_there(run: Run) -> pd.DataFrame:
    """The mounts that existed at the end.

    Returns:
        A frame as of :func:`known_mounts`, without `present`.
    """
    effects = run.effects
    gone = effects.loc[effects["action"] == "detach", "mnt_id_unique"].dropna()
    tables = last_tables(run)
    there = tables.loc[~tables["gone"] & ~tables["mnt_id_unique"].isin(gone), _COLUMNS]
    # Mounts that were attached after their table was last read, and not detached since.
    made = effects.loc[effects["action"] == "attach", "mnt_id_unique"]
    unseen = made.index[~made.isin(gone) & ~made.isin(there["mnt_id_unique"])]
    return _together([effects.loc[unseen, _COLUMNS], there])


def _together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    texts = dict.fromkeys(("fstype", "propagation"), "string[pyarrow]")
    return pd.concat([part.astype(texts) for part in parts], ignore_index=True)


def find(run: Run, known: pd.DataFrame, text: str) -> Target:
    """Find the mounts that a text stands for.

    Args:
        run: the recording.
        known: its :func:`known_mounts`.
        text: a path, "8:1", a source such as /dev/loop0, a mount id, the label of a namespace, the
            name or (the beginning of) the id of a container, a pod, a unit's or a process's name, a
            pid, or "mnt:[4026531841]".

    Raises:
        BadInput: nothing in the recording matches; the hint names what is most like it.
    """
    path = os.path.normpath(text) if text.startswith("/") else ""
    readings = [(kind, found) for kind, found in _readings(run, known, text, path) if len(found)]
    if not readings and path:
        if len(found := _on_directory(run, known, path)):
            return Target("directory", found)
        if len(found := _below(run, known, path)):
            return Target("mount of the path", found, (_lies_on(known, text, found),))
    if not readings:
        raise BadInput(f"nothing in the recording matches {text!r}", _closest(run, known, text))
    kind, found = readings[0]
    notes = [_also(run, text, kind, readings[1:])]
    if kind == "namespace" and found["ns_id"].nunique() > 1:
        notes.append(f"{text!r} is {_named(run, found)}: this is about all of them")
    return Target(kind, found, tuple(filter(None, notes)))


def _also(run: Run, text: str, kind: str, others: list[tuple[str, pd.DataFrame]]) -> str:
    """What else a text could stand for; "" for nothing."""
    words = [
        f"a namespace ({_named(run, found)})" if other == "namespace" else f"a {other}"
        for other, found in others
    ]
    return f"{text!r} is taken for a {kind}; it is also {' and '.join(words)}" if words else ""


def _named(run: Run, mounts: pd.DataFrame) -> str:
    names = labels(run)
    return " and ".join(names.get(ns_id, "?") for ns_id in mounts["ns_id"].unique())


def _lies_on(known: pd.DataFrame, text: str, found: pd.DataFrame) -> str:
    """That a path is answered for the mount that it lies on."""
    note = f"nothing was mounted at {text}: it lies on the mount at {found['mountpoint'].iloc[0]}"
    note += " of the host, if no symbolic link leads elsewhere (a recording has none)"
    places = known["mountpoint"].dropna().unique().tolist()
    close = difflib.get_close_matches(os.path.normpath(text), places, n=1, cutoff=_CLOSE)
    return note + (f"; or is it {close[0]!r}?" if close else "")


def _readings(
    run: Run, known: pd.DataFrame, text: str, path: str
) -> list[tuple[str, pd.DataFrame]]:
    """What a text, or the path in it, can stand for, the likeliest first."""
    number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1
    return [
        ("device", known[known["device"] == text]),
        ("source", known[(known["source"] == text) & (text != "none")]),
        ("mount id", known[(known["mount_id"] == number) & known["present"]]),
        ("path", _at(run, known, path) if path else known.head(0)),
        ("namespace", known[known["ns_id"].isin(_namespaces(run, text, number))]),
    ]


def _at(run: Run, known: pd.DataFrame, path: str) -> pd.DataFrame:
    """The mounts at a path. If the host has any, those that others have on the same directory."""
    there = known[known["mountpoint"] == path]
    at_home = there[there["ns_id"] == run.meta.get("home_ns_id")]
    if at_home.empty:
        return there
    near = known["mount_id"].isin(there["parent_id"]) & known["ns_id"].isin(there["ns_id"])
    last = known[near].drop_duplicates(["ns_id", "mount_id"], keep="last")
    devices = last.set_index(["ns_id", "mount_id"])["device"]
    parents = pd.MultiIndex.from_frame(there[["ns_id", "parent_id"]])
    above = pd.Series(devices.reindex(parents).array, there.index)
    # A device that an imported table does not tell can be any.
    is_same = above.isin(above[at_home.index].dropna()) | (above == "").fillna(False)
    return there[there.index.isin(at_home.index) | is_same]


def _on_directory(run: Run, known: pd.DataFrame, path: str) -> pd.DataFrame:
    """The mounts that other namespaces have on the directory that the host has at a path.

    It is the same directory if the mount that has it is of the same file system, and it is at the
    same place in that.
    """
    through = _through(run, known, path)
    if through.empty:
        return known.head(0)
    home = through.iloc[-1]
    if not home["device"] or not home["root"]:
        return known.head(0)
    there = known[known["present"]]
    last = there.drop_duplicates(["ns_id", "mount_id"], keep="last")
    above = last.set_index(["ns_id", "mount_id"])[["device", "root", "mountpoint"]]
    above = above.reindex(pd.MultiIndex.from_frame(there[["ns_id", "parent_id"]]))
    above = above.set_axis(there.index)
    is_it = (above["device"] == home["device"]) & (above["root"] != "")
    some: pd.DataFrame = there[is_it.fillna(False)]
    above = above[is_it.fillna(False)]
    place = place_of(path, home["mountpoint"], home["root"])
    columns = some["mountpoint"], above["mountpoint"], above["root"]
    paths = zip(*(column.to_list() for column in columns), strict=True)
    is_there = [place_of(mine, parent, root) == place for mine, parent, root in paths]
    return some[is_there]


def _below(run: Run, known: pd.DataFrame, path: str) -> pd.DataFrame:
    """The mount of the host that a path lies on."""
    there = known[known["present"] & (known["ns_id"] == run.meta.get("home_ns_id"))]
    return there[there["mount_id"] == mount_at(there, path)]


def _through(run: Run, known: pd.DataFrame, path: str) -> pd.DataFrame:
    """The mounts of the host by which a path leads to what is below them."""
    there = known[known["present"] & (known["ns_id"] == run.meta.get("home_ns_id"))]
    above = [place for place in there["mountpoint"] if path.startswith(place.rstrip("/") + "/")]
    return there[there["mountpoint"] == max(above, key=len, default="/")]


def _namespaces(run: Run, text: str, number: int) -> set[int]:
    shown = labels(run)
    if (is_label := shown == text).any():
        return set(shown.index[is_label])
    names = run.namespaces
    if link := re.fullmatch(r"mnt:\[([0-9]+)\]", text):
        return set(names.loc[names["ns"] == int(link[1]), "ns_id"])
    is_it = names["ns"] == number
    for column in ("name", "unit", "pod", "id"):
        is_it |= (names[column] == text).fillna(False)
    if len(text) >= _ID_BEGINS:
        is_it |= names["id"].str.startswith(text)
    found = set(names.loc[is_it.fillna(False), "ns_id"]) or _of_process(run, number)
    # Of imported tables, which tell of no other process.
    also: dict[str, int] = run.meta.get("also", {})
    return found or ({also[text]} if text in also else set())


def _of_process(run: Run, pid: int) -> set[int]:
    """The namespace that a process was in last; empty if it is not known."""
    calls = run.operations
    made = calls["syscall"].isin(["clone", "clone3"])
    # A thread that makes or enters a namespace is in it then; of a clone that is the child.
    moved = calls[~made & (calls["pid"] == pid) & (calls["error"] == "")]
    born = calls[made & (calls["child"] == pid).fillna(False)]
    last = pd.concat([born, moved])[["ns_id", "ns_target_id"]].tail(1)
    found = set(last["ns_target_id"].fillna(last["ns_id"]).dropna())
    if not found:
        names, processes = run.namespaces, run.processes
        found = set(names.loc[names["pid"] == pid, "ns_id"])
        found = found or set(processes.loc[processes["pid"] == pid, "ns_id"].dropna())
    return found


def namespaces_of(run: Run, text: str, kind: str = "") -> set[int]:
    """The namespaces that a text stands for.

    Args:
        run: the whole recording.
        text: a label ("host" is the recorder's), the name or (the beginning of) the id of a
            container, a pod, a unit's or a process's name, a pid, or an inode number.
        kind: only namespaces of this kind, as "container".

    Raises:
        BadInput: none is called so.
    """
    home, names = run.meta.get("home_ns_id"), run.namespaces
    if text == HOST and home is not None and not kind:
        return {home}
    found = _namespaces(run, text, int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1)
    if kind:
        names = names[(names["kind"] == kind).fillna(False)]
        found &= set(names["ns_id"])
    if not found:
        shown = sorted(set(labels(run).reindex(names["ns_id"]).dropna()))[:_NAMED]
        hint = f"there are {', '.join(map(repr, shown))}" if shown else "run.namespaces has all"
        raise BadInput(f"no {kind or 'namespace'} in the recording is called {text!r}", hint)
    return found


def _closest(run: Run, known: pd.DataFrame, text: str) -> str:
    names = run.namespaces
    words = {
        str(word)
        for column in (known["mountpoint"], known["source"], labels(run), names["id"])
        for word in column.dropna().unique()
        if word
    }
    close = difflib.get_close_matches(text, sorted(words), n=3, cutoff=0.5)
    under = [word for word in sorted(words) if text in word][:3]
    found = list(dict.fromkeys([*close, *under]))
    if not found:
        return "mnttrace tree shows all mounts and namespaces"
    return "is it " + " or ".join(repr(word) for word in found) + "?"
