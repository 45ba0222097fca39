# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""Compiled programs in the kernel: their maps made, they loaded and those on functions attached."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from threading import Condition, Thread

from mnttrace.errors import CaptureError
from mnttrace.linux import bpf, perf
from mnttrace.probes.compiled import Facts, MapSpec, Program, ProgramSet

_TYPES = {
    "tracepoint": bpf.TRACEPOINT,
    "raw_tracepoint": bpf.RAW_TRACEPOINT,
    "fentry": bpf.TRACING,
    "fexit": bpf.TRACING,
    "kprobe": bpf.KPROBE,
    "kretprobe": bpf.KPROBE,
    "kprobe_multi": bpf.KPROBE,
}
_ATTACH = {"fentry": bpf.FENTRY, "fexit": bpf.FEXIT, "kprobe_multi": bpf.KPROBE_MULTI}
_OF_CALLS = ("tracepoint", "kprobe_multi")
_HOOKS = ("fentry", "fexit", "kprobe", "kretprobe")
_HINT = "is BPF locked down? mnttrace doctor says what is missing"


class Loaded:
    """A set of programs and its maps. Until :meth:`attach` is called nothing runs.

    Args:
        programs: the set.
        facts: of this kernel.
        sizes: name of a map → how many entries it is to have, if not as it was compiled.

    Attributes:
        maps: by their names.
        programs: the descriptors of those that are loaded, by their names.
        function_links: what keeps programs attached by :meth:`attach_functions`, by their names.

    Raises:
        CaptureError: the kernel refuses a map.
    """

    def __init__(self, programs: ProgramSet, facts: Facts, sizes: Mapping[str, int]) -> None:
        self._facts = facts
        self._known = {program.name: program for program in programs.programs}
        self._links: list[int] = []
        self._events: list[int] = []
        self._waiting: list[Program] = []
        self._threads: list[Thread] = []
        self._failed: list[CaptureError] = []
        self._changed = Condition()
        self.maps: dict[str, bpf.Map] = {}
        self.programs: dict[str, int] = {}
        self.function_links: dict[str, list[int]] = {}
        try:
            for spec in programs.maps:
                self.maps[spec.name] = _made(spec, sizes)
        except CaptureError:
            self.close()
            raise
        self._descriptors = [made.descriptor for made in self.maps.values()]

    @property
    def hooks(self) -> list[Program]:
        """The programs on the kernel's functions."""
        return [program for program in self._known.values() if program.kind in _HOOKS]

    def load(self, names: Iterable[str], later: Iterable[str] = ()) -> None:
        """Load programs: those on functions first, since these the kernel may not take at all; then
        the others, as many at a time as there are processors, since the kernel looks at each of
        their ways.

        Args:
            names: of those that are not on functions; what takes long goes first.
            later: of those that are not waited for until :meth:`complete` is called.

        Raises:
            CaptureError: the kernel refuses one.
        """
        for program in self.hooks:
            self._load(program)
        needed = set(names)
        self._waiting = [self._known[name] for name in dict.fromkeys((*names, *later))]
        self._waiting.reverse()
        self._threads = [Thread(target=self._load_waiting) for _ in os.sched_getaffinity(0)]
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._failed or needed <= self.programs.keys())
        if self._failed:
            self.complete()

    def complete(self) -> None:
        """Wait until all programs are loaded.

        Raises:
            CaptureError: the kernel refuses one.
        """
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._failed:
            raise self._failed[0]

    def attach(self) -> None:
        """Attach the programs on functions and raw tracepoints that are loaded.

        Raises:
            CaptureError: the kernel refuses.
        """
        for name, descriptor in list(self.programs.items()):
            program = self._known[name]
            is_at_exit = program.kind in ("fexit", "kretprobe")
            if program.kind in ("kprobe", "kretprobe"):
                self._events.append(perf.attach_kprobe(program.target, is_at_exit, descriptor))
            elif program.kind not in _OF_CALLS:
                target = program.target if program.kind == "raw_tracepoint" else None
                try:
                    self._links.append(bpf.open_raw_tracepoint(descriptor, target))
                except OSError as error:
                    raise CaptureError(
                        f"{program.target} cannot be attached: {error.strerror}", _HINT
                    ) from error

    def attach_tracepoint(self, tracepoint: int, name: str) -> None:
        """Attach a program to a tracepoint.

        Args:
            tracepoint: its id, as tracefs has it.
            name: of the program, which is loaded.

        Raises:
            CaptureError: the kernel refuses.
        """
        self._events.append(perf.attach_tracepoint(tracepoint, self.programs[name]))

    def attach_functions(self, numbers: Mapping[str, int], name: str, at_exit: bool) -> None:
        """Attach a program to functions of the kernel.

        Args:
            numbers: function → the number that the program gets there.
            name: of the program, which is loaded.
            at_exit: where they return.

        Raises:
            CaptureError: the kernel refuses.
        """
        try:
            link = bpf.attach_to_functions(self.programs[name], numbers, at_exit)
        except OSError as error:
            raise CaptureError(
                f"the functions of calls cannot be attached to: {error.strerror}", _HINT
            ) from error
        self._links.append(link)
        self.function_links.setdefault(name, []).append(link)

    def close(self) -> None:
        """Detach the programs: they send nothing from now on, and are gone within seconds."""
        self._waiting.clear()
        for thread in self._threads:
            thread.join()
        perf.close(self._events)
        maps = [made.descriptor for made in self.maps.values()]
        for descriptor in (*self._links, *self.programs.values(), *maps):
            os.close(descriptor)
        for held in (self._events, self._links, self.programs, self.maps):
            held.clear()

    def _load_waiting(self) -> None:
        while not self._failed:
            try:
                program = self._waiting.pop()
            except IndexError:  # others have taken the last
                return
            try:
                self._load(program)
            except CaptureError as error:
                self._failed.append(error)
            with self._changed:
                self._changed.notify_all()

    def _load(self, program: Program) -> None:
        function = 0
        if program.kind in ("fentry", "fexit"):
            function = self._facts.functions[program.target].number
        try:
            self.programs[program.name] = bpf.load_program(
                _TYPES[program.kind],
                program.linked(self._descriptors),
                program.name,
                _ATTACH.get(program.kind, 0),
                function,
            )
        except OSError as error:
            raise CaptureError(
                f"the kernel refuses the BPF program {program.name}: {error.strerror}", _HINT
            ) from error


def _made(spec: MapSpec, sizes: Mapping[str, int]) -> bpf.Map:
    entries = sizes.get(spec.name, spec.entries)
    try:
        return bpf.create_map(
            spec.kind, spec.key_size, spec.value_size, entries, spec.flags, spec.name
        )
    except OSError as error:
        raise CaptureError(
            f"the kernel refuses the BPF map {spec.name}: {error.strerror}", _HINT
        ) from error
