# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The functions of the kernel that system calls are made by: see bpf/calls.h.

Where the kernel takes one program on many functions at once (kprobe_multi, from 5.18 on), programs
are put on those of the traced calls, 32-bit ones among them, in place of tracepoints: since a
tracepoint on any system call has the kernel take its slow path for each call of each process. Not
by fentry: that takes a program for each function, and a program there can be preempted, so that the
kernel skips it for another thread on that processor meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

from mnttrace.linux.bpf import takes_functions
from mnttrace.linux.syscalls import COMPAT_CALLS, Syscall, by_compat_number, by_number
from mnttrace.probes.compiled import Facts

# Machine → what the names of such functions begin with: of its own calls, and of 32-bit ones. They
# take the registers of user space as their one argument (CONFIG_ARCH_HAS_SYSCALL_WRAPPER).
_OWN = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_", "riscv64": "__riscv_sys_"}
_COMPAT = ("__ia32_compat_sys_", "__ia32_sys_")
_ARGUMENTS = 1


class CallFunction(NamedTuple):
    """A call, and the function that it is made by.

    Attributes:
        number: the call's, as in :func:`mnttrace.linux.syscalls.by_number` and `by_compat_number`.
        call: the call.
        names: those that the function has on some kernel.
    """

    number: int
    call: Syscall
    names: tuple[str, ...]


def of_machine(machine: str) -> list[CallFunction]:
    """The functions of the traced calls.

    Args:
        machine: as `os.uname().machine` names it.
    """
    if machine not in _OWN:
        return []
    found = [
        CallFunction(number, call, (f"{_OWN[machine]}{call.tracepoint}",))
        for number, call in by_number(machine).items()
    ]
    for number, call in by_compat_number(machine).items():
        # umount(2) of 32-bit programs is oldumount in the kernel.
        is_old = number - COMPAT_CALLS != call.numbers["i386"]
        name = "oldumount" if is_old else call.tracepoint
        found.append(CallFunction(number, call, tuple(f"{start}{name}" for start in _COMPAT)))
    return found


def names(machine: str) -> frozenset[str]:
    """All that such functions can be called on a machine."""
    return frozenset(name for one in of_machine(machine) for name in one.names)


def known(facts: Facts) -> dict[int, str]:
    """Number of each traced call → the function that it is made by, of those that BTF has."""
    found: dict[int, str] = {}
    for one in of_machine(facts.machine):
        for name in one.names:
            function = facts.functions.get(name)
            if function and function.arguments == _ARGUMENTS:
                found.setdefault(one.number, name)
    return found


def can_be_used(facts: Facts) -> bool:
    """Whether the kernel takes programs on them: it is tried."""
    functions = sorted(known(facts).values())
    return bool(functions) and takes_functions(functions)
