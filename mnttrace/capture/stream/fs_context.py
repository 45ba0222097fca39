# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Calls that work on the same descriptor belong together: fsopen, fsconfig, fsmount, move_mount.

A file system that is being set up is told apart by the kernel's context behind its descriptor, a
mount by its unique id, so that duplicated and passed-on descriptors are followed, too.
"""

from __future__ import annotations

from collections import OrderedDict

from mnttrace.capture.stream.arguments import Bases, Strings
from mnttrace.linux.syscalls import Syscall, SyscallKind
from mnttrace.probes.records import ARGUMENT_RESULT, PathRecord
from mnttrace.recording.rows import OperationRow

_KEPT = 4096  # descriptors; the oldest are forgotten


class _FsContext:
    __slots__ = ("begin", "fstype", "source")

    def __init__(self, begin: int, fstype: str, source: str) -> None:
        self.begin = begin
        self.fstype = fstype
        self.source = source


class FsContexts:
    """Fills the column `fs_context`, and what the later calls of one do not say themselves."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], _FsContext] = OrderedDict()

    def complete(
        self,
        row: OperationRow,
        call: Syscall,
        bases: Bases,
        strings: Strings,
    ) -> None:
        """Complete a row of `operations` by the calls before it.

        Args:
            row: fs_context, and where they are empty fstype and source, are set.
            bases: argument → what its descriptor leads to (path_record).
            strings: argument → text.
        """
        row["fs_context"] = None
        context = self._find(call, bases)
        if context is None and call.kind == SyscallKind.DESCRIPTOR and row["result"] >= 0:
            context = _FsContext(row["seq"], row["fstype"], row["path"])
        if context is None:
            return
        if call.name == "fsconfig" and strings.get(2) == "source":
            context.source = strings.get(3, "")
        row["fs_context"] = context.begin
        row["fstype"] = row["fstype"] or context.fstype
        row["source"] = row["source"] or context.source
        self._remember(context, call, bases)

    def _find(self, call: Syscall, bases: Bases) -> _FsContext | None:
        # What a call works on is its first descriptor: argument 0, or the path at it (1).
        for argument in (0, 1):
            if argument in bases:
                for key in _keys(bases[argument].record):
                    if key in self._known:
                        return self._known[key]
        return None

    def _remember(self, context: _FsContext, call: Syscall, bases: Bases) -> None:
        if call.kind == SyscallKind.DESCRIPTOR and ARGUMENT_RESULT in bases:
            for key in _keys(bases[ARGUMENT_RESULT].record):
                self._known[key] = context
                self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


def _keys(record: PathRecord) -> list[tuple[str, int]]:
    """By what the thing behind a descriptor is known: a detached mount, or a context."""
    if record.mntns == 0 and record.at_mount_root and not record.context:
        return [("mount", record.mount_unique)]
    return [("context", record.context)] if record.context else []
