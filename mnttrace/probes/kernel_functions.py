# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""The functions of the kernel that are hooked, by which mounts come and go: see bpf/hooks.h.

A function can be hooked if BTF has it with the arguments that are expected and the kernel takes a
program on it: by fentry and fexit, or by kprobes where the kernel refuses these, as on arm64 before
6.4. That the kernel takes it shows when the programs are loaded and attached. Before they are
compiled, which takes long, it is tried with a program that does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from mnttrace.linux.bpf import traceable
from mnttrace.linux.perf import takes_kprobe
from mnttrace.probes.compiled import Facts


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


NAMES = frozenset(
    {
        _TRANSFERS_IF,
        *(
            function.name
            for table in (_ATTACHED, _DETACHED, _NUMBERED)
            for functions in table.values()
            for function in functions
        ),
    }
)


class Hooks(NamedTuple):
    """Functions that together report what is attached and what is detached.

    Attributes:
        definitions: what the BPF programs are to define for them.
        functions: what is hooked.
        by_kprobes: and not by fentry and fexit.
    """

    definitions: tuple[str, ...]
    functions: frozenset[Function]
    by_kprobes: bool


def choices(facts: Facts) -> Iterator[Hooks]:
    """The hooks that BTF allows for, the best first."""
    detached = dict(_DETACHED)
    if _TRANSFERS_IF not in facts.functions:
        del detached["HOOK_TRANSFERRED"]
    tables = [_ATTACHED, detached]
    if "MOUNT_ID_UNIQUE" not in facts.definitions:
        tables.append(_NUMBERED)
    for by_kprobes in (False, True):
        for choice in product(*(table.items() for table in tables)):
            functions = frozenset(function for _, wanted in choice for function in wanted)
            if all(_is_known(function, facts, by_kprobes) for function in functions):
                names = ["HOOKS", *(["HOOK_KPROBES"] if by_kprobes else [])]
                yield Hooks((*names, *(name for name, _ in choice)), functions, by_kprobes)


def _is_known(function: Function, facts: Facts, by_kprobes: bool) -> bool:
    known = facts.functions.get(function.name)
    return (
        known is not None
        and known.arguments == function.arguments
        and (by_kprobes or known.number != 0)
    )


class Tries:
    """What this kernel takes, each tried once.

    Args:
        facts: of this kernel.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._known: dict[tuple[Function, bool], bool] = {}

    def accept(self, hooks: Hooks) -> bool:
        """Whether all functions can be hooked."""
        return all(self._takes(function, hooks.by_kprobes) for function in hooks.functions)

    def _takes(self, function: Function, by_kprobe: bool) -> bool:
        key = function, by_kprobe
        if key not in self._known:
            if by_kprobe:
                taken = takes_kprobe(function.name, function.at_exit)
            else:
                number = self._facts.functions[function.name].number
                taken = traceable(number, function.at_exit)
            self._known[key] = taken
        return self._known[key]


def are_switched_off() -> bool:
    """Whether kernel.ftrace_enabled is 0: hooks where functions begin are accepted then, by fentry
    and by kprobes, and never run."""
    try:
        return _SWITCH.read_text().strip() == "0"
    except OSError:
        return False
