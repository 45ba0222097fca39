"""Functions of the kernel by which mounts come and go, for bpf/inner.h: the one table of them.

Each row is tried where the kernel has the function with so many arguments: at its end, what it
returns and what it was given lie behind each other by their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mnttrace.linux.bpf import traceable
from mnttrace.linux.btf import Btf


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


_ADDED = Function("mnt_add_to_ns", 2, True)
_CLONED = Function("clone_mnt", 3, True)
_COMMITTED = Function("commit_tree", 1, False)
_TRANSFERRED = Function("transfer_propagation", 2, False)
_CHANGED = Function("change_mnt_propagation", 2, True)

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
# From 6.18 on umount_tree() leaves all peer groups at once, by this one.
_TRANSFERS_IF = "bulk_make_private"


def definitions(btf: Btf) -> list[str]:
    """What the BPF programs are to define, for the functions that this kernel lets them be put on;
    [] where it does not tell both what comes and what goes."""
    attached = _first(btf, _ATTACHED)
    gone = dict(_DETACHED)
    if btf.function_arguments(_TRANSFERS_IF) is None:
        del gone["INNER_TRANSFERRED"]
    detached = _first(btf, gone)
    return ["INNER", attached, detached] if attached and detached else []


def _first(btf: Btf, choices: Mapping[str, tuple[Function, ...]]) -> str:
    for definition, wanted in choices.items():
        if all(_can_trace(btf, function) for function in wanted):
            return definition
    return ""


def _can_trace(btf: Btf, function: Function) -> bool:
    if btf.function_arguments(function.name) != function.arguments:
        return False
    number = btf.function_id(function.name)
    return number is not None and traceable(number, function.at_exit)
