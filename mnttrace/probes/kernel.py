# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The BPF programs: loaded, attached and asked."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from mnttrace.errors import CaptureError, MissingPrerequisite
from mnttrace.linux.bpf import missed, missed_by_link
from mnttrace.linux.capabilities import check_privileges
from mnttrace.linux.syscalls import COMPAT_CALLS, by_compat_number, by_number
from mnttrace.probes import call_functions
from mnttrace.probes.arm import arm
from mnttrace.probes.backends import Candidate
from mnttrace.probes.call_programs import CallPrograms, OnFunctions, OnTracepoints
from mnttrace.probes.compiled import Facts, ProgramSet
from mnttrace.probes.load import Loaded
from mnttrace.probes.records import EndedThread, Loss
from mnttrace.probes.ring import Ring
from mnttrace.probes.supply import Given, Kept, Say, Supply

# Types that no namespace has, for setns(2); the same as in bpf/calls.h.
_ASK_LIST, _ASK_WATCHED, _ASK_THREAD = 0x40, 0x20, 0x21
# The programs that others go on with by tail call, in the order of bpf/calls.h.
_PROGRAMS = ("enter", "enter_paths", "walk", "leave_paths", "finish", "finish_removal")
_ASKED = 1000  # times, until programs are taken not to run
# On threads that begin and end.
_ON_THREADS = ("fork", "end_thread")
# How long Linux 6.18 looks at those programs for which it takes longest, ms.
_LOOKED_AT = {"walk": 180, "walk_removal": 150, "survey": 100, "leave": 80, "leave_remove": 30}
# What nobody asks for before the recorder surveys namespaces.
_NOT_AT_ONCE = ("survey", "walk_removal")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")


