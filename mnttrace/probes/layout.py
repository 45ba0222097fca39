"""The layout of the records that the kernel sends, read from bpf/records.h: the only copy."""

from __future__ import annotations

import re
import struct
from collections import namedtuple
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

_SCALARS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "s32": "i", "s64": "q"}
_STRUCT = re.compile(r"struct (\w+) \{(.*?)\n\};", re.DOTALL)
_MEMBER = re.compile(r"^\t(\w+) (\w+)(?:\[(\d+)\])?;", re.MULTILINE)
_DEFINE = re.compile(r"^#define (\w+) (-?\d+)\s", re.MULTILINE)


def bpf_directory() -> Path:
    """The folder of the BPF sources: in an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "bpf"
    return inside if inside.is_dir() else package.parent / "bpf"


@cache
def _source() -> str:
    text = (bpf_directory() / "records.h").read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


@cache
def constants() -> dict[str, int]:
    """Every `#define NAME number` of records.h."""
    return {name: int(value) for name, value in _DEFINE.findall(_source())}


class Layout:
    """One struct of records.h: its bytes become a named tuple.

    Integers are one field each; an array of u8 is bytes; of another array each element is a field
    of its own, `name0`, `name1` ….

    Attributes:
        size: in bytes.
        format: as of the module struct.
        arrays: name → the slice of the tuple that holds it.

    Raises:
        KeyError: no such struct.
        ValueError: a member's type is not a fixed-width integer, or the compiler would pad.
    """

    def __init__(self, name: str) -> None:
        members = _MEMBER.findall(dict(_STRUCT.findall(_source()))[name])
        codes = ""
        fields: list[str] = []
        self.arrays: dict[str, slice] = {}
        for kind, member, length in members:
            if kind not in _SCALARS:
                raise ValueError(f"records.h: struct {name}: {kind} {member} is not an integer")
            code = _SCALARS[kind]
            if not length:
                codes, fields = codes + code, [*fields, member]
            elif kind == "u8":
                codes, fields = f"{codes}{length}s", [*fields, member]
            else:
                first = len(fields)
                codes += code * int(length)
                fields += [f"{member}{n}" for n in range(int(length))]
                self.arrays[member] = slice(first, len(fields))
        self.format = "=" + codes
        self._struct = struct.Struct(self.format)
        self.size = self._struct.size
        widest = max(struct.calcsize(code) for code in codes if code.isalpha() and code != "s")
        if self.size != struct.calcsize("@" + codes) or self.size % widest:
            raise ValueError(f"records.h: struct {name} has padding")
        made: Any = namedtuple(name, fields)  # type: ignore[misc]
        self._make = made._make

    def unpack(self, data: bytes, at: int = 0) -> Any:
        """The struct that begins at `at`."""
        return self._make(self._struct.unpack_from(data, at))

    def unpack_many(self, data: bytes, at: int, count: int) -> Iterator[Any]:
        """`count` structs, one behind the other."""
        end = at + count * self.size
        return map(self._make, self._struct.iter_unpack(memoryview(data)[at:end]))


@cache
def layout(name: str) -> Layout:
    """The layout of one struct of records.h."""
    return Layout(name)
