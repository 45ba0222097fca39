# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Threads that mount and unmount at once, each at its own place below a folder: thread N of the
name tN has made the mounts tN-1, tN-2 and so on.

threads.py FOLDER THREADS TIMES
"""

import os
import sys
import threading
from pathlib import Path

import calls


def loop(folder, name, times, barrier):
    Path("/proc/thread-self/comm").write_text(name)
    place = f"{folder}/{name}"
    os.mkdir(place)
    barrier.wait()
    for time in range(1, times + 1):
        calls.mount(f"{name}-{time}", place, "tmpfs")
        calls.umount(place, calls.MNT_DETACH if time % 2 else 0)


def run(folder, names, times):
    """Have threads of these names do it, and wait for them."""
    barrier = threading.Barrier(len(names))
    threads = [threading.Thread(target=loop, args=(folder, name, times, barrier)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    run(sys.argv[1], [f"t{number}" for number in range(int(sys.argv[2]))], int(sys.argv[3]))
