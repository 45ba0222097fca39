# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Has children make slave namespaces, one after the other, each of which receives one mount that
goes at once, and ends: child N receives born-N. Nothing waits in between, so that a recorder may
come too late.

births.py FOLDER CHILDREN
"""

import os
import sys

import calls

CLONE_NEWNS = 0x00020000


def child(ready, end):
    calls.check(calls.libc.unshare(CLONE_NEWNS))
    calls.mount("none", "/", flags=calls.MS_REC | calls.MS_SLAVE)
    os.write(ready, b"1")
    os.read(end, 1)
    os._exit(0)


place = f"{sys.argv[1]}/born"
os.mkdir(place)
for number in range(1, int(sys.argv[2]) + 1):
    ready, end = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        child(ready[1], end[0])
    os.read(ready[0], 1)
    calls.mount(f"born-{number}", place, "tmpfs")
    calls.umount(place)
    os.write(end[1], b"1")
    os.waitpid(pid, 0)
