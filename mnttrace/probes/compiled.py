# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Compiled programs as a value, and as bytes that are kept or given to another machine.

The bytes are a line that says what they are, a digest of what follows, and that: MessagePack of a
:class:`Bundle`. What does not fit its types is refused; nothing in it is executed here.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import Annotated, Literal

import msgspec

_MAGIC = b"mnttrace programs 1\n"
_INSTRUCTION = struct.Struct("=BBhi")  # operation, registers, offset, number
_LOAD_64 = (
    0x18  # BPF_LD | BPF_DW | BPF_IMM: two instructions, the first has the number's lower half
)
_PSEUDO_MAP = 1  # BPF_PSEUDO_MAP_FD as source register: the number is a map's descriptor

_U32 = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]

# What a program is attached to. Which tracepoint or functions is chosen when it is attached.
Kind = Literal[
    "tracepoint", "kprobe_multi", "raw_tracepoint", "fentry", "fexit", "kprobe", "kretprobe"
]


class Damaged(ValueError):
    """The bytes are no bundle, or not a whole one."""


class MapSpec(msgspec.Struct, frozen=True):
    """A map that is to be made.

    Attributes:
        name: in the source.
        kind: BPF_MAP_TYPE_...
        key_size: bytes of a key.
        value_size: bytes of a value.
        entries: how many it can have; bytes of a ring buffer.
        flags: BPF_F_...
    """

    name: str
    kind: _U32
    key_size: _U32
    value_size: _U32
    entries: _U32
    flags: _U32


class Program(msgspec.Struct, frozen=True):
    """A program.

    Attributes:
        name: in the source.
        kind: what it is attached to.
        target: the function of the kernel, or the raw tracepoint.
        code: its instructions, with 0 in the place of each map's descriptor.
        places: number of an instruction → number of the map whose descriptor it has.
    """

    name: str
    kind: Kind
    target: str
    code: bytes
    places: dict[_U32, _U32]

    @classmethod
    def of(
        cls, name: str, kind: Kind, target: str, code: bytes, descriptors: dict[int, int]
    ) -> Program:
        """A program whose instructions have descriptors of maps.

        Args:
            name: in the source.
            kind: what it is attached to.
            target: as of the attribute.
            code: its instructions.
            descriptors: of maps → their numbers.
        """
        changed, places = bytearray(code), {}
        is_second = False
        for at in range(0, len(code), _INSTRUCTION.size):
            operation, registers, _, number = _INSTRUCTION.unpack_from(code, at)
            if operation == _LOAD_64 and registers >> 4 == _PSEUDO_MAP and not is_second:
                places[at // _INSTRUCTION.size] = descriptors[number]
                struct.pack_into("=i", changed, at + 4, 0)
            is_second = operation == _LOAD_64 and not is_second
        return cls(name, kind, target, bytes(changed), places)

    def linked(self, descriptors: list[int]) -> bytes:
        """The instructions.

        Args:
            descriptors: of the maps, by their numbers.
        """
        code = bytearray(self.code)
        for place, number in self.places.items():
            struct.pack_into("=i", code, place * _INSTRUCTION.size + 4, descriptors[number])
        return bytes(code)


class ProgramSet(msgspec.Struct, frozen=True):
    """What was compiled with certain definitions.

    Attributes:
        definitions: name → value, as the compiler was given them.
        maps: that the programs use.
        programs: by no order.
    """

    definitions: dict[str, int]
    maps: list[MapSpec]
    programs: list[Program]

    def __post_init__(self) -> None:
        """Programs fit their maps."""
        for program in self.programs:
            count = len(program.code) // _INSTRUCTION.size
            if len(program.code) % _INSTRUCTION.size or not program.code:
                raise ValueError(f"{program.name} has no whole instructions")
            for place, number in program.places.items():
                if place >= count or number >= len(self.maps):
                    raise ValueError(f"{program.name} has a map where there is none")


class Function(msgspec.Struct, frozen=True):
    """A function of the kernel.

    Attributes:
        number: in its BTF; 0 if there are several of that name.
        arguments: how many it has.
    """

    number: _U32
    arguments: _U32


class Facts(msgspec.Struct, frozen=True):
    """What programs have to know of a kernel, and which kernel that is.

    Attributes:
        machine: what it runs on, as uname(2) says.
        release: its release.
        btf: digest of its BTF.
        definitions: where members of its structs are: see :mod:`mnttrace.probes.offsets`.
        functions: those that programs are attached to, or whose being there says something.
        namespaces_have_ids: whether user space can learn unique ids of mount namespaces.
        struct_of_bytes: the number, in its BTF, of a struct that begins with an array of bytes; 0
            if it has none.
    """

    machine: str
    release: str
    btf: str
    definitions: dict[str, int]
    functions: dict[str, Function]
    namespaces_have_ids: bool
    struct_of_bytes: _U32 = 0


class FileStamp(msgspec.Struct, frozen=True):
    """A file as it was.

    Attributes:
        path: of it.
        size: in bytes.
        changed: when its content was, ns since 1970.
    """

    path: str
    size: int
    changed: int


class Bundle(msgspec.Struct, frozen=True):
    """Programs for one kernel.

    Attributes:
        source: digest of what they were compiled from, and of what that is chosen by.
        facts: of the kernel.
        compiler: the files of the compiler that were used.
        sets: the programs, compiled with different definitions.
    """

    source: str
    facts: Facts
    compiler: list[FileStamp] = []
    sets: list[ProgramSet] = []

    def find(self, definitions: dict[str, int]) -> ProgramSet | None:
        """What was compiled with these definitions."""
        return next((one for one in self.sets if one.definitions == definitions), None)


def encode(bundle: Bundle) -> bytes:
    """A bundle as bytes."""
    body = msgspec.msgpack.encode(bundle)
    return _MAGIC + sha256(body).digest() + body


def decode(data: bytes) -> Bundle:
    """The bundle that bytes are.

    Raises:
        Damaged: they are none, or changed.
    """
    start = len(_MAGIC) + sha256().digest_size
    if not data.startswith(_MAGIC):
        raise Damaged("it has no compiled programs, or those of another version of mnttrace")
    if sha256(data[start:]).digest() != data[len(_MAGIC) : start]:
        raise Damaged("it was changed, or is not whole")
    try:
        return msgspec.msgpack.decode(data[start:], type=Bundle)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Damaged(f"it has something else than compiled programs: {error}") from error
