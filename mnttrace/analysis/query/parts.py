# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which mounts show the same part of a file system, also where tables do not tell devices."""

from __future__ import annotations

import pandas as pd

from mnttrace.analysis.dataframes import Row, rows
from mnttrace.analysis.model.mounts import lies_under, place_of
from mnttrace.analysis.query.targets import IDENTITY
from mnttrace.recording.same_namespaces import is_telling

_NAME = ["fstype", "source"]
_PLACED = ["ns_id", "mount_id", "parent_id", "mountpoint", "device", "root"]
MANY = 16  # mounts of one part of a file system: runtimes mask up to ten files with one
_STACKED = 3


def same_parts(known: pd.DataFrame, mounts: pd.DataFrame) -> pd.DataFrame:
    """The mounts of what some mounts show.

    A device or root that is not told ("") is like no other, but: where the device is known, a root
    that is not told can be any; and a source that names a file system stands for the device.

    Args:
        known: as of :func:`mnttrace.analysis.query.targets.known_mounts`.
        mounts: some rows of it.
    """
    same = known.merge(mounts[IDENTITY].drop_duplicates(), on=IDENTITY)
    if not ((known["device"] == "") | (known["root"] == "")).any():
        return same
    keys = set(_keys(mounts))
    is_it = pd.Series([key in keys for key in _keys(known)], known.index, bool)
    wanted = mounts[(mounts["device"] != "") & (mounts["root"] == "")]["device"]
    is_it |= (
        (known["root"] == "") & (known["device"] != "") & known["device"].isin(mounts["device"])
    )
    return known[is_it | known["device"].isin(wanted)]


def _keys(mounts: pd.DataFrame) -> list[tuple[object, ...]]:
    """What identifies each mount's part of a file system; itself, if nothing does."""
    columns = [mounts[name] for name in (*IDENTITY, "ns_id", "mount_id")]
    return [
        (device, root, fstype, source)
        if device
        else (root, fstype, source)
        if is_telling(source)
        else (ns_id, mount_id)
        for device, root, fstype, source, ns_id, mount_id in zip(*columns, strict=True)
    ]


def paths_at_home(mounts: pd.DataFrame, known: pd.DataFrame, home: int | None) -> list[str]:
    """For each of some mounts of other namespaces, the host's path of the directory that it is on;
    "" if the host does not have that, or if the directory is of the other one's own root.

    Args:
        mounts: rows of `known`.
        known: as of :func:`mnttrace.analysis.query.targets.mounts_there`.
        home: the ns_id of the host.
    """
    at = {(row["ns_id"], row["mount_id"]): row for row in rows(known, _PLACED)}
    at_home: dict[str, list[Row]] = {}
    for row in at.values():
        if row["ns_id"] == home and row["device"] and row["root"]:
            at_home.setdefault(row["device"], []).append(row)
    roots = {(row["device"], row["root"]) for row in at.values() if _is_root(row, home)}
    found = []
    for row in rows(mounts, _PLACED):
        above = at.get((row["ns_id"], row["parent_id"]))
        is_own = above is None or not above["root"] or not above["device"]
        if above is None or is_own:
            found.append("")
            continue
        is_own = above["mountpoint"] == "/" and (above["device"], above["root"]) not in roots
        place = place_of(row["mountpoint"], above["mountpoint"], above["root"])
        ways = [
            _path_of(place, one["mountpoint"], one["root"])
            for one in at_home.get(above["device"], ())
            if lies_under(place, one["root"]) and place != one["root"]
        ]
        found.append(ways[0] if ways and not is_own else "")
    return found


def _is_root(row: Row, home: int | None) -> bool:
    return bool(row["ns_id"] == home and row["mountpoint"] == "/")


def _path_of(place: str, mountpoint: str, root: str) -> str:
    """The path of a place in a file system by way of a mount of it."""
    return mountpoint.rstrip("/") + place[len(root.rstrip("/")) :]


def repeated(mounts: pd.DataFrame) -> pd.DataFrame:
    """Parts of file systems that a namespace has many times, as with binds that grow.

    Args:
        mounts: as of :func:`mnttrace.analysis.query.targets.mounts_there`.

    Returns:
        A row for each that is there at least MANY times, or three times at one mount point: ns_id,
        device, root, fstype, source; `count`, how many there are; `mountpoint`, where most are, and
        `there`, how many that is. The most come first.
    """
    part = ["ns_id", *IDENTITY]
    known = mounts[mounts["device"] != ""]
    at = known.groupby([*part, "mountpoint"], observed=True).size().rename("there").reset_index()
    found = at.sort_values("there", ascending=False, kind="stable").drop_duplicates(part)
    counts = at.groupby(part, observed=True)["there"].sum().rename("count").reset_index()
    found = found.merge(counts, on=part)
    found = found[(found["count"] >= MANY) | (found["there"] >= _STACKED)]
    return found.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def _has_one_name(source: str | None) -> bool:
    """Whether a file system has that source in all tables: mount(8) and findmnt(8) have their own
    names for some devices."""
    aliased = ("/dev/root", "/dev/dm-", "/dev/mapper/", "/dev/disk/")
    return is_telling(source) and not str(source).startswith(aliased)


def not_at_home(
    mounts: pd.DataFrame, known: pd.DataFrame, home: int | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of some mounts those of file systems that the host has not mounted, and those of which tables
    do not tell whether it has.

    Args:
        mounts: of other namespaces.
        known: as of :func:`mnttrace.analysis.query.targets.known_mounts`, with the host's.
        home: the ns_id of the host.
    """
    at_home = known[known["ns_id"] == home]
    if "present" in at_home:
        at_home = at_home[at_home["present"]]
    devices = set(at_home["device"].dropna())
    names = set(zip(at_home["fstype"], at_home["source"], strict=True))
    tells_all = "" not in devices
    is_there, is_known = [], []
    for device, fstype, source in zip(*(mounts[name] for name in ["device", *_NAME]), strict=True):
        by_name = is_telling(source) and (fstype, source) in names
        is_there.append((bool(device) and device in devices) or by_name)
        is_known.append((bool(device) and tells_all) or _has_one_name(source))
    there, told = pd.Series(is_there, mounts.index, bool), pd.Series(is_known, mounts.index, bool)
    return mounts[~there & told], mounts[~there & ~told]
