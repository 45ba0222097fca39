# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""No probes: for machines without BTF, tracepoints, bcc or root. There are mount tables alone."""

from __future__ import annotations


class NullProbes:
    """In the place of :class:`mnttrace.probes.kernel.KernelProbes`: nothing is reported.

    Attributes: as of that class.
    """

    def __init__(self) -> None:
        self.ring = None
        self.backend = self.calls_by = "none"
        self.traced: list[str] = []
        self.missing: list[str] = []
        self.can_walk = self.can_use_fanotify = self.reports_mount_events = False

    def complete(self) -> None:
        """There are no programs."""

    def survey(self, _path: str) -> bool:
        """There is no list from the kernel."""
        return False

    def show_group(self, _descriptor: int) -> None:
        """No program needs to know."""

    def watch(self, _path: str) -> None:
        """No program needs to know."""

    def ended_thread(self, _tid: int) -> None:
        """Nothing is seen of threads."""

    def is_in_call(self, _tid: int) -> bool:
        """No call is seen to begin."""
        return False

    def losses(self) -> dict[str, int]:
        """Nothing is sent, so nothing is lost."""
        return {}

    def unended(self) -> int:
        """No call is seen to begin."""
        return 0

    def close(self) -> None:
        """Nothing was attached."""
