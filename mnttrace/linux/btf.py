# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Offsets of members of the kernel's structs, from BTF: the types that the kernel has with it.

The format is that of `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst`: a header, the
types one behind the other (the number of a type is its position, from 1; 0 is void) and the strings
that they point to. Types differ in size, so one pass finds where each begins; a type is decoded
only when it is needed. That takes less than 0.1 s for the 130,000 types of a kernel.

A member is named by a path: "mount.mnt.mnt_root" is `mnt_root` in the `struct vfsmount` that is
embedded as `mnt` in `struct mount`. A path goes through embedded structs and unions, the elements
of arrays (to the first one), and anonymous structs and unions, which it does not name; it does not
go through pointers.
"""

from __future__ import annotations

import functools
import struct
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from mnttrace.errors import BadInput, MissingPrerequisite

_Answer = TypeVar("_Answer")

KERNEL_BTF = "/sys/kernel/btf/vmlinux"

_HEADER = "HBBIIIII"  # magic, version, flags, its length, then offset and length: types, strings
_LAYOUT = "II"  # offset and length, where the header is long enough for them

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF, _VOLATILE, _CONST = range(1, 11)
_RESTRICT, _FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = range(11, 20)

_NAMES_ANOTHER_TYPE = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})
_LONGEST_CHAIN = 32  # of typedefs, arrays, pointers: what the kernel and libbpf follow

# 32-bit words behind the three that every type has: of the type, and of each of its elements.
_WORDS = {
    **dict.fromkeys([_PTR, _FWD, _FUNC, _FLOAT, *_NAMES_ANOTHER_TYPE], (0, 0)),
    **dict.fromkeys([_INT, _VAR, _DECL_TAG], (1, 0)),
    **dict.fromkeys([_ENUM, _FUNC_PROTO], (0, 2)),
    **dict.fromkeys([_STRUCT, _UNION, _DATASEC, _ENUM64], (0, 3)),
    _ARRAY: (3, 0),
}


class NoSuchMember(MissingPrerequisite, LookupError):
    """The kernel has no struct or member of that name (status 4)."""

    def __init__(self, path: str) -> None:
        """Say so of a path."""
        super().__init__(
            f"this kernel's structs have no {path}",
            "the kernel may be older or newer than those that mnttrace knows",
        )


class Member(NamedTuple):
    """A member of a struct or union.

    Attributes:
        name: "" where it is an anonymous struct or union.
        type: the number of its type.
        bit: where it begins, in bits from the beginning of the struct.
        bits: how many bits it has where it is a bitfield, else 0.
    """

    name: str
    type: int
    bit: int
    bits: int


class Btf:
    """The types in one BTF blob.

    A damaged blob raises BadInput: here if it is not clear where types begin, else when a damaged
    type is needed.

    Args:
        data: the content of `/sys/kernel/btf/vmlinux`, or of the `.BTF` section of an ELF file,
            of either byte order.
        where: what it is called in errors.
    """

    def __init__(self, data: bytes, where: str = "BTF") -> None:
        """Find where each type begins."""
        self._where = where
        self._read_sections(data)
        self._at = self._index()
        self._members: dict[int, tuple[Member, ...]] = {}

    @classmethod
    def load(cls, path: str | Path = KERNEL_BTF) -> Btf:
        """The types of the running kernel, or of another file of the same format.

        Raises:
            MissingPrerequisite: the file is not there or cannot be read.
            BadInput: it is not BTF, or damaged.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise MissingPrerequisite(
                f"no BTF at {path}: {error.strerror}",
                "it takes a kernel built with CONFIG_DEBUG_INFO_BTF=y, and sysfs mounted on /sys",
            ) from error
        return cls(data, str(path))

    def offset(self, path: str) -> int:
        """How many bytes behind the beginning of its struct a member lies.

        Raises:
            NoSuchMember: there is no such struct or member.
            BadInput: it is a bitfield, or several structs of that name disagree.
        """
        bit, bits = self._agreed(path, {(member.bit, member.bits) for member in self._find(path)})
        if bits or bit % 8:
            raise BadInput(f"{path} is a bitfield and has no offset in bytes")
        return bit // 8

    def has(self, path: str) -> bool:
        """Whether there is such a member, or such a struct where the path is one name."""
        return bool(self._find(path))

    def first(self, *paths: str) -> tuple[str, int] | None:
        """The first of these paths that this kernel has, with its offset in bytes; None if none.

        Give the newest kernel's first: a name can be used again for something else.

        Raises:
            BadInput: as `offset`.
        """
        return next(((path, self.offset(path)) for path in paths if self.has(path)), None)

    def size(self, path: str) -> int:
        """How many bytes a struct has, or a member that is one: "mount", "mount.mnt".

        Of an array it is the size of one element.

        Raises:
            NoSuchMember: there is no such struct or member.
            BadInput: it is neither a struct nor a union, or several of that name disagree.
        """
        types = [self._target(member.type) for member in self._find(path)]
        if any(self._kind(type_id) not in (_STRUCT, _UNION) for type_id in types):
            raise BadInput(f"{path} is neither a struct nor a union")
        return self._agreed(path, {self._words[self._at[type_id] + 2] for type_id in types})

    def member_type(self, path: str) -> str:
        """The name of the type that a member has, points to, or is an array of.

        Typedefs are followed: a member declared as `spinlock_t` gives "spinlock". The name of an
        anonymous struct or of a function is "".

        Raises:
            NoSuchMember: there is no such struct or member.
            BadInput: several structs of that name disagree.
        """
        types = [self._target(member.type, through_pointers=True) for member in self._find(path)]
        return self._agreed(path, {self._name(n) if n else "void" for n in types})

    def function_arguments(self, name: str) -> int | None:
        """How many arguments a function of the kernel has, without the "..." of a variadic one.

        Returns None where the kernel has no such function, or several that differ. Only the
        kernel's list of traceable functions tells whether a probe can be put on it.
        """
        counts = {self._count_arguments(type_id) for type_id in self._functions.get(name, ())}
        return counts.pop() if len(counts) == 1 else None

    def function_id(self, name: str) -> int | None:
        """The number of a function's type, None if there is none or several of that name."""
        found = self._functions.get(name, ())
        return found[0] if len(found) == 1 else None

    def struct_id(self, name: str) -> int | None:
        """The number of a struct's type, None if there is none or several of that name."""
        found = self._structs.get(name, ())
        return found[0] if len(found) == 1 else None

    # ---- paths

    def _agreed(self, path: str, answers: set[_Answer]) -> _Answer:
        """The answer, if it is the same for all structs of a name.

        Two files of the kernel can have a struct of the same name each. Mostly it is one struct,
        listed twice, as something that it points to differs.
        """
        if not answers:
            raise NoSuchMember(path)
        if len(answers) > 1:
            raise BadInput(f"{self._where}: several structs of one name disagree about {path}")
        return answers.pop()

    def _find(self, path: str) -> list[Member]:
        """The members that a path leads to, their bits counted from the first struct of the path.

        There is one for each struct of that name that has it; one name alone leads to the struct.
        """
        name, *names = path.split(".")
        walks = (self._walk(type_id, names) for type_id in self._structs.get(name, ()))
        return [member for member in walks if member]

    def _walk(self, type_id: int, names: list[str]) -> Member | None:
        bit = bits = 0
        for name in names:
            member = self._member(type_id, name)
            if member is None:
                return None
            type_id, bit, bits = member.type, bit + member.bit, member.bits
        return Member("", type_id, bit, bits)

    def _member(self, type_id: int, name: str) -> Member | None:
        """A member by name, looked for in anonymous structs and unions too, at any depth."""
        if not name:
            return None
        waiting, seen = [(type_id, 0)], set()
        for declared, start in waiting:
            struct_id = self._target(declared)
            if struct_id in seen:  # a struct within itself: in damaged data only
                continue
            seen.add(struct_id)
            for member in self._members_of(struct_id):
                if member.name == name:
                    return member._replace(bit=start + member.bit)
                if not member.name:
                    waiting.append((member.type, start + member.bit))
        return None

    def _members_of(self, type_id: int) -> tuple[Member, ...]:
        """The members of a struct or union; none where the type is something else."""
        if self._kind(type_id) not in (_STRUCT, _UNION):
            return ()
        if type_id not in self._members:
            self._members[type_id] = tuple(self._decode_members(type_id))
        return self._members[type_id]

    def _decode_members(self, type_id: int) -> Iterator[Member]:
        # With the type's flag (bit 31), the upper byte of a member's offset is a bitfield's size.
        with_sizes = self._words[self._at[type_id] + 1] >> 31
        for name, member_type, bit in self._elements(type_id, 3):
            if with_sizes:
                yield Member(self._string(name), member_type, bit & 0xFFFFFF, bit >> 24)
            else:
                yield Member(self._string(name), member_type, bit, self._bits_of_int(member_type))

    def _bits_of_int(self, type_id: int) -> int:
        """The bits of an integer with fewer bits than its bytes have: a bitfield of older BTF."""
        type_id = self._target(type_id, through_arrays=False)
        if self._kind(type_id) != _INT:
            return 0
        size, encoding = self._words[self._at[type_id] + 2 : self._at[type_id] + 4]
        bits = encoding & 0xFF
        return bits if bits != size * 8 else 0

    # ---- types

    @functools.cached_property
    def _structs(self) -> dict[str, list[int]]:
        """The numbers of the structs and unions by name."""
        return self._by_name(_STRUCT, _UNION)

    @functools.cached_property
    def _functions(self) -> dict[str, list[int]]:
        return self._by_name(_FUNC)

    def _by_name(self, *kinds: int) -> dict[str, list[int]]:
        words = self._words
        places = enumerate(self._at[1:], 1)
        wanted = [n for n, at in places if words[at + 1] >> 24 & 0x7F in kinds and words[at]]
        by_name: dict[str, list[int]] = {}
        for type_id in wanted:
            by_name.setdefault(self._name(type_id), []).append(type_id)
        return by_name

    def _target(
        self, type_id: int, *, through_arrays: bool = True, through_pointers: bool = False
    ) -> int:
        """The type behind typedefs, const, volatile and the like, arrays, and pointers if asked."""
        for _ in range(_LONGEST_CHAIN):
            kind = self._kind(type_id)
            if kind in _NAMES_ANOTHER_TYPE or (kind == _PTR and through_pointers):
                type_id = self._words[self._at[type_id] + 2]
            elif kind == _ARRAY and through_arrays:
                type_id = self._words[self._at[type_id] + 3]
            else:
                return type_id
        raise self._damaged(f"type {type_id} leads to no end")

    def _count_arguments(self, function: int) -> int:
        prototype = self._words[self._at[function] + 2]
        if self._kind(prototype) != _FUNC_PROTO:
            raise self._damaged(f"function {self._name(function)} has no prototype")
        arguments = list(self._elements(prototype, 2))
        variadic = bool(arguments) and arguments[-1] == [0, 0]
        return len(arguments) - variadic

    def _elements(self, type_id: int, words: int) -> Iterator[list[int]]:
        """What lies behind a type's first three words, an element of so many words at a time."""
        first = self._at[type_id] + 3
        count = self._words[first - 2] & 0xFFFFFF
        for at in range(first, first + words * count, words):
            yield self._words[at : at + words].tolist()

    def _kind(self, type_id: int) -> int:
        """The kind of a type, 0 of void."""
        if type_id >= len(self._at):
            raise self._damaged(f"there is no type {type_id}")
        return self._words[self._at[type_id] + 1] >> 24 & 0x7F if type_id else 0

    def _name(self, type_id: int) -> str:
        return self._string(self._words[self._at[type_id]])

    def _string(self, place: int) -> str:
        if place >= len(self._strings):
            raise self._damaged(f"there is no string at {place}")
        end = self._strings.index(b"\0", place)
        return self._strings[place:end].decode(errors="replace")

    # ---- the blob

    def _read_sections(self, data: bytes) -> None:
        order = {b"\x9f\xeb": "little", b"\xeb\x9f": "big"}.get(data[:2])
        if order is None:
            raise self._damaged("it does not begin with BTF's magic number")
        prefix = "<" if order == "little" else ">"
        header = struct.Struct(prefix + _HEADER)
        if len(data) < header.size:
            raise self._damaged("it ends within its header")
        _, version, _, length, types, types_length, strings, strings_length = header.unpack_from(
            data
        )
        if version != 1 or not header.size <= length <= len(data):
            raise self._damaged("its header is of another version")

        def section(start: int, size: int) -> bytes:
            start += length
            if start + size > len(data):
                raise self._damaged("it is cut")
            return data[start : start + size]

        self._words = array("I")
        if types_length % self._words.itemsize:
            raise self._damaged("its types end within one")
        self._words.frombytes(section(types, types_length))
        if order != sys.byteorder:
            self._words.byteswap()
        self._strings = section(strings, strings_length)
        if not self._strings.startswith(b"\0") or not self._strings.endswith(b"\0"):
            raise self._damaged("its strings are not strings")
        self._sizes = dict(_WORDS)
        layout = struct.Struct(prefix + _LAYOUT)
        if length >= header.size + layout.size:
            self._learn_sizes(section(*layout.unpack_from(data, header.size)))

    def _learn_sizes(self, layout: bytes) -> None:
        """Take the sizes of kinds that are newer than this reader from the blob, where it has them.

        Its layout section (`struct btf_layout`) has 4 bytes a kind, the first two of which are the
        sizes in bytes of what a type and of what each element has behind the common words.
        """
        for kind, (own, each) in enumerate(zip(layout[::4], layout[1::4], strict=False)):
            if not own % 4 and not each % 4:
                self._sizes.setdefault(kind, (own // 4, each // 4))

    def _index(self) -> list[int]:
        """Where each type begins, in words; the first is void, which is not there."""
        words, end = self._words, len(self._words)
        begins = [0]
        add = begins.append
        steps: dict[int, int] = {}  # how far it is to the next type, by the second word of a type
        at = 0
        try:
            while at < end:
                add(at)
                info = words[at + 1]
                step = steps.get(info)
                if step is None:
                    step = steps[info] = self._step(info)
                at += step
        except IndexError:
            at = -1
        if at != end:
            raise self._damaged("its types end within one")
        return begins

    def _step(self, info: int) -> int:
        """The words of a type. Older kernels use 5 bits for the kind and 16 for the count.

        The bits to which newer ones widened these were 0 before.
        """
        kind = info >> 24 & 0x7F
        if not kind or kind not in self._sizes:
            raise self._damaged(f"it has types of a kind, {kind}, that this reader does not know")
        own, each = self._sizes[kind]
        return 3 + own + each * (info & 0xFFFFFF)

    def _damaged(self, problem: str) -> BadInput:
        return BadInput(f"{self._where}: {problem}", "the file may be cut, damaged or not BTF")
