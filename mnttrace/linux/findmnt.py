# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

r"""Mount tables as findmnt(8) prints them: as a tree, list, pairs, raw or JSON, with any columns.

Only some of it can be read back without loss. libsmartcols prints bytes that are not printable as
\xNN. In pairs and raw output it does so with the backslash, too; in trees and lists it does not,
and a directory that is called so cannot be told apart.

Trees and lists have columns of spaces between their cells, which can have spaces as well. A
terminal's width cuts them; what is cut is gone.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from mnttrace.errors import ParseError
from mnttrace.linux.mount_listings import Listed, is_tag

_COLUMNS = frozenset(
    """ACTION AVAIL FREQ FSROOT FSTYPE FS-OPTIONS ID INO.AVAIL INO.TOTAL INO.USED INO.USE% LABEL
    MAJ:MIN OLD-OPTIONS OLD-TARGET OPTIONS OPT-FIELDS PARENT PARTLABEL PARTUUID PASSNO PROPAGATION
    SIZE SOURCE SOURCES TARGET TID UNIQ-ID USED USE% UUID VFS-OPTIONS""".split()  # noqa: SIM905
)
_DEFAULT = ("TARGET", "SOURCE", "FSTYPE", "OPTIONS")
# A branch of the tree: two characters a level.
_BRANCH = re.compile("(?:[│|] |  )*(?:[├└]─|[|`]-)")
_HEADLESS = re.compile(
    "((?:(?:[│|] |  )*(?:[├└]─|[|`]-))?/[^ ]*) +([^ ]+) +([^ ]+) +(r[ow](?:,[^ ]*)?)"
)
_PAIR = re.compile(r'([A-Z][A-Z:%._-]*)="([^"]*)"(?: |$)')
_BYTES = re.compile(r"(?:\\x[0-9a-f]{2})+")
_UNPRINTABLE_BYTES = re.compile(r"(?:\\x(?:[01][0-9a-f]|7f|[89a-f][0-9a-f]))+")
# A source with its root, a path or a namespace like "net:[4026531840]", in brackets.
_ROOTED = re.compile(r"(.*?)\[((?:/|[a-z_]+:\[).*)\]", re.DOTALL)
_NUMBER = re.compile("[0-9]{1,18}")
_DEVICE = re.compile("[0-9]{1,10}:[0-9]{1,10}")

Cells = dict[str, str | None]


def of_json(text: str, where: str) -> list[Listed]:
    """The mounts that `findmnt -J` lists.

    Raises:
        ParseError: it is no such JSON.
    """
    try:
        top = json.loads(text)["filesystems"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ParseError(where, 1, "no JSON of findmnt(8)") from None
    rows: list[Cells] = []
    parents: list[int | None] = []
    has_tree = False
    left: list[tuple[int | None, Any]] = [(None, one) for one in reversed(_list(top))]
    while left:
        above, one = left.pop()
        if not isinstance(one, dict):
            raise ParseError(where, 1, "no JSON of findmnt(8)")
        children = _list(one.pop("children", None))
        has_tree = has_tree or bool(children)
        left += [(len(rows), child) for child in reversed(children)]
        rows.append({_name(name): _text(value) for name, value in one.items()})
        parents.append(above)
    return _listed(rows, parents if has_tree else None, [1] * len(rows), where)


def of_pairs(lines: Sequence[str], where: str) -> list[Listed]:
    """The mounts that `findmnt -P` lists.

    Raises:
        ParseError: for the first line that is none of it.
    """
    rows: list[Cells] = []
    for number, line in enumerate(lines, 1):
        pairs = _PAIR.findall(line)
        if not pairs or "".join(f'{name}="{value}" ' for name, value in pairs).rstrip() != line:
            raise ParseError(where, number, "no line of findmnt -P")
        rows.append({_name(name): _decoded(value, _BYTES) for name, value in pairs})
    return _listed(rows, None, range(1, len(rows) + 1), where)


def of_columns(lines: Sequence[str], where: str) -> list[Listed]:
    """The mounts that findmnt lists as a tree (also with --ascii), with --list or with --raw.

    Without a header (-n) the default columns are assumed, and no cell has a space.

    Raises:
        ParseError: for the first line that is none of it.
    """
    names = header(lines[0]) if lines else None
    if names is None:
        return _headless(lines, where)
    raw = [line.split(" ") for line in lines]
    if all(len(names) - 1 <= len(cells) <= len(names) for cells in raw):
        rows: list[Cells] = [
            {name: _decoded(cell, _BYTES) for name, cell in zip(names, cells, strict=False)}
            for cells in raw[1:]
        ]
        return _listed(rows, None, range(2, len(lines) + 1), where)
    cut = list(_cut(lines, names))
    return _of_cells([dict(zip(names, cells, strict=True)) for cells in cut[1:]], 2, where)


def header(line: str) -> list[str] | None:
    """The columns that a first line names; None if it is no header of findmnt with TARGET."""
    names = [_name(word) for word in line.split()]
    return names if "TARGET" in names and _COLUMNS.issuperset(names) else None


def _headless(lines: Sequence[str], where: str) -> list[Listed]:
    rows = []
    for number, line in enumerate(lines, 1):
        cells = _HEADLESS.fullmatch(line)
        if cells is None:
            raise ParseError(where, number, "no line of findmnt -n with its default columns")
        rows.append(dict(zip(_DEFAULT, cells.groups(), strict=True)))
    return _of_cells(rows, 1, where)


def _of_cells(rows: Sequence[dict[str, str]], first: int, where: str) -> list[Listed]:
    """The mounts of a tree or list, of which the cells are known."""
    decoded: list[Cells] = []
    parents: list[int | None] = []
    branch: list[int] = []  # the rows above the last one, one a level
    has_tree = False
    for row in rows:
        target = row["TARGET"]
        drawn = _BRANCH.match(target)
        depth = len(drawn[0]) // 2 if drawn else 0
        has_tree = has_tree or bool(depth)
        branch = branch[:depth]
        parents.append(branch[-1] if branch else None)
        branch.append(len(decoded))
        cells = row | {"TARGET": target[2 * depth :]}
        decoded.append({name: _decoded(cell, _UNPRINTABLE_BYTES) for name, cell in cells.items()})
    lines = range(first, first + len(rows))
    return _listed(decoded, parents if has_tree else None, lines, where)


def _cut(lines: Sequence[str], names: Sequence[str]) -> Iterator[list[str]]:
    """The cells of lines in columns, the header's first.

    A column ends at the last place before the next one's name that is blank in all lines: some are
    aligned to the left, some to the right.
    """
    wide = [_in_columns(line) for line in lines]
    width = max(map(len, wide))
    is_blank = [all(at >= len(line) or line[at] == " " for line in wide) for at in range(width)]
    starts = [found.start() for found in re.finditer("[^ ]+", "".join(wide[0]))]
    ends = []
    for before, start in itertools.pairwise(starts):
        blank = (at for at in range(start - 1, before, -1) if is_blank[at])
        ends.append(next(blank, start))
    # The tree's blanks count: TARGET is aligned to the left.
    firsts = [
        start if name == "TARGET" else end
        for name, start, end in zip(names, starts, [0, *ends], strict=True)
    ]
    lasts = [*ends, width]
    for line in wide:
        cells = ["".join(line[a:b]).rstrip(" ") for a, b in zip(firsts, lasts, strict=True)]
        yield [
            cell if name == "TARGET" else cell.lstrip(" ")
            for name, cell in zip(names, cells, strict=True)
        ]


def _in_columns(line: str) -> list[str]:
    """The characters of a line by the columns of a terminal: wide ones take two of them."""
    found: list[str] = []
    for char in line:
        if unicodedata.combining(char) and found:
            found[-1] += char
        else:
            found.append(char)
            if unicodedata.east_asian_width(char) in "WF":
                found.append("")
    return found


def _listed(
    rows: Sequence[Cells], parents: Sequence[int | None] | None, lines: Sequence[int], where: str
) -> list[Listed]:
    """The mounts of rows.

    Args:
        rows: the cells of each, by column.
        parents: the row above each in a tree, None at its root; None if there is no tree.
        lines: which line each is, for errors.
        where: what to call the listing in errors.
    """
    if rows and "USE%" in rows[0] and not rows[0].keys() & {"OPTIONS", "ID", "PROPAGATION"}:
        raise ParseError(where, lines[0], "findmnt --df leaves mounts out: it is no mount table")
    # Without --nofsroot some source has its root behind it, and one without has "/".
    has_roots = any(_source(row)[1] for row in rows)
    found = []
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        target = row.get("TARGET")
        if not target or not target.startswith("/") or is_tag(row.get("SOURCE")):
            raise ParseError(where, line, "no mount of findmnt(8)")
        above = None if parents is None else parents[number]
        found.append(_mount(target, row, above, has_roots))
    return found


def _mount(target: str, row: Cells, above: int | None, has_roots: bool) -> Listed:
    source, root = _source(row)
    if "FSROOT" in row:
        root = row["FSROOT"] or None
    elif root is None and has_roots:
        root = "/"
    vfs, super_options = row.get("VFS-OPTIONS"), row.get("FS-OPTIONS")
    is_split = vfs is not None and super_options is not None
    device = row.get("MAJ:MIN")
    fields = row.get("OPT-FIELDS") or ""
    propagation = _propagation(row.get("PROPAGATION"))
    if "OPT-FIELDS" in row:
        propagation = _propagation_of(fields)
    return Listed(
        target,
        row.get("FSTYPE"),
        source,
        vfs if is_split else row.get("OPTIONS"),
        super_options if is_split else None,
        root,
        _number(row.get("ID")),
        _number(row.get("PARENT")) if row.get("PARENT") or "PARENT" not in row else 0,
        above,
        device if device is not None and _DEVICE.fullmatch(device) else None,
        propagation,
        (_group(fields, "shared"), _group(fields, "master")) if "OPT-FIELDS" in row else None,
    )


def _source(row: Cells) -> tuple[str | None, str | None]:
    """The source, and the root that is behind it in brackets."""
    source = row.get("SOURCE")
    if "SOURCE" in row and source is None:
        source = ""  # of JSON: the mount has none
    found = _ROOTED.fullmatch(source or "")
    return (found[1], found[2]) if found else (source, None)


_TYPES = {
    frozenset({"shared"}): "shared",
    frozenset({"private"}): "private",
    frozenset({"private", "slave"}): "slave",
    frozenset({"shared", "slave"}): "shared-and-slave",
    frozenset({"private", "unbindable"}): "unbindable",
    frozenset({"private", "slave", "unbindable"}): "slave",
}


def _propagation(flags: str | None) -> str | None:
    """A cell of PROPAGATION in the words of mount_namespaces(7): a slave is "private,slave"."""
    return _TYPES.get(frozenset((flags or "").split(",")))


def _propagation_of(fields: str) -> str:
    flags = {"shared"} if _group(fields, "shared") is not None else {"private"}
    if _group(fields, "master") is not None:
        flags.add("slave")
    if "unbindable" in fields.split():
        flags.add("unbindable")
    return _TYPES.get(frozenset(flags), "shared")


def _group(fields: str, tag: str) -> int | None:
    found = re.search(rf"(?:^| ){tag}:([0-9]{{1,10}})(?: |$)", fields)
    return int(found[1]) if found else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _name(text: str) -> str:
    """A column's name: pairs (-y) and JSON write some of them in other ways."""
    name = text.upper().replace("_", "-")
    return "MAJ:MIN" if name == "MAJ-MIN" else name


def _decoded(text: str, escaped: re.Pattern[str]) -> str:
    def decode(found: re.Match[str]) -> str:
        data = bytes.fromhex(found[0].replace("\\x", ""))
        return data.decode("utf-8", "surrogateescape")

    return escaped.sub(decode, text) if "\\x" in text else text


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return None if value is None or isinstance(value, list | dict) else str(value)
