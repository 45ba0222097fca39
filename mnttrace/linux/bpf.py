# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""bpf(2), without any library: maps, programs, and what the kernel accepts of them.

Numbers and layouts are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_NEXT_KEY = 0, 1, 2, 4
_PROG_LOAD, _OBJ_GET_INFO_BY_FD, _RAW_TRACEPOINT_OPEN, _LINK_CREATE = 5, 15, 17, 28
_MISSES = 208  # recursion_misses of struct bpf_prog_info, since 5.12
_LINK_MISSES = 32  # kprobe_multi.missed of struct bpf_link_info
KPROBE, TRACEPOINT, RAW_TRACEPOINT, TRACING = 2, 5, 17, 26  # types of programs
FENTRY, FEXIT = 24, 25  # where one of type TRACING is attached
KPROBE_MULTI = 42  # where one of type KPROBE is attached, to many functions (from 5.18 on)
_AT_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN
_NAME = 15  # bytes of a name that the kernel keeps
_LOG = 1 << 20  # bytes for what the verifier says
# r0 = 0; exit
_ZERO, _EXIT = struct.pack("=BBhi", 0xB7, 0, 0, 0), struct.pack("=BBhi", 0x95, 0, 0, 0)
# r0 = the current task; r0 = *(r0 + 0)
_TASK = struct.pack("=BBhi", 0x85, 0, 0, 35)
_READ = struct.pack("=BBhi", 0x79, 0, 0, 0)
# r1 = r0
_OF_THAT = struct.pack("=BBhi", 0xBF, 1, 0, 0)
_MAY_GOTO_NEXT = struct.pack("=BBhi", 0xE5, 0, 0, 0)


