# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""As if a kernel refused fentry, as arm64 before 6.4 does."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

from mnttrace.linux import bpf


def refusing(load: Callable[..., int]) -> Callable[..., int]:
    """What :func:`mnttrace.linux.bpf._load` is there."""

    def refuse(kind: int, code: bytes, *words: object, **named: object) -> int:
        if kind == bpf.TRACING:
            ctypes.set_errno(errno.EOPNOTSUPP)
            return -1
        return load(kind, code, *words, **named)

    return refuse
