# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A program that reads a BPF map on every processor, as agents do, until it is killed."""

from __future__ import annotations

import ctypes
import os
import struct

BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM = 0, 1
BPF_MAP_TYPE_ARRAY = 2
SYS_BPF = {"x86_64": 321}.get(os.uname().machine, 280)
SIZE = 1 << 20  # of the only element, so that a call takes a while

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    return int(libc.syscall(SYS_BPF, command, attributes, len(attributes)))


def main() -> None:
    libc.prctl(1, 9)  # ends with the process that started it
    for processor in sorted(os.sched_getaffinity(0))[1:]:
        if os.fork() == 0:
            libc.prctl(1, 9)
            poll(processor)
    poll(min(os.sched_getaffinity(0)))


def poll(processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    table = bpf(BPF_MAP_CREATE, struct.pack("=IIII", BPF_MAP_TYPE_ARRAY, 4, SIZE, 1))
    assert table >= 0, os.strerror(ctypes.get_errno())
    key, value = ctypes.c_uint32(0), ctypes.create_string_buffer(SIZE)
    asked = struct.pack("=IxxxxQQQ", table, ctypes.addressof(key), ctypes.addressof(value), 0)
    while True:
        assert bpf(BPF_MAP_LOOKUP_ELEM, asked) == 0


main()