class Map(NamedTuple):
    """A map that is there.

    Attributes:
        descriptor: of it.
        key_size: bytes of a key.
        value_size: bytes of a value.
    """

    descriptor: int
    key_size: int
    value_size: int

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value of a key.

        Raises:
            OSError: the kernel refuses.
        """
        _check(self._do(_MAP_UPDATE, key, ctypes.create_string_buffer(value, self.value_size)))

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a key; None if there is none. Of a map for each processor use no such."""
        value = ctypes.create_string_buffer(self.value_size)
        return None if self._do(_MAP_LOOKUP, key, value) < 0 else value.raw

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of a hash. Of what comes and goes meanwhile some may be missing."""
        key = ctypes.create_string_buffer(self.key_size)
        value = ctypes.create_string_buffer(self.value_size)
        after: bytes | None = None
        while self._do(_MAP_NEXT_KEY, after, key) >= 0:
            after = key.raw
            if self._do(_MAP_LOOKUP, after, value) >= 0:
                yield after, value.raw

    def _do(self, command: int, key: bytes | None, other: ctypes.Array[ctypes.c_char]) -> int:
        given = ctypes.create_string_buffer(key, self.key_size) if key is not None else None
        at = ctypes.addressof(given) if given is not None else 0
        return _bpf(
            command, struct.pack("=I4xQQQ", self.descriptor, at, ctypes.addressof(other), 0)
        )


def create_map(
    kind: int, key_size: int, value_size: int, entries: int, flags: int, name: str
) -> Map:
    """Make a map.

    Args:
        kind: its type (BPF_MAP_TYPE_...).
        key_size: bytes of a key.
        value_size: bytes of a value.
        entries: how many it can have; of a ring buffer its size in bytes.
        flags: BPF_F_...
        name: for those who list maps.

    Raises:
        OSError: the kernel refuses.
    """
    asked = struct.pack(
        "=IIIII8x16s", kind, key_size, value_size, entries, flags, name.encode()[:_NAME]
    )
    made = _bpf(_MAP_CREATE, asked)
    if made < 0 and _lift_limit():
        made = _bpf(_MAP_CREATE, asked)
    return Map(_check(made), key_size, value_size)


def load_program(kind: int, code: bytes, name: str = "", attach: int = 0, function: int = 0) -> int:
    """Load a program.

    Args:
        kind: its type, such as :data:`TRACEPOINT`.
        code: its instructions.
        name: for those who list programs.
        attach: of type :data:`TRACING`: :data:`FENTRY` or :data:`FEXIT`; of type :data:`KPROBE`:
            :data:`KPROBE_MULTI` or 0.
        function: of type :data:`TRACING`: the number of the function in the kernel's BTF.

    Returns:
        Its descriptor.

    Raises:
        OSError: the kernel refuses; its text has what the verifier says, if it says something.
    """
    program = _load(kind, code, name, attach, function)
    if program >= 0:
        return program
    error = ctypes.get_errno()
    log = ctypes.create_string_buffer(_LOG)
    program = _load(kind, code, name, attach, function, log)
    if program >= 0:  # what was lacking is there now
        return program
    said = [line.strip() for line in log.value.decode(errors="replace").splitlines() if line]
    # Behind why comes the number of instructions that were looked at.
    raise OSError(error, ", ".join([os.strerror(error), *said[-2:-1]]))


def open_raw_tracepoint(program: int, name: str | None = None) -> int:
    """Attach a program to a raw tracepoint, or one of type :data:`TRACING` to its function.

    Args:
        program: its descriptor.
        name: of the tracepoint.

    Returns:
        A descriptor that keeps it attached.

    Raises:
        OSError: the kernel refuses.
    """
    called = ctypes.create_string_buffer(name.encode()) if name else None
    at = ctypes.addressof(called) if called else 0
    return _check(_bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QI4x", at, program)))


def attach_to_functions(program: int, cookies: Mapping[str, int], at_exit: bool) -> int:
    """Attach a program of type :data:`KPROBE` for :data:`KPROBE_MULTI` to functions of the kernel.

    Args:
        program: its descriptor.
        cookies: name of a function → the number that the program gets there by
            bpf_get_attach_cookie().
        at_exit: where they return.

    Returns:
        A descriptor that keeps it attached.

    Raises:
        OSError: the kernel refuses.
    """
    texts = [ctypes.create_string_buffer(name.encode()) for name in cookies]
    names = struct.pack(f"={len(texts)}Q", *map(ctypes.addressof, texts))
    numbers = struct.pack(f"={len(texts)}Q", *cookies.values())
    lists = [ctypes.create_string_buffer(raw, len(raw)) for raw in (names, numbers)]
    at_names, at_numbers = map(ctypes.addressof, lists)
    link = (program, 0, KPROBE_MULTI, 0, _AT_RETURN * at_exit, len(texts), at_names, 0, at_numbers)
    return _check(_bpf(_LINK_CREATE, struct.pack("=IIIIIIQQQ", *link)))


def takes_functions(names: Collection[str]) -> bool:
    """Whether a program can be attached to functions of the kernel, all of them at once, where they
    begin and where they return: one that does nothing is.

    Args:
        names: of the functions.
    """
    program = _load(KPROBE, _ZERO + _EXIT, attach=KPROBE_MULTI)
    if program < 0:
        return False
    try:
        for at_exit in (False, True):
            os.close(attach_to_functions(program, dict.fromkeys(names, 0), at_exit))
    except OSError:
        return False
    finally:
        os.close(program)
    return True


def traceable(function: int, at_exit: bool) -> bool:
    """Whether a program can be attached to a function of the kernel, by fentry or fexit.

    BTF alone does not say so: calls may be inlined, the symbol may have a suffix, and some kernels
    refuse all such programs (EPERM). So a program that does nothing is loaded and attached.

    Args:
        function: its number in the kernel's BTF.
        at_exit: by fexit.
    """
    program = _load(TRACING, _ZERO + _EXIT, attach=FEXIT if at_exit else FENTRY, function=function)
    if program < 0:
        return False
    link = _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QI4x", 0, program))
    os.close(program)
    if link < 0:
        return False
    os.close(link)
    return True


def takes_may_goto() -> bool:
    """Whether the kernel has the instruction may_goto, and its verifier copes with long loops.

    The instruction is there from 6.9 on, but 6.12 gives up on long loops. A may_goto to the next
    instruction, which is what is loaded here, is accepted by kernels that cope (6.14).
    """
    return _takes(_ZERO + _MAY_GOTO_NEXT + _EXIT)


def takes_cast(function: int, to: int = 0) -> bool:
    """Whether bpf_rdonly_cast() makes any address a pointer that programs can read through, and
    that gives 0 if a read fails.

    Args:
        function: the number of bpf_rdonly_cast in the kernel's BTF.
        to: the number of a struct there that a pointer is to point to (Linux 6.2); 0: void (6.17).
    """
    cast = struct.pack("=BBhi", 0xB7, 2, 0, to) + struct.pack("=BBhi", 0x85, 0x20, 0, function)
    return _takes(_TASK + _OF_THAT + cast + _READ + _ZERO + _EXIT)


def missed(program: int) -> int:
    """How often the kernel skipped a program, since one was running on that processor.

    Args:
        program: its descriptor.
    """
    return _counted(program, _MISSES)


def missed_by_link(link: int) -> int:
    """How often a link of :func:`attach_to_functions` could not run its program: more threads were
    in the functions at once than it keeps account of (from 6.7 on; before that 0).

    Args:
        link: its descriptor.
    """
    return _counted(link, _LINK_MISSES)


def _counted(descriptor: int, place: int) -> int:
    """A 64-bit number in what the kernel says of a program or link; 0 if it says less."""
    info = ctypes.create_string_buffer(place + 8)
    asked = struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info))
    if _bpf(_OBJ_GET_INFO_BY_FD, asked) < 0:
        return 0
    return int.from_bytes(info.raw[place:], sys.byteorder)


def _takes(code: bytes) -> bool:
    program = _load(TRACEPOINT, code)
    if program < 0:
        return False
    os.close(program)
    return True


def _load(
    kind: int,
    code: bytes,
    name: str = "",
    attach: int = 0,
    function: int = 0,
    log: ctypes.Array[ctypes.c_char] | None = None,
) -> int:
    """The descriptor of a program, negative if it is refused."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr
    attributes = struct.pack(
        "=IIQQIIQ8x16s4xI36xII",
        kind,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license),
        log is not None,
        len(log) if log else 0,
        ctypes.addressof(log) if log else 0,
        name.encode()[:_NAME],
        attach,
        function,
        0,
    )
    return _bpf(_PROG_LOAD, attributes)


def _lift_limit() -> bool:
    """Allow more memory to be locked: before 5.11 that of maps counts."""
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    except (OSError, ValueError):
        return False
    return True


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        return -1
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(number, command, attributes, len(attributes)))
