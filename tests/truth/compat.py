# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Calls as 32-bit programs make them: by `int 0x80`, from a program of 64 bits.

compat.py mount SOURCE TARGET FSTYPE
compat.py umount TARGET FLAGS
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys

# arch/x86/entry/syscalls/syscall_32.tbl
MOUNT, OLDUMOUNT, UMOUNT2 = 21, 22, 52
MAP_32BIT = 0x40


def low_memory(size: int) -> mmap.mmap:
    """Memory whose addresses fit into 32 bits, and that can be run."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT
    return mmap.mmap(-1, size, flags, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def address_of(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def call(number: int, *arguments: bytes | int) -> int:
    """Make a call; what it returns."""
    texts = low_memory(mmap.PAGESIZE)
    words = []
    for argument in arguments:
        if isinstance(argument, bytes):
            words.append(address_of(texts) + texts.tell())
            texts.write(argument + b"\0")
        else:
            words.append(argument & 0xFFFFFFFF)
    words += [0] * (5 - len(words))
    code = low_memory(mmap.PAGESIZE)
    # push rbx; mov eax, ebx, ecx, edx, esi, edi; int 0x80; pop rbx; ret
    registers = zip(b"\xb8\xbb\xb9\xba\xbe\xbf", (number, *words), strict=True)
    loads = b"".join(struct.pack("<BI", load, word) for load, word in registers)
    code.write(b"\x53" + loads + b"\xcd\x80\x5b\xc3")
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address_of(code))())


def main() -> None:
    match sys.argv[1:]:
        case ["mount", source, target, fstype]:
            result = call(MOUNT, source.encode(), target.encode(), fstype.encode(), 0, 0)
        case ["umount", target, flags]:
            result = call(UMOUNT2, target.encode(), int(flags))
    if result:
        raise OSError(-result, os.strerror(-result))


if __name__ == "__main__":
    main()
