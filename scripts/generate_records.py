#!/usr/bin/env python3
# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Writes mnttrace/probes/records.py, the types of the kernel's records, from bpf/records.h.

Run it after a change of that header: .venv/bin/python scripts/generate_records.py
"""

from __future__ import annotations

import re
import struct
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
HEADER = CHECKOUT / "bpf" / "records.h"
MODULE = CHECKOUT / "mnttrace" / "probes" / "records.py"

# Prefixes of constants → the enumeration that they become, and whether its names lose the prefix.
ENUMS = {
    ("RECORD_",): ("RecordKind", True),
    ("LIST_",): ("ListReason", True),
    ("HOW_",): ("HowListed", True),
    ("BY_",): ("LastDetachKnownBy", True),
    ("LOST_", "TORN_", "CUT_", "SENT_"): ("Loss", False),
}
CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "s32": "i", "s64": "q"}
DECLARATION = re.compile(
    r"/\*(?P<comment>.*?)\*/"
    r"|^#define (?P<name>\w+) (?P<value>-?\d+)\b[ \t]*(?:/\*(?P<note>[^\n]*)\*/)?$"
    r"|^struct (?P<struct>\w+) \{(?P<body>.*?)^\};",
    re.DOTALL | re.MULTILINE,
)
MEMBER = re.compile(r"^\t(\w+) (\w+)(?:\[(\d+)\])?;", re.MULTILINE)
WIDTH = 100


class Constant(NamedTuple):
    """A `#define`: `comment` stands above it, `note` behind it; whether it begins a paragraph."""

    name: str
    value: int
    comment: str
    note: str
    begins: bool


class Struct(NamedTuple):
    """A struct: `members` are (type, name, length of the array or "")."""

    name: str
    comment: str
    members: list[tuple[str, str, str]]


def declarations(text: str) -> Iterator[Constant | Struct]:
    """The constants and structs of a header, with the comments above them.

    Raises:
        ValueError: a member's type is not a fixed-width integer.
    """
    comment, begins = "", False
    for found in DECLARATION.finditer(text):
        begins = begins or text.endswith("\n\n", 0, found.start())
        if found["comment"] is not None:
            comment = " ".join(re.sub(r"^ \*", "", found["comment"], flags=re.M).split())
            continue
        if found["name"]:
            note = (found["note"] or "").strip()
            yield Constant(found["name"], int(found["value"]), comment, note, begins)
        else:
            members = MEMBER.findall(found["body"])
            if len(members) != found["body"].count(";") or any(m[0] not in CODES for m in members):
                raise ValueError(f"struct {found['struct']} has members that are no integers")
            yield Struct(found["struct"], comment, members)
        comment, begins = "", False


def module(text: str) -> str:
    """The Python module for a header.

    Raises:
        ValueError: a struct has padding, or members that are no integers.
    """
    found = list(declarations(text))
    parts = [*enumerations([one for one in found if isinstance(one, Constant)])]
    parts += [named_tuple(one) for one in found if isinstance(one, Struct)]
    return PREAMBLE + "\n\n".join(parts)


def enumerations(constants: list[Constant]) -> Iterator[str]:
    """All constants as plain numbers, then those that belong together as enumerations."""
    lines: list[str] = []
    for one in constants:
        if one.begins and lines:
            lines.append("")
        if one.comment and not enumeration_of(one):
            lines += textwrap.wrap(f"# {one.comment}", WIDTH, subsequent_indent="# ")
        lines.append(f"{one.name}: Final = {one.value}")
    yield "\n".join(lines) + "\n"
    for (prefix, *_), (name, is_shortened) in ENUMS.items():
        members = [one for one in constants if enumeration_of(one) == name]
        lines = [f"class {name}(IntEnum):", *docstring(members[0].comment), ""]
        for n, one in enumerate(members):
            if n and one.comment:
                lines += wrapped_comment(one.comment)
            note = f"  # {one.note}" if one.note else ""
            short = one.name.removeprefix(prefix) if is_shortened else one.name
            lines.append(f"    {short} = {one.value}{note}")
        yield "\n".join(lines) + "\n"


def enumeration_of(constant: Constant) -> str:
    """The enumeration that a constant belongs to, or ""."""
    found = (name for prefixes, (name, _) in ENUMS.items() if constant.name.startswith(prefixes))
    return next(found, "")


def named_tuple(made: Struct) -> str:
    """A struct as a named tuple: an array of u8 is bytes, of others each element is a field.

    One whose name does not end in _record follows a record, and others of its kind.
    """
    codes = ""
    fields: list[str] = []
    arrays: list[tuple[str, int, int]] = []
    for kind, name, length in made.members:
        if not length:
            codes, fields = codes + CODES[kind], [*fields, f"{name}: int"]
        elif kind == "u8":
            codes, fields = f"{codes}{length}s", [*fields, f"{name}: bytes"]
        else:
            codes += CODES[kind] * int(length)
            arrays.append((name, len(fields), len(fields) + int(length)))
            fields += [f"{name}{n}: int" for n in range(int(length))]
    refuse_padding(made.name, codes)
    name, layout = made.name.title().replace("_", ""), made.name.upper()
    lines = [
        f'{layout}: Final = Struct("={shortened(codes)}")',
        f"{layout}_SIZE: Final = {layout}.size",
        "",
        "",
        f"class {name}(NamedTuple):",
        *docstring(made.comment),
        "",
        *(f"    {field}" for field in fields),
        *UNPACK.format(name=name, layout=layout).splitlines(),
    ]
    if not made.name.endswith("_record"):
        lines += UNPACK_MANY.format(name=name, layout=layout).splitlines()
    for array, first, end in arrays:
        lines += PROPERTY.format(array=array, first=first, end=end).splitlines()
    return "\n".join(lines) + "\n"


def refuse_padding(name: str, codes: str) -> None:
    """See that the compiler lays a struct out as `struct` with "=" does."""
    widest = max(struct.calcsize(code) for code in codes if code.isalpha() and code != "s")
    size = struct.calcsize("=" + codes)
    if size != struct.calcsize("@" + codes) or size % widest:
        raise ValueError(f"struct {name} has padding")


def shortened(codes: str) -> str:
    """The same format with numbers for what repeats: HHQ → 2HQ."""
    return re.sub(r"([A-Zqi])\1+", lambda run: f"{len(run[0])}{run[1]}", codes)


def docstring(text: str) -> list[str]:
    """A comment as the lines of a docstring."""
    return textwrap.wrap(f'"""{text}"""', WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)


def wrapped_comment(text: str) -> list[str]:
    """A comment above a member of an enumeration."""
    return textwrap.wrap(text, WIDTH, initial_indent="    # ", subsequent_indent="    # ")


PREAMBLE = '''# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The records that the BPF programs send.

Made by scripts/generate_records.py from bpf/records.h; edit that one. Constants are there as plain
numbers, which compare faster, and as enumerations. Of an array each element is a field of its own,
`lengths0` …, and a property gives all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

'''

UNPACK = '''
    @classmethod
    def unpack(cls, data: bytes, at: int = 0) -> {name}:
        """The struct that begins at `at`."""
        return tuple.__new__(cls, {layout}.unpack_from(data, at))
'''

UNPACK_MANY = '''
    @classmethod
    def unpack_many(cls, data: bytes, at: int, count: int) -> Iterator[{name}]:
        """`count` structs, one behind the other."""
        end = at + count * {layout}_SIZE
        return map(cls._make, {layout}.iter_unpack(memoryview(data)[at:end]))
'''

PROPERTY = '''
    @property
    def {array}(self) -> tuple[int, ...]:
        """`{array}0` and so on."""
        return self[{first}:{end}]
'''

if __name__ == "__main__":
    MODULE.write_text(module(HEADER.read_text()))
