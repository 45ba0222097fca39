# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What scripts of situations have in common: a shared tmpfs, and namespaces that are kept."""

from __future__ import annotations

BEFORE = "mkdir srv; mount -t tmpfs host srv; mount --make-shared srv; mkdir srv/x\n"
DISK = "mount -t tmpfs disk srv/x; "


def hold(propagation: str, script: str = ":", options: str = "") -> str:
    """A shell command that makes a mount namespace, does something in it, and keeps it."""
    return f"""
        unshare -m --propagation {propagation} {options} sh -ec '{script}
            echo $$ >pid; exec sleep 1000' &
        until [ -s pid ]; do sleep .02; done
    """
