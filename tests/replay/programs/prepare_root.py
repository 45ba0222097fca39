# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Makes /srv/bundle/rootfs its root as runc does (libcontainer/rootfs_linux.go)."""

import os
import sys
import time

import calls

pause = float(sys.argv[1])
calls.mount("none", "/", flags=calls.MS_REC | calls.MS_SLAVE)
time.sleep(pause)
calls.mount("none", "/srv/bundle", flags=calls.MS_PRIVATE)
time.sleep(pause)
calls.mount("bundle/rootfs", "bundle/rootfs", flags=calls.MS_BIND | calls.MS_REC)
time.sleep(pause)
os.chdir("bundle/rootfs")
calls.pivot_root(".", "old")
time.sleep(pause)
calls.umount("/old", calls.MNT_DETACH)
time.sleep(pause)