class KernelProbes:
    """Programs on the mount system calls, and on the kernel's functions.

    Args:
        ring_bytes: size of the ring buffer, a power of two times the page size.
        follow: processes whose descendants are marked (`descends` of an operation).
        backend: how mounts are seen, one of :data:`mnttrace.probes.backends.BACKENDS`; None: the
            first of them that this kernel has.
        programs: a file of compiled programs; None: those that are kept, or they are compiled.
        say: told where the programs come from, and what is wrong with those that are kept.
        compat: trace the calls of 32-bit programs wherever that can be had: by programs on the
            tracepoints of all calls, if the kernel takes none on the calls' functions.

    Attributes:
        ring: what they write to; its records are those of :mod:`mnttrace.probes.records`.
        backend: how mounts are seen.
        features: what makes the programs faster, of what this kernel has, in words.
        origin: where the programs come from, in words.

    Raises:
        MissingPrerequisite: not root, no BTF, no bcc, no tracefs.
        BadInput: the file is not to be trusted, or for another kernel.
        CaptureError: the kernel refused a program.
    """

    def __init__(
        self,
        ring_bytes: int = 1 << 24,
        follow: Iterable[int] = (),
        backend: str | None = None,
        programs: Path | None = None,
        say: Say = lambda _: None,
        compat: bool = False,
    ) -> None:
        check_privileges()
        machine = os.uname().machine
        self._calls = by_number(machine)
        self._asked_compat = by_compat_number(machine) if compat else {}
        if compat and not self._asked_compat:
            raise MissingPrerequisite("--compat traces 32-bit calls on x86-64", "leave it out")
        self._libc = ctypes.CDLL(None, use_errno=True)
        [self._setns] = [number for number, call in self._calls.items() if call.name == "setns"]
        self._is_complete = False
        self._followed = list(follow)
        # A hash takes memory for all that it can have.
        unused = {} if self._followed else {"followed": 1}
        self._sizes = {"events": ring_bytes} | unused
        self._supply: Supply = Given(programs) if programs else Kept(say)
        self.features = arm(backend, self._supply, self._load, say, compat).words
        self.origin = self._supply.origin
        try:
            self.ring = Ring(self._loaded.maps["events"].descriptor, ring_bytes)
        except BaseException:
            self._loaded.close()
            raise
        say(f"BPF programs: {self.origin}")

    @property
    def traced(self) -> list[str]:
        """Names of the calls that are traced."""
        return self._on_calls.traced

    @property
    def missing(self) -> list[str]:
        """Names of the calls that this kernel does not let be traced."""
        return self._on_calls.missing

    @property
    def can_walk(self) -> bool:
        """Whether the programs list the mounts that a call made, by a walk over them."""
        return self.backend != "syscalls"

    @property
    def can_use_fanotify(self) -> bool:
        """Whether fanotify is to report what is attached and detached (from 6.15 on)."""
        return "FANOTIFY_MNT_ID" in self._definitions

    @property
    def reports_mount_events(self) -> bool:
        """Whether kernel hooks report what is attached and detached."""
        return self.backend == "kernel-hooks"

    @property
    def uses_kprobes(self) -> bool:
        """Whether the hooks are kprobes, since the kernel refuses fentry."""
        return "HOOK_KPROBES" in self._definitions

    @property
    def calls_by(self) -> str:
        """What the programs on calls are attached to: functions or tracepoints."""
        return "functions" if "CALLS_BY_FUNCTION" in self._definitions else "tracepoints"

    @property
    def numbers_mounts(self) -> bool:
        """Whether the hooks number the mounts, since these have no unique ids (before 6.8)."""
        return "HOOK_NUMBERED" in self._definitions

    @property
    def _lists_unwatched(self) -> bool:
        """Whether calls list namespaces that fanotify does not report of: see bpf/unwatched.h."""
        needed = {"FANOTIFY_MNT_ID", "MNT_NS_EVENT", "MAY_GOTO"}
        return not self.reports_mount_events and self._definitions.keys() >= needed

    @property
    def _retry_levels(self) -> range:
        """How many copies of each program are attached: see bpf/calls.h."""
        return range(self._definitions["RETRY_LEVELS"])

    @property
    def _suffixes(self) -> dict[int, str]:
        """Level → what the names of its programs end in; those for 32-bit calls come last."""
        retries = {level: f"_retry{level}" if level else "" for level in self._retry_levels}
        behind = self._definitions["RETRY_LEVELS"]
        compat = retries.items() if "COMPAT" in self._definitions else ()
        return retries | {behind + level: f"_compat{suffix}" for level, suffix in compat}

    def _load(self, candidate: Candidate, programs: ProgramSet, facts: Facts) -> None:
        """Load the programs of a candidate, and attach them."""
        self.backend, self._definitions = candidate.backend, candidate.definitions
        self._on_calls = self._chosen_on_calls(facts)
        self._loaded = Loaded(programs, facts, self._sizes)
        try:
            names = sorted(
                [*(name for _, name in self._tail_called()), *self._on_calls.names(), *_ON_THREADS],
                key=_looked_at,
                reverse=True,
            )
            self._loaded.load(
                [name for name in names if name not in _NOT_AT_ONCE],
                [name for name in names if name in _NOT_AT_ONCE],
            )
            self._fill_maps()
            self._loaded.attach()
            self._on_calls.attach(self._loaded)
            if self.calls_by == "functions":
                self._check_answer()
        except BaseException:
            self._loaded.close()
            raise

    def _chosen_on_calls(self, facts: Facts) -> CallPrograms:
        if self.calls_by == "functions":
            # 32-bit calls come along.
            self._compat = by_compat_number(facts.machine)
            return OnFunctions(self._calls | self._compat, call_functions.known(facts))
        self._compat = self._asked_compat
        retries = set(self._retry_levels)
        return OnTracepoints(
            self._calls,
            {level: suffix for level, suffix in self._suffixes.items() if level in retries},
            {level: suffix for level, suffix in self._suffixes.items() if level not in retries},
            frozenset(filter(self._sees_removals, retries)),
        )

    def _tail_called(self) -> Iterator[tuple[int, str]]:
        """The programs that others go on with, with their places in the map of them."""
        for level, suffix in self._suffixes.items():
            unused = set() if self.can_walk else {"walk"}
            if not self._sees_removals(level):
                unused.add("finish_removal")
            for index, name in enumerate(_PROGRAMS, len(_PROGRAMS) * level):
                if name not in unused:
                    yield index, f"{name}{suffix}"
        if self.can_walk:
            levels = self._definitions["RETRY_LEVELS"] * (2 if "COMPAT" in self._definitions else 1)
            behind = len(_PROGRAMS) * levels
            yield behind, "survey"
            if self._lists_unwatched:
                yield behind + 1, "walk_removal"

    def _fill_maps(self) -> None:
        maps = self._loaded.maps
        for number, call in (self._calls | self._compat).items():
            kinds = [int(argument.kind) for argument in call.arguments]
            kinds += [0] * (6 - len(kinds))
            raw = bytes([*kinds, call.always_recorded, call.kind, len(call.arguments), *[0] * 7])
            maps["traits"].update(_U32.pack(number), raw)
        self._recorder = self._mapped("recorder")
        self._losses = self._mapped("losses")
        # struct recorder of bpf/calls.h as 64-bit numbers: group, listed, pid, is_in_call.
        self._recorder[2] = os.getpid()
        for pid in self._followed:
            maps["followed"].update(_U32.pack(pid), b"\1")
        self._link(name for _, name in self._tail_called() if name not in _NOT_AT_ONCE)

    def _link(self, names: Iterable[str]) -> None:
        """Let others go on with programs by tail call."""
        wanted = set(names)
        for index, name in self._tail_called():
            if name in wanted:
                program = self._loaded.programs[name]
                self._loaded.maps["programs"].update(_U32.pack(index), _U32.pack(program))

    def complete(self) -> None:
        """Wait for the programs that are not needed at once. To be called before a survey, and
        before this process is copied.

        Raises:
            CaptureError: the kernel refuses one.
        """
        if not self._is_complete:
            try:
                self._loaded.complete()
            except CaptureError:
                self._supply.forget()  # so that the next start compiles them
                raise
            self._link(_NOT_AT_ONCE)
            self._is_complete = True

    def _mapped(self, name: str) -> memoryview:
        """The memory of a map, as 64-bit numbers; see MAPPED in bpf/kernel.h."""
        memory = mmap.mmap(self._loaded.maps[name].descriptor, mmap.PAGESIZE)
        return memoryview(memory).cast("Q")

    def _sees_removals(self, level: int) -> bool:
        """Whether copies of a level look at calls that remove files: see REMOVALS in bpf/."""
        is_seen = self.reports_mount_events or (self.can_use_fanotify and level == 0)
        return is_seen and level in self._retry_levels

    def survey(self, path: str) -> bool:
        """Have the programs list the mounts of a namespace; the list comes through the ring.

        Args:
            path: such as /proc/PID/ns/mnt; it is open only while the list is made.

        Returns:
            False if there is no such namespace, or no list (see :attr:`can_walk`).
        """
        if not self.can_walk:
            return False
        self.complete()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        self._ask(descriptor)
        while self._recorder[1]:  # where the list has come to: there are more
            self._ask(descriptor)
        os.close(descriptor)
        return True

    def show_group(self, descriptor: int) -> None:
        """Tell the programs which fanotify group is the recorder's."""
        self._ask(descriptor)

    def watch(self, path: str) -> None:
        """Tell the programs that fanotify reports what is detached in the namespace at a path, so
        that they need not list it.

        Raises:
            OSError: there is no such namespace.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._ask(descriptor, _ASK_WATCHED)
        os.close(descriptor)

    def is_in_call(self, tid: int) -> bool:
        """Whether a thread is in a traced call. Those that remove files are seen when they end."""
        try:
            status = Path(f"/proc/{tid}/status").read_text()
        except OSError:
            return False
        [process] = [line for line in status.splitlines() if line.startswith("Tgid:")]
        self._recorder[3] = 1  # stays if the program that answers is skipped
        self._ask(int(process.split()[1]) << 32 | tid, _ASK_THREAD)
        return bool(self._recorder[3])

    def ended_thread(self, tid: int) -> EndedThread | None:
        """What was seen of a thread as it ended; None if it has not, or too many have since."""
        found = self._loaded.maps["ended_threads"].lookup(_U32.pack(tid))
        return None if found is None else EndedThread.unpack(found)

    def _check_answer(self) -> None:
        """Check that programs on calls run, and know the calls: the recorder is in none.

        Raises:
            CaptureError: they do not.
        """
        self._recorder[3] = 1
        for _ in range(_ASKED):
            self._ask(0, _ASK_THREAD)
            if not self._recorder[3]:
                return
            os.sched_yield()  # another program may have kept it from running
        raise CaptureError("the programs on the functions of calls do not run")

    def _ask(self, about: int, what: int = _ASK_LIST) -> None:
        # The kernel refuses it with EINVAL; the enter program has seen it by then.
        self._libc.syscall(self._setns, ctypes.c_ulong(about), what)

    def losses(self) -> dict[str, int]:
        """How many records were sent and lost, and so on, by kind: see :class:`Loss`; and of how
        many removals the program was skipped, though few detach mounts (`skipped_removals`)."""
        found = {loss.name.lower(): self._losses[loss] for loss in Loss}
        runs = found.pop("lost_run")
        # How often the kernel skipped a program on a function. A call whose program was skipped is
        # found by what is left of it (LOST_RUN, unended()), or counts as torn.
        programs = self._loaded.programs
        runs += sum(missed(programs[hook.name]) for hook in self._loaded.hooks)
        removals = programs.get("leave_remove") if len(self._retry_levels) == 1 else None
        skipped = 0 if removals is None else missed(removals)
        skipped += sum(map(missed_by_link, self._loaded.function_links.get("leave_remove", ())))
        return found | {"lost_runs": runs, "skipped_removals": skipped}

    def unended(self) -> int:
        """How many calls were seen to begin and have ended unseen."""
        begun = self._begun()
        unended = {}
        for thread, (entered, number) in begun.items():
            try:
                # The number of the call that it is in, or "running", or -1 outside of any.
                now = Path(f"/proc/{thread & 0xFFFFFFFF}/syscall").read_text().split()[0]
            except OSError:
                now = ""
            # One that runs on a processor may be in the call.
            if now not in ("running", str(number)):
                unended[thread] = entered
        # Those that ended meanwhile were seen to.
        now_begun = self._begun()
        return sum(
            now_begun.get(thread, (0, 0))[0] == entered for thread, entered in unended.items()
        )

    def _begun(self) -> dict[int, tuple[int, int]]:
        """Thread → when its call began, and its number as the thread has it, of all calls that are
        under way: see struct inflight in bpf/."""
        calls = self._loaded.maps["inflight"].items()
        return {
            _U64.unpack(key)[0]: (
                _U64.unpack_from(value)[0],
                _U32.unpack(value[-_U32.size :])[0] % COMPAT_CALLS,
            )
            for key, value in calls
        }

    def close(self) -> None:
        """Detach the programs: they send nothing from now on, and are gone within seconds."""
        self.ring.close()
        self._loaded.close()


def _looked_at(name: str) -> int:
    """How long the kernel looks at a program before it is loaded, in ms: for an order."""
    return _LOOKED_AT.get(re.sub("_compat|_retry.", "", name), 0)
