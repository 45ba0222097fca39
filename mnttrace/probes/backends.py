# SPDX-FileCopyrightText: The mnttrace authors
# SPDX-License-Identifier: Apache-2.0

"""How mounts are seen on a kernel, and what the BPF programs are to define for that.

Features of the kernel are tried: a program that does nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from mnttrace.linux.bpf import takes_cast, takes_may_goto
from mnttrace.linux.namespaces import namespace_id
from mnttrace.probes import call_functions, kernel_functions, offsets
from mnttrace.probes.compiled import Facts
from mnttrace.probes.facts import CAST, PREEMPTIBLE_IF
from mnttrace.probes.kernel_functions import Hooks

# The best one first. The functions of the kernel that attach and detach mounts are hooked; or a
# walk over mounts at the end of each call lists those that it made, and fanotify reports what is
# detached; or there are the calls, and mount tables between them.
BACKENDS: Final = ("kernel-hooks", "walk", "syscalls")

# What bpf_rdonly_cast() makes a pointer to; "": the kernel has none.
Cast = Literal["void", "struct", ""]

# What each backend leaves undefined.
_UNUSED = {
    "kernel-hooks": {"FANOTIFY_MNT_ID"},
    "walk": set(),
    "syscalls": {"CAN_WALK", "FANOTIFY_MNT_ID"},
}
# How many copies of each program are attached where they can be preempted: see bpf/calls.h.
_RETRY_LEVELS = 4


class Features(NamedTuple):
    """What a kernel has, besides what its BTF tells.

    Attributes:
        namespace_ids: user space can learn the unique ids of mount namespaces (6.11).
        may_goto: as of :func:`mnttrace.linux.bpf.takes_may_goto`.
        cast: as of :func:`mnttrace.linux.bpf.takes_cast`, to what is best.
    """

    namespace_ids: bool
    may_goto: bool
    cast: Cast

    @classmethod
    def tried(cls, facts: Facts) -> Features:
        """Those of this kernel, of which these are the facts."""
        return cls(
            namespace_id("/proc/self/ns/mnt") is not None,
            takes_may_goto(),
            next(cast for cast in _casts(facts) if not cast or _takes(facts, cast)),
        )

    @classmethod
    def possible(cls, facts: Facts) -> list[Features]:
        """Those that a kernel with these facts can have, which is not this one."""
        return [
            cls(facts.namespaces_have_ids, may_goto, cast)
            for cast in _casts(facts)
            for may_goto in ((True,) if cast == "void" else (True, False))
        ]

    @property
    def words(self) -> str:
        """What makes the programs faster."""
        names = {
            "may_goto": self.may_goto,
            f"bpf_rdonly_cast to {self.cast}": bool(self.cast),
        }
        return " and ".join(name for name, is_there in names.items() if is_there)


class Candidate(NamedTuple):
    """A way to see mounts that BTF allows for.

    Attributes:
        backend: one of :data:`BACKENDS`.
        definitions: name → value, for the compiler.
        hooks: on the kernel's functions, of backend kernel-hooks.
        calls_by_function: whether programs are on the functions of calls, and not on tracepoints.
    """

    backend: str
    definitions: dict[str, int]
    hooks: Hooks | None = None
    calls_by_function: bool = False


def candidates(
    backend: str | None, facts: Facts, features: Features, compat: bool = False
) -> Iterator[Candidate]:
    """The ways to see mounts, the best first.

    Args:
        backend: one of :data:`BACKENDS`; None: any.
        facts: of the kernel.
        features: of it.
        compat: whether 32-bit calls are to be seen, too; no way is left if the kernel has none.
    """
    definitions = dict(facts.definitions)
    if compat and "TASK_STATUS" not in definitions:
        return
    if compat:
        definitions["COMPAT"] = 1
    definitions["RETRY_LEVELS"] = _RETRY_LEVELS if PREEMPTIBLE_IF in facts.functions else 1
    if not features.namespace_ids:
        # Before 6.11 user space cannot learn the ids, so namespaces are known by their inodes.
        definitions.pop("MNT_NS_ID", None)
    if features.may_goto:
        definitions["MAY_GOTO"] = 1
    if features.cast:
        definitions["RDONLY_CAST"] = facts.functions[CAST].number
        definitions["RDONLY_TYPE"] = _type_of(facts, features.cast)
    by_function = _prefers_functions(facts, compat) and bool(call_functions.known(facts))
    can_walk = "CAN_WALK" in definitions
    if can_walk or definitions.keys() >= offsets.LISTS:
        for hooks in kernel_functions.choices(facts):
            defined = dict.fromkeys([*hooks.definitions, "CAN_WALK"], 1)
            defined = _used("kernel-hooks", definitions) | defined
            if backend in (None, "kernel-hooks"):
                if by_function:
                    yield Candidate("kernel-hooks", _by_function(defined), hooks, True)
                yield Candidate("kernel-hooks", defined, hooks)
    for name in ("walk", "syscalls") if can_walk else ("syscalls",):
        if backend in (None, name):
            yield Candidate(name, _used(name, definitions))


def _casts(facts: Facts) -> Iterator[Cast]:
    """The casts that a kernel may have, the best first."""
    if CAST in facts.functions:
        yield "void"
        if facts.struct_of_bytes:
            yield "struct"
    yield ""


def _type_of(facts: Facts, cast: Cast) -> int:
    """The number of what is cast to, in the kernel's BTF."""
    return facts.struct_of_bytes if cast == "struct" else 0


def _takes(facts: Facts, cast: Cast) -> bool:
    return takes_cast(facts.functions[CAST].number, _type_of(facts, cast))


def _prefers_functions(facts: Facts, compat: bool) -> bool:
    """Whether programs on the functions of calls are better than those on tracepoints.

    They see 32-bit calls, and slow no other call of any process. But another program that is under
    way on a processor keeps them from running there. That is so with tracepoints, too, but not on
    newer kernels (see bpf/calls.h).
    """
    return compat or PREEMPTIBLE_IF not in facts.functions


def _by_function(definitions: dict[str, int]) -> dict[str, int]:
    """Those for programs on the functions of calls: they cannot be preempted, and see 32-bit calls
    as others."""
    others = {name: value for name, value in definitions.items() if name != "COMPAT"}
    return others | {"CALLS_BY_FUNCTION": 1, "RETRY_LEVELS": 1}


def _used(backend: str, definitions: dict[str, int]) -> dict[str, int]:
    unused = _UNUSED[backend]
    return {name: value for name, value in definitions.items() if name not in unused}
