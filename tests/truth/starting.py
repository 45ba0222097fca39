# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts and unmounts at one place, so many pairs a second, until its standard input ends.

    starting.py FOLDER RATE

The source of each mount is its number. Once there was one, a line is written.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    place, rate = f"{sys.argv[1]}/place".encode(), float(sys.argv[2])
    began, pairs = time.monotonic(), 0
    while True:
        wait = began + pairs / rate - time.monotonic()
        if select.select([0], [], [], max(wait, 0))[0]:
            return
        for result in (
            libc.mount(f"pair-{pairs}".encode(), place, b"tmpfs", 0, None),
            libc.umount2(place, 0),
        ):
            if result:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if not pairs:
            print("goes on", flush=True)
        pairs += 1


main()
