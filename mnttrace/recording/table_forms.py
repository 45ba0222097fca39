# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Which form of a mount table a text is, and the rows that it gives.

What a form does not tell is not made up: it is in `unknown`, and the row has "" or null. Two things
follow from others, and are in `unknown`, too: parents, from the paths and the order of the lines
(an earlier line is under a later one at the same path); and numbers in place of mount ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mnttrace.errors import ParseError
from mnttrace.linux import findmnt, mount_listings, mountinfo
from mnttrace.linux.mount_listings import Listed

# Columns of `mounts` that a form can lack, the weightier ones first.
COLUMNS = ("mount_id", "parent_id", "propagation", "shared", "device", "root", "fstype", "source")
_HEAD = 3  # lines that have to be of a form for a text to be taken for it


class Form(NamedTuple):
    """A form of mount tables.

    Attributes:
        name: what it is called.
        parse: makes mounts of its lines; takes what to call them in errors, and raises ParseError.
    """

    name: str
    parse: Callable[[Sequence[str], str], list[Listed]]


class ImportedTable(NamedTuple):
    """A mount table.

    Attributes:
        form: the name of its form.
        mounts: in the order of the text. All have a mount id and a parent's.
        unknown: which of COLUMNS the text does not tell.
    """

    form: str
    mounts: list[Listed]
    unknown: frozenset[str]


def read_table(text: str, where: str) -> ImportedTable:
    """The mount table that a text is.

    Args:
        text: of a file; bytes that are not UTF-8 as surrogates.
        where: what to call it in errors.

    Raises:
        ParseError: it is none, or a line of it is damaged.
    """
    form = form_of(text)
    if form is None:
        # The one that people are told to attach: its problem is named.
        form = _MOUNTINFO
    mounts = form.parse(_lines(text), where)
    unknown = frozenset(name for name in COLUMNS if not _tells(mounts, name))
    return ImportedTable(form.name, _numbered(mounts), unknown)


def form_of(text: str) -> Form | None:
    """The form that the first lines of a text have; None if it is no mount table."""
    if "\0" in text:
        return None
    if text.lstrip("\ufeff \r\n\t").startswith("{"):
        return _JSON if '"filesystems"' in text else None
    lines = _lines(text)[:_HEAD]
    if not lines:
        return None
    if findmnt.header(lines[0]):
        return _COLUMNED if len(lines) > 1 else None
    for form in _FORMS:
        try:
            form.parse(lines, "")
        except ParseError:
            continue
        return form
    return None


def _lines(text: str) -> list[str]:
    """The lines of a text; a terminal (kubectl exec -t) ends each with a carriage return, too."""
    lines = text.removeprefix("\ufeff").split("\n")
    if all(line.endswith("\r") for line in lines if line):
        lines = [line.removesuffix("\r") for line in lines]
    return [line for line in lines if line]


def _of_mountinfo(lines: Sequence[str], where: str) -> list[Listed]:
    return [
        Listed(
            mount.mountpoint,
            mount.fstype,
            mount.source,
            mount.options,
            mount.super_options,
            mount.root,
            mount.mount_id,
            mount.parent_id,
            None,
            mount.device,
            mount.propagation,
            (mount.shared, mount.master),
            mount.unbindable,
        )
        for mount in mountinfo.parse(lines, where)
    ]


def _of_json(lines: Sequence[str], where: str) -> list[Listed]:
    return findmnt.of_json("\n".join(lines), where)


_MOUNTINFO = Form("mountinfo", _of_mountinfo)
_JSON = Form("findmnt --json", _of_json)
_COLUMNED = Form("findmnt", findmnt.of_columns)
_FORMS = (
    _MOUNTINFO,
    Form("/proc/PID/mounts", mount_listings.of_proc_mounts),
    Form("mount", mount_listings.of_mount),
    Form("findmnt --pairs", findmnt.of_pairs),
    _COLUMNED,
)


def _tells(mounts: Sequence[Listed], name: str) -> bool:
    """Whether a table has a column, for all of its mounts."""
    match name:
        case "shared":
            # A private mount is in no group, whatever the table has.
            return all(one.groups is not None or _is_private(one) for one in mounts)
        case "parent_id":
            if any(one.above is not None for one in mounts):
                return True
    return all(getattr(one, name) is not None for one in mounts)


def _is_private(mount: Listed) -> bool:
    return mount.propagation in ("private", "unbindable")


def _numbered(mounts: list[Listed]) -> list[Listed]:
    """With mount ids and parents, the latter as far as paths and order tell."""
    if not _tells(mounts, "mount_id"):
        mounts = [one._replace(mount_id=number) for number, one in enumerate(mounts, 1)]
    if all(one.parent_id is not None for one in mounts):
        return mounts
    above = [one.above for one in mounts]
    if all(one is None for one in above):
        above = _above(mounts)
    return [
        one._replace(parent_id=0 if at is None else mounts[at].mount_id)
        for one, at in zip(mounts, above, strict=True)
    ]


def _above(mounts: Sequence[Listed]) -> list[int | None]:
    """The likely parent of each mount: the last earlier one at the longest path above it, or at the
    same path; where there is none, the first later one above it."""
    last: dict[str, int] = {}
    found = [_longest(last, one.mountpoint, number) for number, one in enumerate(mounts)]
    first: dict[str, int] = {}
    for number, one in enumerate(mounts):
        first.setdefault(one.mountpoint, number)
    for number, one in enumerate(mounts):
        if found[number] is None and one.mountpoint != "/":
            found[number] = _nearest(first, one.mountpoint.rpartition("/")[0])
    return found


def _longest(last: dict[str, int], path: str, number: int) -> int | None:
    found = _nearest(last, path)
    last[path] = number
    return found


def _nearest(places: dict[str, int], path: str) -> int | None:
    """What is at a path, or at the nearest one above it."""
    while path and path != "/":
        if path in places:
            return places[path]
        path = path.rpartition("/")[0]
    return places.get("/")
