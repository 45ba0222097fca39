"""Functions of the kernel by which mounts come and go, for bpf/inner.h: the one table of them.

Each row is tried where the kernel has the function with so many arguments: by fentry and fexit, and
where these are refused or not there, as on arm64 before 6.4, by kprobes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mnttrace.linux.bpf import traceable
from mnttrace.linux.btf import Btf
from mnttrace.linux.perf import takes_kprobe


class Function(NamedTuple):
    """A function that is traced.

    Attributes:
        name: in the kernel.
        arguments: how many it has to have.
        at_exit: whether it is traced where it ends.
    """

    name: str
    arguments: int
    at_exit: bool


_ADDED = Function("mnt_add_to_ns", 2, False)
_CLONED = Function("clone_mnt", 3, True)
_COMMITTED = Function("commit_tree", 1, False)
_TRANSFERRED = Function("transfer_propagation", 2, False)
_CHANGED = Function("change_mnt_propagation", 2, False)

# Definition for the BPF programs → the functions that tell of mounts that come; newest first.
_ATTACHED: dict[str, tuple[Function, ...]] = {
    "INNER_ADDED": (_ADDED,),  # from 6.16 on, for any mount that enters a namespace
    "INNER_COMMITTED": (_CLONED, _COMMITTED),
}
# And of those that go.
_DETACHED: dict[str, tuple[Function, ...]] = {
    "INNER_TRANSFERRED": (_TRANSFERRED,),  # from 6.18 on
    "INNER_CHANGED": (_CHANGED,),
}
# And of those that are made and freed, where mounts have no unique ids and are numbered.
_NUMBERED: dict[str, tuple[Function, ...]] = {
    "INNER_NUMBERED": (
        _CLONED,
        Function("vfs_create_mount", 1, True),
        Function("cleanup_mnt", 1, False),
    )
}
_SWITCH = Path("/proc/sys/kernel/ftrace_enabled")
# From 6.18 on umount_tree() leaves all peer groups at once, by this one.
_TRANSFERS_IF = "bulk_make_private"


def definitions(btf: Btf) -> list[str]:
    """What the BPF programs are to define, for the functions that this kernel lets them be put on;
    [] where it does not tell both what comes and what goes."""

    def takes_program(function: Function) -> bool:
        number = btf.function_id(function.name)
        return number is not None and traceable(number, function.at_exit)

    def takes_probe(function: Function) -> bool:
        return takes_kprobe(function.name, function.at_exit)

    if _is_switched_off():
        return []
    found = _choose(btf, takes_program)
    if found:
        return ["INNER", *found]
    found = _choose(btf, takes_probe)
    return ["INNER", "INNER_KPROBES", *found] if found else []


def _is_switched_off() -> bool:
    """Whether such programs are taken and never run: by kernel.ftrace_enabled=0, for fentry and for
    kprobes where functions begin."""
    try:
        return _SWITCH.read_text().strip() == "0"
    except OSError:
        return False


def _choose(btf: Btf, can_trace: Callable[[Function], bool]) -> list[str]:
    gone = dict(_DETACHED)
    if btf.function_arguments(_TRANSFERS_IF) is None:
        del gone["INNER_TRANSFERRED"]
    choices = [_ATTACHED, gone]
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
