# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a recorder itself takes."""

from __future__ import annotations

import resource
import subprocess
import time
from typing import NamedTuple


class Cost(NamedTuple):
    """What a recorder took, with its processes, and without the command that it started.

    Attributes:
        processor: time of processors, s.
        seconds: since it began.
        memory: the most that its main process had, bytes.
    """

    processor: float
    seconds: float
    memory: int


class Meter:
    """Measures what this process takes from now on. A command's share is known once it was waited
    for here."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _used(resource.RUSAGE_SELF) + _used(resource.RUSAGE_CHILDREN)
        self._of_command = 0.0

    def has_ended(self, command: subprocess.Popen[bytes]) -> bool:
        """Whether a command that was started has ended."""
        before = _used(resource.RUSAGE_CHILDREN)
        status = command.poll()
        self._of_command += _used(resource.RUSAGE_CHILDREN) - before
        return status is not None

    def read(self) -> Cost:
        """What was taken until now."""
        all_used = _used(resource.RUSAGE_SELF) + _used(resource.RUSAGE_CHILDREN)
        return Cost(
            all_used - self._before - self._of_command,
            time.monotonic() - self._began,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )


def _used(who: int) -> float:
    """Processor time of this process, or of its children that were waited for, with theirs; s."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime
