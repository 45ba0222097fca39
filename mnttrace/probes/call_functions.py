# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The functions of the kernel that system calls are made by: see bpf/calls.h.

Where the kernel takes one program on many functions at once (kprobe_multi, from 5.18 on), programs
on those of the traced calls see 32-bit ones, too, and are not run for any other call, as those on
the tracepoints of all calls are. Not by fentry: that takes a program for each function, and where
the kernel is preemptible such a program is skipped for one thread while another one is preempted in
it.
"""

from __future__ import annotations

from typing import NamedTuple

from mnttrace.linux.bpf import takes_functions
from mnttrace.linux.syscalls import COMPAT_CALLS, Syscall, by_compat_number, by_number
from mnttrace.probes.compiled import Facts

# Machine → what the names of such functions begin with. They take the registers of user space as
# their one argument (CONFIG_ARCH_HAS_SYSCALL_WRAPPER).
_OWN = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_", "riscv64": "__riscv_sys_"}
_OF_32_BITS = "__ia32_sys_"
# arch/x86/entry/syscalls/syscall_32.tbl: number of a 32-bit call → its function, if that has
# another name than the call.
_OTHERS = {22: "__ia32_sys_oldumount", 120: "__ia32_compat_sys_ia32_clone"}
_ARGUMENTS = 1
# Without a program on these there is nothing to record.
_NEEDED = {"mount", "umount2", "setns", "rmdir"}
# The kernel has it if it takes programs on many functions.
LINK = "bpf_kprobe_multi_link.link"


class CallFunction(NamedTuple):
    """A call, and the function that it is made by.

    Attributes:
        number: the call's, as in :func:`mnttrace.linux.syscalls.by_number` and `by_compat_number`.
        call: the call.
        name: of the function.
    """

    number: int
    call: Syscall
    name: str


def of_machine(machine: str) -> list[CallFunction]:
    """The functions of the traced calls.

    Args:
        machine: as `os.uname().machine` names it.
    """
    if machine not in _OWN:
        return []
    own = [
        CallFunction(number, call, f"{_OWN[machine]}{call.tracepoint}")
        for number, call in by_number(machine).items()
    ]
    others = [
        CallFunction(
            number,
            call,
            _OTHERS.get(number - COMPAT_CALLS, f"{_OF_32_BITS}{call.tracepoint}"),
        )
        for number, call in by_compat_number(machine).items()
    ]
    return [*own, *others]


def names(machine: str) -> frozenset[str]:
    """The names of such functions on a machine."""
    return frozenset(one.name for one in of_machine(machine))


def known(facts: Facts) -> dict[int, str]:
    """Number of each traced call → the function that it is made by, of those that BTF has; {} if
    one is lacking that no recording can do without, or no program can be on many of them."""
    found: dict[int, str] = {}
    there = set()
    for one in of_machine(facts.machine):
        function = facts.functions.get(one.name)
        if function and function.arguments == _ARGUMENTS:
            found[one.number] = one.name
            there.add(one.call.name)
    return found if there >= _NEEDED else {}


def can_be_used(facts: Facts) -> bool:
    """Whether the kernel takes programs on them: it is tried."""
    functions = sorted(known(facts).values())
    return bool(functions) and takes_functions(functions)
