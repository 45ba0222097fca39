# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The programs that the kernel runs when traced calls begin and end: which, and on what."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Protocol

from mnttrace.errors import CaptureError
from mnttrace.linux.syscalls import Syscall, SyscallKind
from mnttrace.linux.tracefs import open_tracefs, tracepoint_id
from mnttrace.probes.load import Loaded


class CallPrograms(Protocol):
    """The programs on calls.

    Attributes:
        traced: names of the calls that are traced.
        missing: names of the calls that this kernel does not let be traced.
    """

    traced: list[str]
    missing: list[str]

    def names(self) -> Iterator[str]:
        """The names of the programs."""

    def attach(self, loaded: Loaded) -> None:
        """Attach them.

        Raises:
            CaptureError: the kernel refuses.
        """


class OnTracepoints:
    """Programs on the tracepoints of the calls; those on 32-bit calls are on those of all calls.

    Args:
        calls: by their numbers.
        suffixes: level → what the names of its programs end in: see bpf/calls.h.
        compat_suffixes: the same of those on 32-bit calls; {} if these are not traced.
        removal_levels: those that look at calls that remove files.

    Attributes: as of :class:`CallPrograms`.
    """

    def __init__(
        self,
        calls: Mapping[int, Syscall],
        suffixes: Mapping[int, str],
        compat_suffixes: Mapping[int, str],
        removal_levels: frozenset[int],
    ) -> None:
        # Umounts first: else a mount would be reported, and not its umount a moment later.
        self._calls = sorted(calls.values(), key=lambda one: one.kind != SyscallKind.UMOUNT)
        self._suffixes = suffixes
        self._compat_suffixes = compat_suffixes
        self._removal_levels = removal_levels
        self.traced: list[str] = []
        self.missing: list[str] = []

    def names(self) -> Iterator[str]:
        """As of :class:`CallPrograms`."""
        counts = {len(call.arguments) for call in self._calls if not removes(call)}
        for level, suffix in self._suffixes.items():
            yield f"leave{suffix}"
            yield from (f"enter_{count}{suffix}" for count in counts)
            if level in self._removal_levels:
                yield f"leave_remove{suffix}"
        for suffix in self._compat_suffixes.values():
            yield from (f"leave{suffix}", f"enter_any{suffix}")

    def attach(self, loaded: Loaded) -> None:
        """As of :class:`CallPrograms`."""
        tracefs = open_tracefs()
        try:
            for call in self._calls:
                if removes(call):
                    self._attach_removal(loaded, tracefs, call)
                else:
                    self._attach_call(loaded, tracefs, call)
            if self._compat_suffixes:
                self._attach_all_calls(loaded, tracefs)
        finally:
            os.close(tracefs)
        if not self.traced:
            raise CaptureError("no syscall tracepoint is there", "CONFIG_FTRACE_SYSCALLS is needed")

    def _attach_call(self, loaded: Loaded, tracefs: int, call: Syscall) -> None:
        # The end first, so that no beginning is seen whose end is not.
        ids = [
            tracepoint_id(tracefs, f"syscalls/sys_{end}_{call.tracepoint}")
            for end in ("exit", "enter")
        ]
        if None in ids:
            self.missing.append(call.name)
            return
        for suffix in self._suffixes.values():
            for tracepoint, name in zip(
                ids, ("leave", f"enter_{len(call.arguments)}"), strict=True
            ):
                loaded.attach_tracepoint(tracepoint or 0, f"{name}{suffix}")
        self.traced.append(call.name)

    def _attach_removal(self, loaded: Loaded, tracefs: int, call: Syscall) -> None:
        tracepoint = tracepoint_id(tracefs, f"syscalls/sys_exit_{call.tracepoint}")
        for level in sorted(self._removal_levels):
            if tracepoint is not None:
                loaded.attach_tracepoint(tracepoint, f"leave_remove{self._suffixes[level]}")

    def _attach_all_calls(self, loaded: Loaded, tracefs: int) -> None:
        """See 32-bit calls, by what sees all calls of all processes."""
        for end, name in (("exit", "leave"), ("enter", "enter_any")):
            tracepoint = tracepoint_id(tracefs, f"raw_syscalls/sys_{end}")
            if tracepoint is None:
                raise CaptureError("the tracepoint raw_syscalls is not there", "leave out --compat")
            for suffix in self._compat_suffixes.values():
                loaded.attach_tracepoint(tracepoint, f"{name}{suffix}")


class OnFunctions:
    """Programs on the functions that the calls are made by: see bpf/calls.h.

    Args:
        calls: by their numbers, 32-bit ones among them.
        functions: number → function, of those that this kernel has.

    Attributes: as of :class:`CallPrograms`.
    """

    def __init__(self, calls: Mapping[int, Syscall], functions: Mapping[int, str]) -> None:
        names = dict.fromkeys(call.name for call in calls.values() if not removes(call))
        there = {calls[number].name for number in functions}
        self.traced = [name for name in names if name in there]
        self.missing = [name for name in names if name not in there]
        self._removals, self._others = (
            {
                function: number
                for number, function in functions.items()
                if removes(calls[number]) == is_removal
            }
            for is_removal in (True, False)
        )

    def names(self) -> Iterator[str]:
        """As of :class:`CallPrograms`."""
        yield from ("leave", "leave_remove", "enter_function")

    def attach(self, loaded: Loaded) -> None:
        """As of :class:`CallPrograms`."""
        # The ends first, so that no beginning is seen whose end is not.
        loaded.attach_functions(self._removals, "leave_remove", at_exit=True)
        loaded.attach_functions(self._others, "leave", at_exit=True)
        loaded.attach_functions(self._others, "enter_function", at_exit=False)


def removes(call: Syscall) -> bool:
    """Whether a call removes files: such calls are looked at only when they end."""
    return call.kind == SyscallKind.REMOVE
