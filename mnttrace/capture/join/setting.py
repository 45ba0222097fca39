# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""What a recording is made with, as far as the core has to know."""

from __future__ import annotations

from dataclasses import dataclass

from mnttrace.capture.join.outbox import Cause


@dataclass(frozen=True, slots=True)
class Setting:
    """What a recording is made with.

    Attributes:
        wall_offset: CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
        backend: one of mnttrace.probes.backends.BACKENDS, or "none".
        uses_fanotify: whether fanotify reports attached and detached mounts.
        can_check_namespaces: whether the kernel says if a namespace exists, by its unique id. Else
            all processes have to be looked at.
    """

    wall_offset: int
    backend: str
    uses_fanotify: bool
    can_check_namespaces: bool = True

    @property
    def sees_calls(self) -> bool:
        """Whether calls are traced."""
        return self.backend != "none"

    @property
    def sees_lists(self) -> bool:
        """Whether the kernel lists mounts at the end of calls."""
        return self.backend in ("kernel-hooks", "walk")

    @property
    def reports_all(self) -> bool:
        """Whether attached and detached mounts of all namespaces are reported."""
        return self.backend == "kernel-hooks"

    def when(self, at: int) -> Cause:
        """A time (CLOCK_MONOTONIC, ns) in place of a cause that is not known."""
        return Cause(None, at + self.wall_offset, at)
