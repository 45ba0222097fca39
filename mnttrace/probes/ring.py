# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A BPF ring buffer, read as the kernel lays it out in memory.

The first page has the consumer's position, the second the producer's. The data pages follow, mapped
twice, so that a record which begins at their end can be read in one piece (kernel/bpf/ringbuf.c).
All records that are there are copied at once, which takes a fifth of the time of a call by libbpf
for each record.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

_HEADER = struct.Struct("=II")
_BUSY = 1 << 31  # BPF_RINGBUF_BUSY_BIT: still being written
_DISCARD = 1 << 30


class Ring:
    """One ring buffer.

    Args:
        descriptor: of the BPF map.
        size: in bytes, a power of two.

    Attributes:
        descriptor: to wait at, by edge: most records do not wake their reader.
        is_empty: whether the last :meth:`read` took all that had been begun by then.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.is_empty = False
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._mask = size - 1
        both = mmap.PROT_READ | mmap.PROT_WRITE
        self._first = mmap.mmap(descriptor, self._page, mmap.MAP_SHARED, both)
        self._rest = mmap.mmap(
            descriptor, self._page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=self._page
        )
        # The kernel uses the positions meanwhile. Through these views each is read and written as a
        # whole; the module struct goes byte by byte.
        self._consumed = memoryview(self._first)[:8].cast("Q")
        self._produced = memoryview(self._rest)[:8].cast("Q")

    def read(self) -> bytes:
        """All complete records that are there, for :func:`records`."""
        begin = end = self._consumed[0]
        produced = self._produced[0]
        while end < produced:
            length, _ = _HEADER.unpack_from(self._rest, self._page + (end & self._mask))
            if length & _BUSY:
                break
            end += _whole(length)
        at = self._page + (begin & self._mask)
        data = self._rest[at : at + end - begin]
        self._consumed[0] = end
        self.is_empty = end == produced
        return data

    def close(self) -> None:
        """Give up the memory."""
        for view in (self._consumed, self._produced):
            view.release()
        self._first.close()
        self._rest.close()


def records(data: bytes) -> Iterator[bytes]:
    """The records in what :meth:`Ring.read` gave."""
    at = 0
    while at < len(data):
        length, _ = _HEADER.unpack_from(data, at)
        if not length & _DISCARD:
            start = at + _HEADER.size
            yield data[start : start + length]
        at += _whole(length)


def _whole(length: int) -> int:
    """The bytes that a record takes, with its header, up to the next one."""
    return ((length & ~_DISCARD) + _HEADER.size + 7) & ~7
