# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Has children make namespaces, one after the other, in which something happens at once, and end.
Nothing waits in between, so that a recorder may come too late to watch them.

The first child is a slave that receives born-1 from its parent, which unmounts it; the next one is
private, and has threads of the names c1a and c1b, which mount c1a-1, c1b-1 and so on at once. Then
come those of the number 2.

births.py FOLDER TIMES
"""

import os
import sys

import calls
from threads import run

CLONE_NEWNS = 0x00020000


def own(propagation):
    calls.check(calls.libc.unshare(CLONE_NEWNS))
    calls.mount("none", "/", flags=calls.MS_REC | propagation)


def receiving(folder, number):
    ready, end = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        own(calls.MS_SLAVE)
        os.write(ready[1], b"1")
        os.read(end[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    calls.mount(f"born-{number}", f"{folder}/born", "tmpfs")
    calls.umount(f"{folder}/born")
    os.write(end[1], b"1")
    os.waitpid(pid, 0)


def crowded(folder, number):
    pid = os.fork()
    if not pid:
        own(calls.MS_PRIVATE)
        run(folder, [f"c{number}a", f"c{number}b"], 3)
        os._exit(0)
    os.waitpid(pid, 0)


def main():
    folder, children = sys.argv[1], int(sys.argv[2])
    os.mkdir(f"{folder}/born")
    for number in range(1, children + 1):
        receiving(folder, number)
        crowded(folder, number)


main()
