# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What meta.json says of a recording that begins, whoever makes it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnttrace import __version__
from mnttrace.capture.join.mount_list import namespace_key
from mnttrace.capture.stream.secrets import redact_command
from mnttrace.linux.namespaces import namespace_id
from mnttrace.linux.text import clean

_HOME = "/proc/self/ns/mnt"


def about(command: Sequence[str] = (), keep_secrets: bool = False) -> dict[str, Any]:
    """Host, kernel, clocks and so on.

    Args:
        command: what is recorded, if it is one command.
        keep_secrets: leave passwords and keys in that as they are.
    """
    system = os.uname()
    words = tuple(map(clean, command))
    return {
        "mnttrace": __version__,
        "host": system.nodename,
        "kernel": system.release,
        "machine": system.machine,
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        # CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
        "wall_offset": time.time_ns() - time.monotonic_ns(),
        "started": time.time_ns(),
        "stopped": None,
        "command": list(words if keep_secrets else redact_command(words)),
        "traced": [],
        "missing": [],
        "sees": {"mounts made": False, "mounts detached": False},
        "filters": {},
        "mount_max": _mount_max(),
        "home_ns_id": home(),
        "complete": False,
    }


def home() -> int:
    """The key of the mount namespace that this process is in."""
    return namespace_key(os.stat(_HOME).st_ino, namespace_id(_HOME) or 0)


def _mount_max() -> int | None:
    """How many mounts a namespace may have (proc_sys_fs(5)); None before Linux 4.9."""
    try:
        return int(Path("/proc/sys/fs/mount-max").read_text())
    except (OSError, ValueError):
        return None
