"""Whether BPF programs may be put on a function of the kernel, found out by doing so.

That BTF has a function says little: it can be inlined in part, or have another name; some kernels
refuse all such programs (EPERM). The program that is tried does nothing, and is gone at once.
"""

from __future__ import annotations

import ctypes
import os
import struct

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_PROG_LOAD, _RAW_TRACEPOINT_OPEN = 5, 17
_TRACING = 26
_FENTRY, _FEXIT = 24, 25
# r0 = 0; exit
_NOTHING = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)


def traceable(function: int, at_exit: bool) -> bool:
    """Whether a program can be put where a function begins, or where it ends.

    Args:
        function: its number in the kernel's BTF.
        at_exit: where it ends.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SYS_BPF.get(os.uname().machine)
    if number is None:
        return False
    instructions = ctypes.create_string_buffer(_NOTHING, len(_NOTHING))
    license = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr of include/uapi/linux/bpf.h
    load = struct.pack(
        "=IIQQ44xI36xII",
        _TRACING,
        len(_NOTHING) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license),
        _FEXIT if at_exit else _FENTRY,
        function,
        0,
    )
    program = libc.syscall(number, _PROG_LOAD, load, len(load))
    if program < 0:
        return False
    attach = struct.pack("=QII", 0, program, 0)
    link = libc.syscall(number, _RAW_TRACEPOINT_OPEN, attach, len(attach))
    os.close(program)
    if link < 0:
        return False
    os.close(link)
    return True
