# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Processes that mount and unmount under one shared mount as fast as they can: `python3 loops.py`.

Each in a thread or process of its own, at a place of its own; each prints its thread id and how
often it did.

    loops.py FOLDER LOOPS SECONDS threads|processes
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def loop(folder: str, number: int, seconds: float) -> None:
    place = f"{folder}/{number}".encode()
    os.makedirs(place, exist_ok=True)
    end = time.monotonic() + seconds
    times = 0
    while time.monotonic() < end:
        for result in (
            libc.mount(f"loop{number}".encode(), place, b"tmpfs", 0, None),
            libc.umount2(place, MNT_DETACH if times % 2 else 0),
        ):
            if result:
                raise OSError(ctypes.get_errno(), f"loop {number}")
        times += 1
    sys.stdout.write(f"{threading.get_native_id()} {times}\n")
    sys.stdout.flush()


def main() -> None:
    folder, loops, seconds, kind = sys.argv[1:]
    arguments = [(folder, number, float(seconds)) for number in range(int(loops))]
    if kind == "threads":
        threads = [threading.Thread(target=loop, args=given) for given in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return
    for given in arguments:
        if os.fork() == 0:
            loop(*given)
            os._exit(0)
    for _ in arguments:
        os.wait()


main()
