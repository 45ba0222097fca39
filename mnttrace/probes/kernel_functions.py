# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The functions of the kernel that are hooked, by which mounts come and go: see bpf/hooks.h.

A function is hooked if BTF has it with the arguments that are expected and a program that does
nothing can be attached to it: by fentry and fexit, or by kprobes where the kernel refuses these, as
on arm64 before 6.4.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mnttrace.linux.bpf import traceable
from mnttrace.linux.btf import Btf
from mnttrace.linux.perf import takes_kprobe


class Function(NamedTuple):
    """A function that can be hooked.

    Attributes:
        name: in the kernel.
        arguments: how many it has to have.
        at_exit: whether it is hooked where it returns.
    """

    name: str
    arguments: int
    at_exit: bool


_ADDED = Function("mnt_add_to_ns", 2, False)
_CLONED = Function("clone_mnt", 3, True)
_COMMITTED = Function("commit_tree", 1, False)
_TRANSFERRED = Function("transfer_propagation", 2, False)
_CHANGED = Function("change_mnt_propagation", 2, False)

# Definition for the BPF programs → the functions to hook; of each table the first that can be.
# Where mounts are attached:
_ATTACHED: dict[str, tuple[Function, ...]] = {
    "HOOK_ADDED": (_ADDED,),  # from 6.16 on: any mount that enters a namespace
    "HOOK_COMMITTED": (_CLONED, _COMMITTED),
}
# Where they are detached:
_DETACHED: dict[str, tuple[Function, ...]] = {
    "HOOK_TRANSFERRED": (_TRANSFERRED,),  # from 6.18 on
    "HOOK_CHANGED": (_CHANGED,),
}
# Where they are made and freed, if they have no unique ids and are to be numbered:
_NUMBERED: dict[str, tuple[Function, ...]] = {
    "HOOK_NUMBERED": (
        _CLONED,
        Function("vfs_create_mount", 1, True),
        Function("cleanup_mnt", 1, False),
    )
}
_SWITCH = Path("/proc/sys/kernel/ftrace_enabled")
# From 6.18 on umount_tree() takes all its mounts out of their peer groups by this function. Only
# then is transfer_propagation() called for each of them.
_TRANSFERS_IF = "bulk_make_private"


def definitions(btf: Btf) -> list[str]:
    """What the BPF programs are to define for the functions that can be hooked; [] if not both
    what is attached and what is detached can be reported."""

    def takes_program(function: Function) -> bool:
        number = btf.function_id(function.name)
        return number is not None and traceable(number, function.at_exit)

    def takes_probe(function: Function) -> bool:
        return takes_kprobe(function.name, function.at_exit)

    if _is_switched_off():
        return []
    found = _choose(btf, takes_program)
    if found:
        return ["HOOKS", *found]
    found = _choose(btf, takes_probe)
    return ["HOOKS", "HOOK_KPROBES", *found] if found else []


def _is_switched_off() -> bool:
    """Whether kernel.ftrace_enabled is 0: hooks where functions begin are accepted then, by fentry
    and by kprobes, and never run."""
    try:
        return _SWITCH.read_text().strip() == "0"
    except OSError:
        return False


def _choose(btf: Btf, can_trace: Callable[[Function], bool]) -> list[str]:
    detached = dict(_DETACHED)
    if btf.function_arguments(_TRANSFERS_IF) is None:
        del detached["HOOK_TRANSFERRED"]
    choices = [_ATTACHED, detached]
    if not btf.has("mount.mnt_id_unique"):
        choices.append(_NUMBERED)

    def is_traceable(function: Function) -> bool:
        known = btf.function_arguments(function.name)
        return known == function.arguments and can_trace(function)

    found = [
        next((name for name, wanted in choice.items() if all(map(is_traceable, wanted))), "")
        for choice in choices
    ]
    return found if all(found) else []
