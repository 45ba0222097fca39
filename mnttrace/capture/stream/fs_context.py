"""Calls that work on the same descriptor read as one story: fsopen, fsconfig, fsmount, move_mount.

A file system that is being set up is told apart by the kernel's context behind its descriptor, a
mount by its unique id, so that duplicated and passed-on descriptors are followed, too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mnttrace.linux.syscalls import Syscall, SyscallKind
from mnttrace.probes.records import ARGUMENT_RESULT

_KEPT = 4096  # stories; the oldest are forgotten


class _Story:
    __slots__ = ("begin", "fstype", "source")

    def __init__(self, begin: int, fstype: str, source: str) -> None:
        self.begin = begin
        self.fstype = fstype
        self.source = source


class Stories:
    """Fills the column `story`, and what the later calls of one do not say themselves."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], _Story] = OrderedDict()

    def tell(
        self,
        row: dict[str, Any],
        call: Syscall,
        bases: dict[int, tuple[Any, str]],
        strings: dict[int, str],
    ) -> None:
        """Complete a row of `operations` by the calls before it.

        Args:
            row: seq, syscall, result, source, fstype, source_path are read; story, and where they
                are empty fstype and source, are set.
            bases: argument → what its descriptor leads to (path_record).
            strings: argument → text.
        """
        row["story"] = None
        story = self._find(call, bases)
        if story is None and call.kind == SyscallKind.DESCRIPTOR and row["result"] >= 0:
            story = _Story(row["seq"], row["fstype"], row["path"])
        if story is None:
            return
        if call.name == "fsconfig" and strings.get(2) == "source":
            story.source = strings.get(3, "")
        row["story"] = story.begin
        row["fstype"] = row["fstype"] or story.fstype
        row["source"] = row["source"] or story.source
        self._remember(story, call, bases)

    def _find(self, call: Syscall, bases: dict[int, tuple[Any, str]]) -> _Story | None:
        # What a call works on is its first descriptor: argument 0, or the path at it (1).
        for argument in (0, 1):
            if argument in bases:
                for key in _keys(bases[argument][0]):
                    if key in self._known:
                        return self._known[key]
        return None

    def _remember(self, story: _Story, call: Syscall, bases: dict[int, tuple[Any, str]]) -> None:
        if call.kind == SyscallKind.DESCRIPTOR and ARGUMENT_RESULT in bases:
            for key in _keys(bases[ARGUMENT_RESULT][0]):
                self._known[key] = story
                self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


def _keys(record: Any) -> list[tuple[str, int]]:
    """By what the thing behind a descriptor is known: a detached mount, or a context."""
    if record.mntns == 0 and record.at_mount_root and not record.context:
        return [("mount", record.mount_unique)]
    return [("context", record.context)] if record.context else []
