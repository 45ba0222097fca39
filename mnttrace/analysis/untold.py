# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What imported mount tables do not tell: the output of mount(8) has no peer groups, for one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

_WORDS = {
    "mount_id": "mount ids",
    "parent_id": "parents (taken from the paths)",
    "propagation": "propagation",
    "shared": "peer groups",
    "device": "devices",
    "root": "roots",
    "fstype": "file system types",
    "source": "sources",
}
_NAMED = 4  # tables that are named
ATTACH = (
    "attach /proc/1/mountinfo and /proc/PID/mountinfo of a process in each container, or findmnt "
    "-o TARGET,SOURCE,FSTYPE,OPTIONS,ID,PARENT,MAJ:MIN,FSROOT,OPT-FIELDS, or take a mnttrace "
    "snapshot there"
)


def untold(meta: Mapping[str, Any]) -> dict[Hashable, frozenset[str]]:
    """By ns_id, the columns of `mounts` that a namespace's table does not tell.

    Args:
        meta: what meta.json says.
    """
    return {int(one["ns_id"]): frozenset(one["columns"]) for one in meta.get("untold", ())}


def sentences(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """What tables do not tell, in one sentence, and in another one what does; [] if they do.

    Args:
        entries: `untold` of meta.json.
    """
    listed = list(entries)
    if not listed:
        return []
    lacking = {column for one in listed for column in one["columns"]}
    words = ", ".join(text for column, text in _WORDS.items() if column in lacking)
    names = ", ".join(one["name"] for one in listed[:_NAMED])
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    of = "table" if len(listed) == 1 else "tables"
    return [f"not told by the {of} of {names}{more}: {words}; {ATTACH}"]
