# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What BPF programs the kernel accepts, and how often it skipped one, by bpf(2) and without bcc."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_PROG_LOAD, _OBJ_GET_INFO_BY_FD, _RAW_TRACEPOINT_OPEN = 5, 15, 17
_MISSES = 208  # recursion_misses of struct bpf_prog_info, since 5.12
_TRACEPOINT, _TRACING = 5, 26
_FENTRY, _FEXIT = 24, 25
# r0 = 0; exit
_ZERO, _EXIT = struct.pack("=BBhi", 0xB7, 0, 0, 0), struct.pack("=BBhi", 0x95, 0, 0, 0)
# r0 = the current task; r0 = *(r0 + 0)
_TASK = struct.pack("=BBhi", 0x85, 0, 0, 35)
_READ = struct.pack("=BBhi", 0x79, 0, 0, 0)
# r1 = r0; r2 = 0, for void
_OF_VOID = struct.pack("=BBhi", 0xBF, 1, 0, 0) + struct.pack("=BBhi", 0xB7, 2, 0, 0)
_MAY_GOTO_NEXT = struct.pack("=BBhi", 0xE5, 0, 0, 0)


def traceable(function: int, at_exit: bool) -> bool:
    """Whether a program can be attached to a function of the kernel, by fentry or fexit.

    BTF alone does not say so: calls may be inlined, the symbol may have a suffix, and some kernels
    refuse all such programs (EPERM). So a program that does nothing is loaded and attached.

    Args:
        function: its number in the kernel's BTF.
        at_exit: by fexit.
    """
    program = _load(_TRACING, _ZERO + _EXIT, _FEXIT if at_exit else _FENTRY, function)
    if program < 0:
        return False
    attach = struct.pack("=QII", 0, program, 0)
    link = _bpf(_RAW_TRACEPOINT_OPEN, attach)
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
    program = _load(_TRACEPOINT, _ZERO + _MAY_GOTO_NEXT + _EXIT)
    if program < 0:
        return False
    os.close(program)
    return True


def takes_cast(function: int) -> bool:
    """Whether bpf_rdonly_cast() to void makes any address a pointer that programs can read through,
    and that gives 0 if a read fails (Linux 6.17).

    Args:
        function: the number of bpf_rdonly_cast in the kernel's BTF.
    """
    cast = struct.pack("=BBhi", 0x85, 0x20, 0, function)
    program = _load(_TRACEPOINT, _TASK + _OF_VOID + cast + _READ + _ZERO + _EXIT)
    if program < 0:
        return False
    os.close(program)
    return True


def missed(program: int) -> int:
    """How often the kernel skipped a program, since one was running on that processor.

    Args:
        program: its descriptor.
    """
    info = ctypes.create_string_buffer(_MISSES + 8)
    asked = struct.pack("=IIQ", program, len(info), ctypes.addressof(info))
    if _bpf(_OBJ_GET_INFO_BY_FD, asked) < 0:
        return 0
    return int.from_bytes(info.raw[_MISSES:], sys.byteorder)


def _load(kind: int, code: bytes, attach: int = 0, function: int = 0) -> int:
    """The descriptor of a program, negative if it is refused."""
    instructions = ctypes.create_string_buffer(code, len(code))
    license = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr of include/uapi/linux/bpf.h
    attributes = struct.pack(
        "=IIQQ44xI36xII",
        kind,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license),
        attach,
        function,
        0,
    )
    return _bpf(_PROG_LOAD, attributes)


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        return -1
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(number, command, attributes, len(attributes)))
