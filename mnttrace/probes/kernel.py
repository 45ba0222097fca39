"""The BPF programs: compiled, loaded, attached and read. The one importer of bcc."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnttrace.errors import CaptureError, MissingPrerequisite
from mnttrace.linux import perf
from mnttrace.linux.bpf import missed, takes_cast, takes_may_goto
from mnttrace.linux.btf import Btf
from mnttrace.linux.capabilities import lacking
from mnttrace.linux.namespaces import namespace_id
from mnttrace.linux.syscalls import Syscall, SyscallKind, by_number
from mnttrace.linux.tracefs import open_tracefs, tracepoint_id
from mnttrace.probes import offsets
from mnttrace.probes.kernel_functions import definitions
from mnttrace.probes.records import Loss
from mnttrace.probes.ring import Ring
from mnttrace.probes.sources import bpf_directory

# Types that no namespace has, for setns(2); the same as in bpf/calls.h.
_ASK_LIST, _ASK_WATCHED, _ASK_THREAD = 0x40, 0x20, 0x21
# How mounts are seen, the best way first: on the kernel's functions, by whom and when; by walking
# from the new mounts at the end of a call, with fanotify; by mount tables between the calls.
WAYS = ("inner", "walk", "syscalls")
_NOT_OF_CALLS = {"CAN_WALK", "FANOTIFY_MNT_ID"}
# Those that others go on with by tail call; in the order of bpf/calls.h.
_PROGRAMS = ("enter", "enter_paths", "walk", "leave_paths", "finish", "finish_removal")
# The function that runs programs on system calls where these can be preempted (7.x), and how many
# rows of programs there are then.
_PREEMPTIBLE_IF = "trace_call_bpf_faultable"
_ROWS = 4
# What bcc's headers call processors.
_BCC_NAMES = {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv64"}
_BCC_HINT = "apt-get install python3-bpfcc (PyPI's package of the name bcc is another thing)"


def _bcc() -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(bpf_directory() / "kheaders")
    try:
        import bcc
    except ImportError as error:
        raise MissingPrerequisite(f"bcc cannot be imported: {error}", _BCC_HINT) from error
    if not hasattr(bcc, "BPF"):
        raise MissingPrerequisite(f"{bcc.__file__} is not the BPF compiler bcc", _BCC_HINT)
    return bcc


def check_privileges() -> None:
    """See whether this process may record.

    Raises:
        MissingPrerequisite: it may not.
    """
    missing = lacking("CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE")
    if os.geteuid() != 0:
        raise MissingPrerequisite(
            "recording needs root", "run it with sudo; or with --probes none: mount tables alone"
        )
    if missing:
        raise MissingPrerequisite(
            f"recording needs {', '.join(missing)}, which this root lacks",
            "run it outside of the container, or give the container these",
        )


def bcc_version() -> str:
    """The version of bcc, and where it is.

    Raises:
        MissingPrerequisite: there is none, or it is another package of that name.
    """
    bcc = _bcc()
    return f"{bcc.__version__} in {os.path.dirname(bcc.__file__)}"


def _source() -> str:
    """The programs with our headers put in: bcc rewrites map accesses in the main file only."""
    directory = bpf_directory()

    def header(match: re.Match[str]) -> str:
        return (directory / match[1]).read_text()

    return re.sub(r'#include "(.+)"', header, (directory / "mnttrace.bpf.c").read_text())


class Probes:
    """Programs on the mount syscalls' tracepoints.

    Args:
        ring_bytes: size of the ring buffer, a power of two times the page size.
        follow: processes whose descendants are to be told apart (`descends` of an operation).
        way: how mounts are to be seen, one of :data:`WAYS`; None: the best that this kernel has.

    Attributes:
        ring: what they write to; its records are structs of bpf/records.h.
        way: how mounts are seen.
        traced: names of the calls that are traced.
        missing: names of the calls that this kernel has no tracepoint for.
        has: what it can run of that which makes programs faster.

    Raises:
        MissingPrerequisite: not root, no BTF, no bcc, no tracefs.
        CaptureError: the kernel refused a program.
    """

    def __init__(
        self,
        ring_bytes: int = 1 << 24,
        follow: Iterable[int] = (),
        way: str | None = None,
    ) -> None:
        check_privileges()
        self.traced: list[str] = []
        self.missing: list[str] = []
        self.has: list[str] = []
        self._events: list[int] = []
        self._calls = by_number(os.uname().machine)
        btf = Btf.load()
        self._definitions = offsets.definitions(btf)
        self._choose(way, btf)
        self._definitions["RING_PAGES"] = ring_bytes // os.sysconf("SC_PAGE_SIZE")
        followed = list(follow)
        if followed:
            self._definitions["FOLLOW_DESCENDANTS"] = 1
        self._bpf = self._compile(self._definitions)
        self._fill_traits()
        self._name_recorder()
        for pid in followed:
            self._bpf[b"followed"][ctypes.c_uint(pid)] = ctypes.c_ubyte(1)
        self._attach()
        self.ring = Ring(self._bpf[b"events"].map_fd, ring_bytes)
        self._libc = ctypes.CDLL(None, use_errno=True)
        [self._setns] = [number for number, call in self._calls.items() if call.name == "setns"]

    def _choose(self, way: str | None, btf: Btf) -> None:
        """Decide how mounts are seen, and define what that takes."""
        if namespace_id("/proc/self/ns/mnt") is None:
            # Before 6.11 nobody else is told the ids, so namespaces are known by their inodes.
            self._definitions.pop("MNT_NS_ID", None)
        can_walk = "CAN_WALK" in self._definitions
        can_list = can_walk or self._definitions.keys() >= offsets.LISTS
        inner = definitions(btf) if can_list and way in (None, "inner") else []
        self.way = "inner" if inner else "walk" if can_walk and way != "syscalls" else "syscalls"
        if way not in (None, self.way):
            raise MissingPrerequisite(
                f"this kernel cannot do --probes {way}", "without it, the best that it can is done"
            )
        without = {"inner": {"FANOTIFY_MNT_ID"}, "walk": set(), "syscalls": _NOT_OF_CALLS}[self.way]
        for name in without:
            self._definitions.pop(name, None)
        is_preemptible = btf.function_arguments(_PREEMPTIBLE_IF) is not None
        self._definitions["ROWS"] = _ROWS if is_preemptible else 1
        if takes_may_goto():
            self._definitions["MAY_GOTO"] = 1
            self.has.append("may_goto")
        cast = btf.function_id("bpf_rdonly_cast")
        if cast is not None and takes_cast(cast):
            self._definitions["RDONLY_CAST"] = cast
            self.has.append("bpf_rdonly_cast to void")
        if inner:
            self._definitions |= dict.fromkeys([*inner, "CAN_WALK"], 1)

    @property
    def _rows(self) -> range:
        return range(self._definitions["ROWS"])

    @property
    def can_walk(self) -> bool:
        """Whether the mounts that a call made are walked to."""
        return self.way != "syscalls"

    @property
    def can_notify(self) -> bool:
        """Whether fanotify is to tell what is attached and detached (6.15 and newer)."""
        return "FANOTIFY_MNT_ID" in self._definitions

    @property
    def tells(self) -> bool:
        """Whether probes inside the kernel tell what is attached and detached."""
        return self.way == "inner"

    @property
    def uses_kprobes(self) -> bool:
        """Whether those are kprobes, as fentry is not to be had."""
        return "INNER_KPROBES" in self._definitions

    @property
    def numbers(self) -> bool:
        """Whether probes number the mounts, as they have no unique ids (before 6.8)."""
        return "INNER_NUMBERED" in self._definitions

    def _compile(self, definitions: dict[str, int]) -> Any:
        flags = [f"-D{name}={value}" for name, value in definitions.items()]
        # Else clang takes the programs for those of the processor, and knows no register of theirs.
        # Newer ones of bcc ask for cf-protection, which BPF has not.
        flags += [
            "--target=bpf",
            "-fcf-protection=none",
            f"-D__TARGET_ARCH_{_BCC_NAMES.get(os.uname().machine)}",
        ]
        source, bcc = _source(), _bcc()
        try:
            # Programs that bcc knows by their names, those of bpf/inner.h, are attached by this.
            return bcc.BPF(text=source.encode(), cflags=flags)
        except Exception as error:  # bcc raises Exception itself
            raise CaptureError(
                f"the BPF programs cannot be compiled: {error}", "what the compiler said is above"
            ) from error

    def _load(self, name: str, kind: str) -> Any:
        bpf = type(self._bpf)
        try:
            return self._bpf.load_func(name.encode(), getattr(bpf, kind))
        except Exception as error:
            raise CaptureError(
                f"the kernel refuses the BPF program {name}: {error}",
                "is BPF locked down? mnttrace doctor says what is missing",
            ) from error

    def _link(self, place: int, name: str) -> None:
        """Load a program that others go on with by tail call."""
        programs = self._bpf[b"programs"]
        programs[ctypes.c_int(place)] = ctypes.c_int(self._load(name, "TRACEPOINT").fd)

    def _fill_traits(self) -> None:
        table = self._bpf[b"traits"]
        for number, call in self._calls.items():
            kinds = [int(argument.kind) for argument in call.arguments]
            kinds += [0] * (6 - len(kinds))
            raw = bytes([*kinds, call.always_recorded, call.kind, len(call.arguments), *[0] * 7])
            table[ctypes.c_int(number)] = table.Leaf.from_buffer_copy(raw)

    def _name_recorder(self) -> None:
        self._recorder = self._mapped("recorder")
        self._losses = self._mapped("losses")
        # struct recorder of bpf/calls.h: group, listed, pid, is_in_call.
        self._recorder[2] = os.getpid()

    def _mapped(self, name: str) -> memoryview:
        """The memory of a map, as 64-bit numbers; see MAPPED of bpf/kernel.h."""
        memory = mmap.mmap(self._bpf[name.encode()].map_fd, mmap.PAGESIZE)
        return memoryview(memory).cast("Q")

    def _attach(self) -> None:
        for row in self._rows:
            tells = self.tells if row else self.tells or self.can_notify
            for place, name in enumerate(_PROGRAMS, len(_PROGRAMS) * row):
                if (name != "walk" or self.can_walk) and (name != "finish_removal" or tells):
                    self._link(place, _of_row(name, row))
        if self.can_walk:
            self._link(len(_PROGRAMS) * self._definitions["ROWS"], "survey")
        self._load("fork", "RAW_TRACEPOINT")
        self._bpf.attach_raw_tracepoint(tp=b"sched_process_fork", fn_name=b"fork")
        tracefs = open_tracefs()
        try:
            for call in self._calls.values():
                if call.kind == SyscallKind.REMOVE:
                    self._attach_removal(tracefs, call)
                else:
                    self._attach_call(tracefs, call)
        finally:
            os.close(tracefs)
        if not self.traced:
            raise CaptureError("no syscall tracepoint is there", "CONFIG_FTRACE_SYSCALLS is needed")

    def _attach_call(self, tracefs: int, call: Syscall) -> None:
        ids = [
            tracepoint_id(tracefs, f"syscalls/sys_{way}_{call.tracepoint}")
            for way in ("enter", "exit")
        ]
        if None in ids:
            self.missing.append(call.name)
            return
        for row in self._rows:
            names = (f"enter_{len(call.arguments)}", "leave")
            for tracepoint, name in zip(ids, names, strict=True):
                program = self._load(_of_row(name, row), "TRACEPOINT")
                self._events.append(perf.attach_tracepoint(tracepoint or 0, program.fd))
        self.traced.append(call.name)

    def _attach_removal(self, tracefs: int, call: Syscall) -> None:
        tracepoint = tracepoint_id(tracefs, f"syscalls/sys_exit_{call.tracepoint}")
        for row in self._rows:
            if tracepoint is not None and (self.tells or (self.can_notify and not row)):
                program = self._load(_of_row("leave_remove", row), "TRACEPOINT")
                self._events.append(perf.attach_tracepoint(tracepoint, program.fd))

    def survey(self, path: str) -> bool:
        """Ask the kernel for a list of a namespace's mounts, which comes through the ring.

        Args:
            path: such as /proc/PID/ns/mnt; it is open only while the kernel makes the list.

        Returns:
            False if it is gone, or this kernel cannot (see :attr:`can_walk`).
        """
        if not self.can_walk:
            return False
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        self._ask(descriptor)
        while self._recorder[1]:  # listed up to there, and there are more
            self._ask(descriptor)
        os.close(descriptor)
        return True

    def show_group(self, descriptor: int) -> None:
        """Show the programs which fanotify group is the recorder's."""
        self._ask(descriptor)

    def watch(self, path: str) -> None:
        """Say that fanotify tells what is detached from the namespace at a path: it need not be
        listed.

        Raises:
            OSError: it is gone.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._ask(descriptor, _ASK_WATCHED)
        os.close(descriptor)

    def is_in_call(self, tid: int) -> bool:
        """Whether a thread is in one of the calls that are traced from their beginning on."""
        try:
            status = Path(f"/proc/{tid}/status").read_text()
        except OSError:
            return False
        [process] = [line for line in status.splitlines() if line.startswith("Tgid:")]
        self._recorder[3] = 1  # what is not answered, as a program can be missed, is not known
        self._ask(int(process.split()[1]) << 32 | tid, _ASK_THREAD)
        return bool(self._recorder[3])

    def _ask(self, about: int, what: int = _ASK_LIST) -> None:
        # Refused with EINVAL, for there is no such type: what counts is that the probe sees it.
        self._libc.syscall(self._setns, ctypes.c_ulong(about), what)

    def losses(self) -> dict[str, int]:
        """What was sent, could not be sent, or was not seen whole, by kind."""
        found = {loss.name.lower(): self._losses[loss] for loss in Loss}
        runs = found.pop("lost_run")
        # Of calls' ends where there are no further rows for them; of the kernel's functions always.
        ends = (b"leave", b"leave_remove") if self._definitions["ROWS"] == 1 else ()
        runs += sum(
            missed(program.fd)
            for name, program in self._bpf.funcs.items()
            if name in ends
            or name.startswith((b"kfunc__", b"kretfunc__", b"kprobe__", b"kretprobe__"))
        )
        return found | {"lost_runs": runs}

    def unended(self) -> int:
        """How many calls have begun and are not under way: how they ended was missed."""
        numbers = {str(number) for number in self._calls}
        calls = self._bpf[b"inflight"]
        begun = {thread.value: call.entered for thread, call in calls.items()}
        unended = {}
        for thread, entered in begun.items():
            try:
                # The number of the call that it is in; "running" or -1 outside of any.
                now = Path(f"/proc/{thread & 0xFFFFFFFF}/syscall").read_text().split()[0]
            except OSError:
                now = ""
            # One that runs may be in the call.
            if now != "running" and now not in numbers:
                unended[thread] = entered
        # Others have ended meanwhile, as they should.
        now_begun = {thread.value: call.entered for thread, call in calls.items()}
        return sum(now_begun.get(thread) == entered for thread, entered in unended.items())

    def close(self) -> None:
        """Take the probes away: they are silent at once, and gone within seconds."""
        perf.close(self._events)
        self._events.clear()
        self.ring.close()
        self._bpf.cleanup()


def _of_row(name: str, row: int) -> str:
    """The name of a program in one of the rows of bpf/mnttrace.bpf.c."""
    return f"{name}_again{row}" if row else name
