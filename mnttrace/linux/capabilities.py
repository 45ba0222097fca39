# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What this process is allowed to do, see capabilities(7)."""

from __future__ import annotations

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
