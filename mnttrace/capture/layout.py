"""The layout of the records that the kernel sends, read from bpf/records.h: the only copy."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

_SCALARS = {"u8": "u1", "u16": "u2", "u32": "u4", "u64": "u8", "s32": "i4", "s64": "i8"}
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


@cache
def dtype(struct: str) -> np.dtype[np.void]:
    """The numpy dtype of one struct of records.h.

    Raises:
        KeyError: no such struct.
        ValueError: a member's type is not a fixed-width integer, or the compiler would pad.
    """
    members = dict(_STRUCT.findall(_source()))[struct]
    fields: list[tuple[str, str, tuple[int, ...]]] = []
    for kind, name, length in _MEMBER.findall(members):
        if kind not in _SCALARS:
            raise ValueError(f"records.h: struct {struct}: {kind} {name} is not an integer")
        fields.append((name, _SCALARS[kind], (int(length),) if length else ()))
    packed = np.dtype(fields)
    if packed.itemsize != np.dtype(fields, align=True).itemsize:
        raise ValueError(f"records.h: struct {struct} has padding")
    return packed
