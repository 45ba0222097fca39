# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""A thread that mounts as fast as it can, and one that takes away what it finds.

Prints how many mounts were made: `python3 taken.py`.

    taken.py PLACE SECONDS
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time

MNT_DETACH = 2
libc = ctypes.CDLL(None)


def main() -> None:
    place, seconds = sys.argv[1].encode(), float(sys.argv[2])
    is_over = threading.Event()

    def take() -> None:
        while libc.umount2(place, MNT_DETACH) == 0 or not is_over.is_set():
            pass

    other = threading.Thread(target=take)
    other.start()
    end = time.monotonic() + seconds
    made = 0
    while time.monotonic() < end:
        # Refused where what is at the place is being taken away.
        made += libc.mount(b"made%d" % made, place, b"tmpfs", 0, None) == 0
    is_over.set()
    other.join()
    print(made)


main()
