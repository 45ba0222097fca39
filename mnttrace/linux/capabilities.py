# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What this process is allowed to do, see capabilities(7)."""

from __future__ import annotations

import os

from mnttrace.errors import MissingPrerequisite

# The numbers are those of include/uapi/linux/capability.h.
CAPABILITIES = {
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}


def lacking(*names: str) -> list[str]:
    """Which of these capabilities are not in the effective set of this process."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        text = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    return [name for name in names if not int(text, 16) >> CAPABILITIES[name] & 1]


def check_privileges() -> None:
    """See whether this process may record.

    Raises:
        MissingPrerequisite: it may not.
    """
    missing = lacking("CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE")
    if os.geteuid() != 0:
        raise MissingPrerequisite(
            "recording needs root", "run it with sudo; or with --backend none: mount tables alone"
        )
    if missing:
        raise MissingPrerequisite(
            f"recording needs {', '.join(missing)}, which this root lacks",
            "run it outside of the container, or give the container these",
        )
