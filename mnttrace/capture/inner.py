"""Functions of the kernel by which mounts come and go, for bpf/inner.h: the one table of them.

Each row is tried where the kernel has the function with so many arguments: at its end, what it
returns and what it was given lie behind each other by their number.
"""

from __future__ import annotations

from typing import NamedTuple

from mnttrace.linux.btf import Btf
from mnttrace.linux.fentry import traceable


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

    @property
    def program(self) -> str:
        """What bcc wants the program to be called."""
        return f"k{'ret' if self.at_exit else ''}func__{self.name}"


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


def functions(btf: Btf) -> dict[str, tuple[Function, ...]]:
    """What can be traced on this kernel, by the definition that the BPF programs want for it: one
    entry for what comes and one for what goes; empty where either is lacking."""
    attached = _first(btf, _ATTACHED)
    gone = dict(_DETACHED)
    if btf.function_arguments(_TRANSFERS_IF) is None:
        del gone["INNER_TRANSFERRED"]
    detached = _first(btf, gone)
    return attached | detached if attached and detached else {}


def _first(btf: Btf, choices: dict[str, tuple[Function, ...]]) -> dict[str, tuple[Function, ...]]:
    for definition, wanted in choices.items():
        if all(_can_trace(btf, function) for function in wanted):
            return {definition: wanted}
    return {}


def _can_trace(btf: Btf, function: Function) -> bool:
    if btf.function_arguments(function.name) != function.arguments:
        return False
    number = btf.function_id(function.name)
    return number is not None and traceable(number, function.at_exit)
