# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Mounts and unmounts below a folder some 45 times a second, until there is a file `stop`: the
mounts are loop-1, loop-2 and so on. Makes a file `stopped` then.

loop.py FOLDER
"""

import os
import sys
import time
from itertools import count
from pathlib import Path

import calls

Path("/proc/self/comm").write_text("loop")
place = f"{sys.argv[1]}/loop"
os.mkdir(place)
for number in count(1):
    calls.mount(f"loop-{number}", place, "tmpfs")
    time.sleep(0.011)
    calls.umount(place)
    if os.path.exists("stop"):
        break
    Path("goes-on").touch()
    time.sleep(0.011)
Path("stopped").touch()
