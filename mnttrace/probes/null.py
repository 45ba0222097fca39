"""No probes at all: without BTF, tracepoints, bcc or root there are the mount tables."""

from __future__ import annotations


class Blind:
    """In the place of :class:`mnttrace.capture.probes.Probes`: there is nothing that tells.

    Attributes: as of that class.
    """

    def __init__(self) -> None:
        self.ring = None
        self.way = "none"
        self.traced: list[str] = []
        self.missing: list[str] = []
        self.can_walk = self.can_notify = self.tells = False

    def survey(self, _path: str) -> bool:
        """No kernel list comes of it."""
        return False

    def show_group(self, _descriptor: int) -> None:
        """Nobody is to be shown anything."""

    def watch(self, _path: str) -> None:
        """Nobody is to be told."""

    def is_in_call(self, _tid: int) -> bool:
        """No call is seen to begin."""
        return False

    def losses(self) -> dict[str, int]:
        """What is not told cannot be lost on the way."""
        return {}

    def unended(self) -> int:
        """No call is seen to begin."""
        return 0

    def close(self) -> None:
        """There is nothing to take away."""
